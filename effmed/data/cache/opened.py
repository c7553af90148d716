"""A manifest's pixels: those that no earlier run has decoded are decoded, the rest is mapped from disk."""

from __future__ import annotations

import importlib.metadata
import shutil
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.cache.shards import (
    THUMBNAIL_BYTES,
    CachedPixels,
    Entry,
    Shards,
    image_bytes,
    image_shape,
    read_shards,
    shard_length,
    write_shard,
)
from effmed.data.contents import UNKNOWN, Contents, recall_contents, remember_contents
from effmed.data.decode import read_preprocessed
from effmed.data.pixels.signature import THUMBNAIL_SIDE, Signatures
from effmed.data.records import PROVENANCE
from effmed.data.remembered import digest
from effmed.errors import DataError, MachineError
from effmed.run import cache_folder, machine_error, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.decode import Decoded
    from effmed.data.pixels import Preprocessing
    from effmed.data.records import Manifest

CODE_VERSION = "5"  # raise it whenever decoding or preprocessing gives other pixels, thumbnails or marks
DECODERS = ("imagecodecs", "nibabel", "opencv-python-headless", "pillow", "pydicom", "pylibjpeg-rle", "simplejpeg")
IMAGES, SPEC = "images", "preprocessing.json"
SPARE_BYTES = 50_000_000  # for the index, and so that the disk is not filled to the last byte
ABANDONED_AFTER_S = 24 * 3600  # a shard to which nothing was written for a day belongs to a process that was killed


@dataclass(frozen=True)
class Cache:
    """Preprocessed pixels of a manifest, and what its images are.

    Attributes:
        pixels: ``(image, height, width)`` or ``(image, height, width, channel)``, read-only, mapped from disk.
        signatures: What identifies each picture; an empty hash for one that could not be decoded.
        provenance: Columns ``PROVENANCE``, one row per image; NA for one that could not be decoded.
        failures: Why an image could not be decoded, by its row; its pixels are 0.
        bytes: Size on disk of the images' pixels.
        folder: Where they lie, with others that were decoded in the same way.
    """

    pixels: CachedPixels
    signatures: Signatures
    provenance: pd.DataFrame
    failures: Mapping[int, DataError]
    bytes: int
    folder: Path


@dataclass(frozen=True)
class _Order:
    """What is wanted: which images, in which way, from and to which folder."""

    manifest: Manifest
    spec: Preprocessing
    group: Path

    def part(self, rows: NDArray[np.int64]) -> _Order:
        """The same of some images."""
        return replace(self, manifest=self.manifest.with_frame(self.manifest.frame.iloc[rows]))


@dataclass(frozen=True)
class _Made:
    """What became of images that were decoded, by their row."""

    contents: dict[int, str]
    failures: dict[int, DataError]


