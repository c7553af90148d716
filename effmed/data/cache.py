"""Decode once → memory-mapped pixels at the size of training; whole or not at all, whoever else builds the same."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.data.decode import Source, decode
from effmed.data.pixels import Image, Preprocessing, preprocess, read_image
from effmed.data.remembered import cache_folder
from effmed.data.scan.medmnist import SUFFIX, read_npz_images
from effmed.errors import DataError, MachineError
from effmed.run import machine_error, replacing, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from effmed.data.decode import Decoded
    from effmed.data.records import Manifest

CODE_VERSION = 2  # raise it whenever decoding or preprocessing gives other pixels
PIXELS, INDEX = "pixels.npy", "index.json"
SPARE_BYTES = 50_000_000  # for the index, and so that the disk is not filled to the last byte
KEY_LENGTH = 32  # hexadecimal digits: 128 bits never collide by chance
ABANDONED_AFTER_S = 24 * 3600  # a build that wrote nothing for a day was killed


@dataclass(frozen=True)
class Cache:
    """Preprocessed pixels of a manifest.

    Attributes:
        pixels: ``(image, height, width)`` or ``(image, height, width, 3)``, read-only, mapped from disk.
        failures: Why an image could not be decoded, by its row; its pixels are 0.
        bytes: Size on disk.
        folder: Where it lies.
    """

    pixels: NDArray[np.generic]
    failures: Mapping[int, DataError]
    bytes: int
    folder: Path


@dataclass(frozen=True)
class _Order:
    """What is to be built.

    Attributes:
        manifest: Which images.
        spec: What shapes the pixels.
        keys: One text per image that changes whenever its file does.
        place: The folder of the cache; beside it lie those of other images of the same data and preprocessing.
    """

    manifest: Manifest
    spec: Preprocessing
    keys: Sequence[str]
    place: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """``(image, height, width)`` or ``(image, height, width, 3)``."""
        colour = (self.spec.channels,) if self.spec.channels > 1 else ()
        return (len(self.keys), self.spec.height, self.spec.width, *colour)

    @property
    def n_bytes(self) -> int:
        """Size of the pixels."""
        return int(np.prod(self.shape)) * np.dtype(self.spec.depth).itemsize

    def part(self, rows: Sequence[int]) -> Manifest:
        """The images of some rows."""
        return self.manifest.with_frame(self.manifest.frame.iloc[list(rows)])


def open_cache(
    manifest: Manifest,
    spec: Preprocessing,
    *,
    folder: Path | None = None,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cache:
    """Return the preprocessed pixels of all images; only those that no earlier run has decoded are decoded.

    Args:
        manifest: Which images.
        spec: What shapes the pixels.
        folder: Where caches lie; None for ``cache_folder()``.
        workers: Processes that decode; 0 or 1 decodes in this one.
        on_progress: Told ``(images done, images in all)``.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    order = _make_order(manifest, spec, folder or cache_folder())
    cache = _read_cache(order.place)
    if cache is None or _has_mended(cache, order, workers):
        _build(order, workers, on_progress)
        cache = _read_cache(order.place)
    if cache is None:
        problem = f"the decoded images in {order.place} have vanished"
        raise MachineError(problem, hint="let nothing clear the cache while effmed runs, and run it again")
    return cache


def read_preprocessed(manifest: Manifest, spec: Preprocessing, *, workers: int = 0) -> Iterator[tuple[int, Decoded]]:
    """Decode and preprocess every image of a manifest, in its order.

    Args:
        manifest: Which images.
        spec: What shapes the pixels.
        workers: Processes that decode; 0 or 1 decodes in this one.

    Yields:
        ``(row, pixels)``, or ``(row, error)`` for an image that cannot be read. A process that dies costs its image.
    """
    images: Iterator[Decoded]
    if manifest.root.suffix == SUFFIX:
        images = (preprocess(image, spec) for image in read_npz_images(manifest))
    else:
        images = decode(_sources(manifest), spec, workers=min(workers, len(manifest)))
    yield from enumerate(images)


def read_images(manifest: Manifest, *, window: str, max_megapixels: float) -> Iterator[tuple[int, Image | DataError]]:
    """Decode every image of a manifest in this process, at its own size."""
    if manifest.root.suffix == SUFFIX:
        yield from enumerate(read_npz_images(manifest))
        return
    for row, source in enumerate(_sources(manifest)):
        try:
            yield row, read_image(source.path, source.frame, window=window, max_megapixels=max_megapixels)
        except DataError as error:
            yield row, error


def _sources(manifest: Manifest) -> Iterator[Source]:
    for image, frame in zip(manifest.frame["image"], manifest.frame["frame"], strict=True):
        yield Source(manifest.root / str(image), int(frame))


def _make_order(manifest: Manifest, spec: Preprocessing, folder: Path) -> _Order:
    """Name the cache by all that shapes its pixels: code, preprocessing, data folder; files, sizes, times, frames."""
    keys = list(_row_keys(manifest))
    group = _digest([str(CODE_VERSION), spec.model_dump_json(), str(manifest.root.resolve())])
    return _Order(manifest, spec, keys, folder / group / _digest(keys))


