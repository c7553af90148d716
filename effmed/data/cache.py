"""Decode once → memory-mapped pixels at the size of training; whole or not at all, whoever else builds the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import platformdirs

from effmed.data.pixels import Image, Preprocessing, Provenance, preprocess, read_image
from effmed.errors import DataError, MachineError
from effmed.run import machine_error, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from effmed.data.records import Manifest

T = TypeVar("T")

CODE_VERSION = 1  # raise it whenever decoding or preprocessing gives other pixels
PIXELS, INDEX = "pixels.npy", "failures.json"
SPARE_BYTES = 50_000_000
PENDING_PER_WORKER = 8  # images decoded ahead, which bounds memory


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
class _Source:
    """What a worker needs to know of one image."""

    path: Path
    frame: int
    window: str
    max_megapixels: float


def cache_folder() -> Path:
    """Return ``$EFFMED_CACHE``, or the platform's cache folder."""
    named = os.environ.get("EFFMED_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("effmed")


def open_cache(
    manifest: Manifest,
    spec: Preprocessing,
    *,
    folder: Path | None = None,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cache:
    """Return the preprocessed pixels of all images, decoding them if no earlier run has.

    Args:
        manifest: Which images.
        spec: What shapes the pixels.
        folder: Where caches lie; None for ``cache_folder()``.
        workers: Processes that decode; 0 or 1 decodes in this one.
        on_progress: Told ``(images done, images in all)``.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    place = (folder or cache_folder()) / _key(manifest, spec)
    if not (place / INDEX).is_file():
        _check_space(place, manifest, spec)
        try:
            with replacing(place) as temporary:
                _build(temporary, manifest, spec, workers, on_progress)
        except MachineError:
            if not (place / INDEX).is_file():  # another run may have built the same in the meantime
                raise
    found = json.loads((place / INDEX).read_text(encoding="utf-8"))
    failures = {int(row): DataError(problem, hint=hint) for row, (problem, hint) in found.items()}
    pixels = np.load(place / PIXELS, mmap_mode="r")
    return Cache(pixels, failures, (place / PIXELS).stat().st_size, place)


def read_preprocessed(
    manifest: Manifest, spec: Preprocessing, *, workers: int = 0
) -> Iterator[tuple[int, NDArray[np.generic] | DataError]]:
    """Decode and preprocess every image of a manifest, in its order.

    Args:
        manifest: Which images.
        spec: What shapes the pixels.
        workers: Processes that decode; 0 or 1 decodes in this one.

    Yields:
        ``(row, pixels)``, or ``(row, error)`` for an image that cannot be read. A process that dies costs its image.
    """
    if manifest.root.suffix == ".npz":
        for row, image in _read_npz(manifest):
            yield row, preprocess(image, spec)
        return
    sources = _sources(manifest, window=spec.window, max_megapixels=spec.max_megapixels)
    if workers <= 1:
        for row, source in enumerate(sources):
            yield row, _decode(source, spec)
        return
    yield from enumerate(_decode_in_processes(sources, spec, workers))


def read_images(manifest: Manifest, *, window: str, max_megapixels: float) -> Iterator[tuple[int, Image | DataError]]:
    """Decode every image of a manifest in this process, at its own size."""
    if manifest.root.suffix == ".npz":
        yield from _read_npz(manifest)
        return
    for row, source in enumerate(_sources(manifest, window=window, max_megapixels=max_megapixels)):
        try:
            yield row, read_image(source.path, source.frame, window=window, max_megapixels=max_megapixels)
        except DataError as error:
            yield row, error


def _sources(manifest: Manifest, *, window: str, max_megapixels: float) -> Iterator[_Source]:
    for image, frame in zip(manifest.frame["image"], manifest.frame["frame"], strict=True):
        yield _Source(manifest.root / str(image), int(frame), window, max_megapixels)


def _read_npz(manifest: Manifest) -> Iterator[tuple[int, Image]]:
    with np.load(manifest.root, allow_pickle=False) as arrays:
        members = {name: arrays[name] for name in manifest.frame["image"].unique()}
    provenance = Provenance("npz", "npz", "grey or RGB", 8, "full", "full", "")
    for row, (member, frame) in enumerate(zip(manifest.frame["image"], manifest.frame["frame"], strict=True)):
        yield row, Image(members[str(member)][int(frame)], 1.0, provenance)


def _decode(source: _Source, spec: Preprocessing) -> NDArray[np.generic] | DataError:
    try:
        image = read_image(source.path, source.frame, window=source.window, max_megapixels=source.max_megapixels)
    except DataError as error:
        return error
    return preprocess(image, spec)


def _decode_for_parent(source: _Source, spec: Preprocessing) -> NDArray[np.generic] | tuple[str, str]:
    """Errors with a required keyword do not survive pickling between processes: send their two texts."""
    result = _decode(source, spec)
    return (result.problem, result.hint) if isinstance(result, DataError) else result


def _decode_in_processes(
    sources: Iterator[_Source], spec: Preprocessing, workers: int
) -> Iterator[NDArray[np.generic] | DataError]:
    """Decode in processes, in order; after a crash each image in flight is tried alone."""
    waiting: deque[_Source] = deque()
    executor = _executor(workers)
    try:
        futures = deque[object]()
        for source in sources:
            waiting.append(source)
            futures.append(executor.submit(_decode_for_parent, source, spec))
            if len(futures) < workers * PENDING_PER_WORKER:
                continue
            try:
                yield _received(futures.popleft().result())  # type: ignore[attr-defined]  # a Future, of a private type
                waiting.popleft()
            except BrokenProcessPool:
                yield from _decode_alone(waiting, spec)
                futures.clear()
                executor = _executor(workers)
        try:
            for future in futures:
                yield _received(future.result())  # type: ignore[attr-defined]  # as above
                waiting.popleft()
        except BrokenProcessPool:
            yield from _decode_alone(waiting, spec)
    finally:
        executor.shutdown(cancel_futures=True)


def _decode_alone(waiting: deque[_Source], spec: Preprocessing) -> Iterator[NDArray[np.generic] | DataError]:
    """Decode each waiting image in a process of its own, so that the one that kills its process is found."""
    while waiting:
        source = waiting.popleft()
        with _executor(1) as executor:
            try:
                yield _received(executor.submit(_decode_for_parent, source, spec).result())
            except BrokenProcessPool:
                yield DataError(
                    "the decoder crashed on this file", hint="remove the file, or export it again uncompressed"
                )


def _executor(workers: int) -> ProcessPoolExecutor:
    # spawn: forking a process that runs torch's threads can hang
    return ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn"))


def _received(result: NDArray[np.generic] | tuple[str, str]) -> NDArray[np.generic] | DataError:
    return DataError(result[0], hint=result[1]) if isinstance(result, tuple) else result


def _build(
    place: Path,
    manifest: Manifest,
    spec: Preprocessing,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    place.mkdir(parents=True)
    shape = _shape(manifest, spec)
    pixels = np.lib.format.open_memmap(place / PIXELS, mode="w+", dtype=spec.depth, shape=shape)
    failures = {}
    for row, image in read_preprocessed(manifest, spec, workers=workers):
        if isinstance(image, DataError):
            failures[row] = (image.problem, image.hint)
        else:
            pixels[row] = image
        if on_progress is not None:
            on_progress(row + 1, len(manifest))
    pixels.flush()
    (place / INDEX).write_text(json.dumps(failures), encoding="utf-8")


def _shape(manifest: Manifest, spec: Preprocessing) -> tuple[int, ...]:
    colour = (spec.channels,) if spec.channels > 1 else ()
    return (len(manifest), spec.height, spec.width, *colour)


def _check_space(place: Path, manifest: Manifest, spec: Preprocessing) -> None:
    """Refuse before the first byte: a memory map on a full disk would kill the process instead of failing."""
    needed = int(np.prod(_shape(manifest, spec))) * np.dtype(spec.depth).itemsize + SPARE_BYTES
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise machine_error(error, place.parent) from error
    free = shutil.disk_usage(place.parent).free
    if free < needed:
        problem = (
            f"the disk of {place.parent} has {free / 1e6:.0f} MB free, the decoded images need {needed / 1e6:.0f} MB"
        )
        raise MachineError(problem, hint="free some space, or put the cache elsewhere: EFFMED_CACHE=FOLDER")


def _key(manifest: Manifest, spec: Preprocessing) -> str:
    """Name a cache by everything that shapes its pixels: files (path, size, time), frames, preprocessing, code."""
    digest = hashlib.sha256(f"{CODE_VERSION} {spec.model_dump_json()} {manifest.root.resolve()}".encode())
    npz = manifest.root.suffix == ".npz"
    stamps: dict[str, str] = {}
    for image, frame in zip(manifest.frame["image"], manifest.frame["frame"], strict=True):
        name = str(image)
        if name not in stamps:
            status = (manifest.root if npz else manifest.root / name).stat()
            stamps[name] = f"{status.st_size} {status.st_mtime_ns}"
        digest.update(f"{name}\x1f{frame}\x1f{stamps[name]}\x1e".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
