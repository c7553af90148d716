"""Files → preprocessed pixels, in order, in this process or in many; a decoder that crashes costs one image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from effmed.data.contents import content_of
from effmed.data.pixels import Image, preprocess, read_image
from effmed.data.pixels.signature import Signature, make_signature
from effmed.data.processes import Job, work_through
from effmed.data.scan.medmnist import read_npz_images
from effmed.errors import DataError, EffmedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.pixels import Preprocessing
    from effmed.data.records import Manifest


@dataclass(frozen=True)
class Source:
    """Where one image lies.

    Attributes:
        path: The file.
        frame: Index within the file, from 0.
    """

    path: Path
    frame: int


@dataclass(frozen=True)
class Identity:
    """What an image is, apart from the pixels that a network sees.

    Attributes:
        content: Hash of the file's bytes.
        signature: What identifies the picture.
        window: The window used, as in ``Provenance``.
        window_origin: Who chose it.
        table: Hash of the lookup tables used.
    """

    content: str
    signature: Signature
    window: str
    window_origin: str
    table: str


@dataclass(frozen=True)
class Prepared:
    """An image as a network sees it.

    Attributes:
        pixels: ``(height, width)`` or ``(height, width, channel)``.
        identity: What it is; None where that was not asked for.
    """

    pixels: NDArray[np.generic]
    identity: Identity | None


Decoded: TypeAlias = "Prepared | DataError"


def decode(
    sources: Iterable[Source], spec: Preprocessing, *, workers: int = 0, identify: bool = False
) -> Iterator[Decoded]:
    """Decode and preprocess images.

    Args:
        sources: Which images.
        spec: What shapes the pixels.
        workers: Processes that decode; 0 or 1 decodes in this one, where a decoder that crashes ends everything.
        identify: Whether to tell what the images are as well.

    Yields:
        Pixels, or the reason why there are none, in the order of the sources.

    Raises:
        MachineError: Processes cannot be started.
        RecipeError: The recipe asks for what cannot be done to any image.
    """
    work = partial(_attempt, spec=spec, identify=identify)
    job: Job[Source, Prepared | EffmedError] = Job(work, _lost)
    for attempt in work_through(job, sources, workers=workers):
        if isinstance(attempt, EffmedError) and not isinstance(attempt, DataError):
            raise attempt  # wrong with more than the file
        yield attempt


def read_preprocessed(
    manifest: Manifest, spec: Preprocessing, *, workers: int = 0, identify: bool = False
) -> Iterator[tuple[int, Decoded]]:
    """Decode and preprocess every image of a manifest, in its order.

    Args:
        manifest: Which images.
        spec: What shapes the pixels.
        workers: Processes that decode; 0 or 1 decodes in this one.
        identify: Whether to tell what the images are as well.

    Yields:
        ``(row, pixels)``, or ``(row, error)`` for an image that cannot be read. A process that dies costs its image.
    """
    images: Iterator[Decoded]
    if not manifest.has_files:
        content = content_of(manifest.root) if identify else None
        images = (_prepare(image, spec, content) for image in read_npz_images(manifest))
    else:
        images = decode(_sources(manifest), spec, workers=min(workers, len(manifest)), identify=identify)
    yield from enumerate(images)


def read_images(manifest: Manifest, *, window: str, max_megapixels: float) -> Iterator[tuple[int, Image | DataError]]:
    """Decode every image of a manifest in this process, at its own size."""
    if not manifest.has_files:
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


def _attempt(source: Source, spec: Preprocessing, *, identify: bool) -> Prepared | EffmedError:
    try:
        image = read_image(
            source.path,
            source.frame,
            window=spec.window,
            max_megapixels=spec.max_megapixels,
            enough=spec.enough,
        )
        return _prepare(image, spec, content_of(source.path) if identify else None)
    except EffmedError as error:
        return error
    except OSError as error:  # it was there when it was decoded
        return DataError(f"cannot be read: {error.strerror}", hint="let nothing change the files meanwhile")


def _prepare(image: Image, spec: Preprocessing, content: str | None) -> Prepared:
    pixels = preprocess(image, spec)
    if content is None:
        return Prepared(pixels, None)
    made = image.provenance
    return Prepared(pixels, Identity(content, make_signature(image), made.window, made.window_origin, made.table))


def _lost(_source: Source) -> DataError:
    return DataError("the decoder crashes on it, or never ends", hint="remove it, or export it again uncompressed")
