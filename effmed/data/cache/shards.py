"""Shards: folders of up to 1,024 images that appear whole, never change, and are mapped into memory.

``pixels.raw`` and ``thumbnails.raw`` hold one image after another without a header; ``index.parquet`` says which.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from effmed.data.pixels.signature import THUMBNAIL_SIDE
from effmed.run import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.decode import Identity
    from effmed.data.pixels import Preprocessing

PIXELS, THUMBNAILS, INDEX = "pixels.raw", "thumbnails.raw", "index.parquet"
COLUMNS = ("key", "pixel_hash", "aspect", "corners", "window", "window_origin", "table")
SHARD_BYTES = 128_000_000  # of pixels, which are in memory until they are written
SHARD_IMAGES = 1024
THUMBNAIL_BYTES = THUMBNAIL_SIDE * THUMBNAIL_SIDE


@dataclass(frozen=True)
class Entry:
    """One image for a shard.

    Attributes:
        key: Names the content of its file and the frame.
        pixels: ``(height, width)`` or ``(height, width, channel)``.
        identity: What it is.
    """

    key: str
    pixels: NDArray[np.generic]
    identity: Identity


@dataclass(frozen=True)
class Shards:
    """All images that were decoded in one way.

    Attributes:
        index: One row per image: ``COLUMNS``, which shard, and which ``row`` of it. Keys are unique.
        pixels: Of each shard ``(image, height, width)`` or ``(image, height, width, channel)``, mapped from disk.
        thumbnails: Of each shard ``(image, 64, 64)`` uint8, mapped from disk.
    """

    index: pd.DataFrame
    pixels: tuple[NDArray[np.generic], ...]
    thumbnails: tuple[NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class CachedPixels:
    """Images that lie in several shards, like one read-only array ``(image, height, width[, channel])``.

    Attributes:
        shards: The mapped shards.
        shard: ``(image,)`` which of them holds each image; -1 for one that is black.
        row: ``(image,)`` where in it.
        image_shape: ``(height, width)`` or ``(height, width, channel)``.
        dtype: uint8 or uint16.
    """

    shards: tuple[NDArray[np.generic], ...]
    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    image_shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(image, height, width)`` or ``(image, height, width, channel)``."""
        return (len(self), *self.image_shape)

    def __getitem__(self, which: int | np.integer | NDArray[np.integer] | slice) -> NDArray[np.generic]:
        """Return one image, which is mapped, or a copy of several."""
        if isinstance(which, int | np.integer):
            shard = self.shard[which]
            nothing = np.zeros(self.image_shape, self.dtype)
            return nothing if shard < 0 else cast("NDArray[np.generic]", self.shards[shard][self.row[which]])
        chosen = np.arange(len(self))[which]
        several = [self[number] for number in chosen]
        return np.stack(several) if several else np.zeros((0, *self.image_shape), self.dtype)


def image_shape(spec: Preprocessing) -> tuple[int, ...]:
    """Return ``(height, width)`` for one channel, ``(height, width, channel)`` for more."""
    return (spec.height, spec.width, spec.channels) if spec.channels > 1 else (spec.height, spec.width)


def image_bytes(spec: Preprocessing) -> int:
    """Return the size of one image's pixels."""
    return int(np.prod(image_shape(spec))) * np.dtype(spec.depth).itemsize


def shard_length(spec: Preprocessing) -> int:
    """Return how many images a shard holds at most."""
    return min(max(SHARD_BYTES // image_bytes(spec), 1), SHARD_IMAGES)


def write_shard(group: Path, entries: Sequence[Entry]) -> None:
    """Write a shard whole or not at all, whoever else writes another.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    with replacing(group / secrets.token_hex(8)) as temporary:
        temporary.mkdir()
        _write_raw(temporary / PIXELS, [entry.pixels for entry in entries])
        _write_raw(temporary / THUMBNAILS, [entry.identity.signature.thumbnail for entry in entries])
        rows = [_row(entry) for entry in entries]
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(temporary / INDEX, index=False)


def read_shards(group: Path, spec: Preprocessing) -> Shards:
    """Map all shards of a folder; those that are damaged are passed over."""
    found = [shard for place in sorted(group.glob("[!.]*/")) if (shard := _read_shard(place, spec)) is not None]
    parts = [index.assign(shard=number, row=np.arange(len(index))) for number, (index, _, _) in enumerate(found)]
    nothing = pd.DataFrame(columns=[*COLUMNS, "shard", "row"])
    index = pd.concat(parts, ignore_index=True).drop_duplicates("key", keep="last") if parts else nothing
    return Shards(index, tuple(pixels for _, pixels, _ in found), tuple(thumbnails for _, _, thumbnails in found))


def _row(entry: Entry) -> tuple[object, ...]:
    what = entry.identity
    signature = what.signature
    identity = (signature.pixel_hash, signature.aspect, signature.corners)
    return (entry.key, *identity, what.window, what.window_origin, what.table)


def _write_raw(path: Path, images: Sequence[NDArray[np.generic]]) -> None:
    """Write arrays one after another: unlike a memory map, a file can report a disk that becomes full."""
    with path.open("wb") as file:
        for image in images:
            file.write(np.ascontiguousarray(image).data)
        file.flush()
        os.fsync(file.fileno())


def _read_shard(place: Path, spec: Preprocessing) -> tuple[pd.DataFrame, NDArray[np.generic], NDArray[np.uint8]] | None:
    try:
        index = pd.read_parquet(place / INDEX, columns=list(COLUMNS))
        sizes = (place / PIXELS).stat().st_size, (place / THUMBNAILS).stat().st_size
        if sizes != (len(index) * image_bytes(spec), len(index) * THUMBNAIL_BYTES):
            return None
        shape = (len(index), *image_shape(spec))
        pixels = np.memmap(place / PIXELS, np.dtype(spec.depth), mode="r", shape=shape)
        thumbnails = np.memmap(
            place / THUMBNAILS, np.uint8, mode="r", shape=(len(index), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        )
    except (OSError, ValueError, pa.ArrowException):
        return None
    return index, np.asarray(pixels), np.asarray(thumbnails)