def _row_keys(manifest: Manifest) -> Iterator[str]:
    stamps: dict[Path, str] = {}
    is_npz = manifest.root.suffix == SUFFIX
    for image, frame in zip(manifest.frame["image"], manifest.frame["frame"], strict=True):
        path = manifest.root if is_npz else manifest.root / str(image)
        if path not in stamps:
            stamps[path] = _stamp(path)
        yield _digest([str(image), str(frame), stamps[path]])


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "absent"  # decoding will say so
    return f"{status.st_size} {status.st_mtime_ns}"


def _digest(texts: Iterable[str]) -> str:
    joined = "\x1f".join(texts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:KEY_LENGTH]


def _read_index(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / INDEX).read_text(encoding="utf-8"))
    return found


def _read_cache(place: Path) -> Cache | None:
    """Return the cache in a folder; None where there is none, or a damaged one."""
    try:
        index = _read_index(place)
        pixels = np.load(place / PIXELS, mmap_mode="r")
    except (OSError, ValueError):
        return None
    failures = {int(row): DataError(problem, hint=hint) for row, (problem, hint) in index["failures"].items()}
    return Cache(pixels, failures, (place / PIXELS).stat().st_size, place)


def _has_mended(cache: Cache, order: _Order, workers: int) -> bool:
    """Try what failed earlier once more: a decoder may have been installed, a permission given."""
    if not cache.failures:
        return False
    again = read_preprocessed(order.part(list(cache.failures)), order.spec, workers=workers)
    return any(not isinstance(image, DataError) for _, image in again)


def _build(order: _Order, workers: int, on_progress: Callable[[int, int], None] | None) -> None:
    _make_room(order)
    try:
        with replacing(order.place) as temporary:
            temporary.mkdir()
            failures = _write_pixels(temporary / PIXELS, _in_order(order, workers), order, on_progress)
            write_text(temporary / INDEX, json.dumps({"keys": order.keys, "failures": failures}))
            other = _read_cache(order.place)
            if other is None or len(other.failures) > len(failures):
                shutil.rmtree(order.place, ignore_errors=True)  # damaged, or from before a decoder was installed
    except MachineError:
        if _read_cache(order.place) is None:  # else another run has built the same in the meantime
            raise


def _in_order(order: _Order, workers: int) -> Iterator[Decoded]:
    """Yield the pixels of every image, from an earlier cache where one holds them."""
    known = _known_pixels(order)
    missing = [row for row, key in enumerate(order.keys) if key not in known]
    decoded = read_preprocessed(order.part(missing), order.spec, workers=workers)
    for key in order.keys:
        if key in known:
            pixels, row = known[key]
            yield pixels[row]
        else:
            yield next(decoded)[1]


def _known_pixels(order: _Order) -> dict[str, tuple[NDArray[np.generic], int]]:
    """Find images that caches of the same data and preprocessing hold, as pixels and row; never failures."""
    wanted = set(order.keys)
    known: dict[str, tuple[NDArray[np.generic], int]] = {}
    for place in sorted(order.place.parent.glob("[!.]*")):
        cache = _read_cache(place)
        if cache is None:
            continue
        keys = enumerate(_read_index(place)["keys"])
        known |= {key: (cache.pixels, row) for row, key in keys if key in wanted and row not in cache.failures}
    return known


def _write_pixels(
    path: Path, images: Iterator[Decoded], order: _Order, on_progress: Callable[[int, int], None] | None
) -> dict[int, tuple[str, str]]:
    """Write an .npy file row by row: unlike a memory map, a file can report a disk that becomes full.

    Returns:
        Problem and hint of the images that could not be decoded, by row.

    Raises:
        MachineError: The disk is full.
    """
    failures = {}
    nothing = np.zeros(order.shape[1:], order.spec.depth)
    header = {"descr": nothing.dtype.str, "fortran_order": False, "shape": order.shape}
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for row, image in enumerate(images):
                if isinstance(image, DataError):
                    failures[row] = (image.problem, image.hint)
                file.write((nothing if isinstance(image, DataError) else image).tobytes())
                if on_progress is not None:
                    on_progress(row + 1, len(order.keys))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(order) from error
        raise
    return failures


def _make_room(order: _Order) -> None:
    """Create the folder, remove what killed runs left there, and refuse before the first byte where space is short."""
    group = order.place.parent
    try:
        group.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise machine_error(error, group) from error
    for left in group.glob(".*"):
        newest = max((path.stat().st_mtime for path in (left, *left.glob("*"))), default=0.0)
        if newest < time.time() - ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(group).free < order.n_bytes + SPARE_BYTES:
        raise _no_room(order)


def _no_room(order: _Order) -> MachineError:
    folder = order.place.parent
    needed, free = order.n_bytes + SPARE_BYTES, shutil.disk_usage(folder).free
    problem = f"the disk of {folder} has {free:,} bytes free, the decoded images need {needed:,}"
    return MachineError(problem, hint="free some space, or put the cache on another disk: EFFMED_CACHE=FOLDER")
