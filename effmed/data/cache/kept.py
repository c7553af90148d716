"""What the cache folder holds, and how it is emptied."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from effmed.data.cache.opened import IMAGES, SPEC
from effmed.data.cache.shards import INDEX
from effmed.run import cache_folder, kernels_folder, machine_error

if TYPE_CHECKING:
    from pathlib import Path

REMEMBERED = ("headers", "contents")


@dataclass(frozen=True)
class Kept:
    """Images that were decoded in one way, or something else.

    Attributes:
        what: In words.
        n_images: How many images; 0 for something else.
        bytes: Size on disk.
    """

    what: str
    n_images: int
    bytes: int


def describe_cache(folder: Path | None = None) -> tuple[Kept, ...]:
    """Return what the cache holds, the largest first.

    Args:
        folder: Where it lies; None for ``cache_folder()``.
    """
    place = folder or cache_folder()
    kept = [_describe_group(group) for group in sorted((place / IMAGES).glob("*/"))]
    kept += [Kept(f"{name} of files", 0, _size(place / name)) for name in REMEMBERED if (place / name).is_dir()]
    kernels = place / kernels_folder().name
    kept += [Kept("kernels compiled for this machine", 0, _size(kernels))] if kernels.is_dir() else []
    return tuple(sorted(kept, key=lambda each: -each.bytes))


def clear_cache(folder: Path | None = None) -> int:
    """Delete everything that effmed can make again; runs at work keep what they have mapped.

    Args:
        folder: Where the cache lies; None for ``cache_folder()``. What effmed did not write there stays.

    Returns:
        The bytes that became free.

    Raises:
        MachineError: Something cannot be deleted.
    """
    place = folder or cache_folder()
    freed = 0
    for name in (IMAGES, *REMEMBERED, kernels_folder().name):
        target = place / name
        if target.is_dir():
            n_bytes = _size(target)
            try:
                shutil.rmtree(target)
            except OSError as error:
                raise machine_error(error, target) from error
            freed += n_bytes
    return freed


def _describe_group(group: Path) -> Kept:
    return Kept(_words(group / SPEC), sum(map(_n_images, group.glob("[!.]*/"))), _size(group))


def _words(path: Path) -> str:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        height, width = spec["height"], spec["width"]
        size = f"{width} x {height} px" if height == width else f"{height} px high x {width} px wide"
        kind = f"{size}, {spec['channels']} channel(s), {spec['depth']}"
        return f"{kind}, window {spec['window']}{', reduced decoding' if spec['reduced_decode'] else ''}"
    except (OSError, ValueError, KeyError):
        return "images of an unknown kind"


def _n_images(shard: Path) -> int:
    try:
        return int(pq.read_metadata(shard / INDEX).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _size(folder: Path) -> int:
    """Sum the sizes of all files; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