def open_cache(
    manifest: Manifest,
    spec: Preprocessing,
    *,
    folder: Path | None = None,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cache:
    """Return the preprocessed pixels of all images; only those that no earlier run has decoded are decoded.

    Images are known by the bytes of their files, so that copies and renamed files are known too. Where nothing was
    decoded in this way before, files are read once, else those that are new are read twice.

    Args:
        manifest: Which images.
        spec: What shapes the pixels.
        folder: Where caches lie; None for ``cache_folder()``.
        workers: Processes that decode; 0 or 1 decodes in this one.
        on_progress: Told ``(images done, images to do)``; never where there is nothing to do.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    place = folder or cache_folder()
    order = _Order(manifest, spec, place / IMAGES / _group_name(spec))
    root, images = _files(manifest)
    contents = recalled = recall_contents(root, images, place)
    held = read_shards(order.group, spec)
    if len(held):
        contents = contents.hashed(root, workers=workers)
    missing = np.flatnonzero(~pd.Index(_keys(manifest, contents)).isin(held.index["key"]))
    failures: dict[int, DataError] = {}
    if len(missing):
        made = _decode(order.part(missing), workers, on_progress)
        failures = {int(missing[row]): error for row, error in made.failures.items()}
        contents = contents.with_known(
            {int(contents.number[missing[row]]): found for row, found in made.contents.items()}
        )
        held = read_shards(order.group, spec)
    if contents is not recalled and not contents.files.equals(recalled.files):
        remember_contents(root, contents, place)
    return _assemble(order, held, _keys(manifest, contents), failures)


def _group_name(spec: Preprocessing) -> str:
    """Name what shapes pixels: our code, that of others, and the preprocessing."""
    return digest([CODE_VERSION, *(f"{name} {_version(name)}" for name in DECODERS), spec.model_dump_json()])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _files(manifest: Manifest) -> tuple[Path, pd.Series]:
    """Return a folder and the paths of the images' files in it."""
    if not manifest.has_files:
        return manifest.root.parent, pd.Series(manifest.root.name, index=manifest.frame.index, dtype="str")
    return manifest.root, manifest.frame["image"].astype("str")


def _keys(manifest: Manifest, contents: Contents) -> list[str]:
    """Return what each image is known by; empty where the content of its file is not known."""
    frame, is_npz = manifest.frame, not manifest.has_files
    members = frame["image"] if is_npz else [""] * len(frame)
    known = zip(contents.of_images, members, frame["frame"], strict=True)
    return ["" if content == UNKNOWN else f"{content}/{member}#{number}" for content, member, number in known]


def _decode(order: _Order, workers: int, on_progress: Callable[[int, int], None] | None) -> _Made:
    """Decode images into new shards."""
    _make_room(order)
    made = _Made({}, {})
    images = iter(read_preprocessed(order.manifest, order.spec, workers=workers, identify=True))
    entries = _entries(order, images, made, on_progress)
    while chunk := list(islice(entries, shard_length(order.spec))):
        write_shard(order.group, chunk)
    return made


def _entries(
    order: _Order,
    images: Iterator[tuple[int, Decoded]],
    made: _Made,
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[Entry]:
    """Yield what can be stored, and note what became of every image."""
    is_npz, n_images = not order.manifest.has_files, len(order.manifest)
    frame = order.manifest.frame
    members, numbers = frame["image"].tolist(), frame["frame"].tolist()
    for row, image in images:
        if isinstance(image, DataError):
            made.failures[row] = image
        elif image.identity is not None:
            made.contents[row] = image.identity.content
            key = f"{image.identity.content}/{members[row] if is_npz else ''}#{numbers[row]}"
            yield Entry(key, image.pixels, image.identity)
        if on_progress is not None:
            on_progress(row + 1, n_images)


def _assemble(order: _Order, held: Shards, keys: list[str], failures: Mapping[int, DataError]) -> Cache:
    """Put together what the shards hold of a manifest.

    Raises:
        MachineError: What was there a moment ago is not.
    """
    found = held.index.set_index("key").reindex(keys)
    is_held = found["shard"].notna().to_numpy()
    if set(np.flatnonzero(~is_held)) - set(failures):
        problem = f"decoded images in {order.group} have vanished"
        raise MachineError(problem, hint="let nothing clear the cache while effmed runs, and run it again")
    shard = np.where(is_held, found["shard"], -1).astype(np.int64)
    row = np.where(is_held, found["row"], 0).astype(np.int64)
    thumbnails = np.zeros((len(keys), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    for number in np.unique(shard[is_held]):
        chosen = shard == number
        thumbnails[chosen] = held.thumbnails[number][row[chosen]]
    signatures = Signatures(
        pixel_hash=found["pixel_hash"].where(is_held, "").to_numpy(object),
        thumbnails=thumbnails,
        aspect=found["aspect"].where(is_held, 1.0).to_numpy(np.float64),
        corners=found["corners"].where(is_held, 0).to_numpy(np.uint8),
    )
    provenance = found[list(PROVENANCE)].astype("string").reset_index(drop=True)
    pixels = CachedPixels(held.pixels, shard, row, image_shape(order.spec), np.dtype(order.spec.depth))
    return Cache(pixels, signatures, provenance, failures, int(is_held.sum()) * image_bytes(order.spec), order.group)


def _make_room(order: _Order) -> None:
    """Create the folder, remove what killed runs left there, and refuse before the first byte where space is short."""
    group = order.group
    try:
        group.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise machine_error(error, group) from error
    for left in group.glob(".*"):
        newest = max((path.stat().st_mtime for path in (left, *left.glob("*"))), default=0.0)
        if newest < time.time() - ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    needed = len(order.manifest) * (image_bytes(order.spec) + THUMBNAIL_BYTES) + SPARE_BYTES
    free = shutil.disk_usage(group).free
    if free < needed:
        problem = f"the disk of {group} has {free:,} bytes free, the decoded images need {needed:,}"
        raise MachineError(problem, hint="free some space, or put the cache on another disk: EFFMED_CACHE=FOLDER")
    if not (group / SPEC).is_file():
        write_json(group / SPEC, order.spec)
