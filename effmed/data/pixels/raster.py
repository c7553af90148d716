"""One PNG, JPEG, TIFF, BMP or WebP → grey levels at their own depth, or colour."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from effmed.data.pixels.image import Header, Image, Provenance
from effmed.data.pixels.window import window_values
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

GREY_MODES = {"1", "L", "LA", "I", "F"}
BITS = {"1": 1, "I": 32, "F": 32}
PIXELS_PER_MEGAPIXEL = 1e6


def read_raster_header(path: Path, kind: str) -> Header:
    """Read size, depth and number of pages, not the pixels."""
    with _opened(path) as picture:
        grey = picture.mode in GREY_MODES or picture.mode.startswith("I;16")
        bits = 16 if picture.mode.startswith("I;16") else BITS.get(picture.mode, 8)
        width, height = picture.size
        return Header(
            kind=kind,
            rows=height,
            columns=width,
            frames=getattr(picture, "n_frames", 1),
            bits=bits,
            colour=not grey,
            photometric=picture.mode,
            syntax=kind,
        )


def read_raster(path: Path, frame: int, *, kind: str, window: str, max_megapixels: float) -> Image:
    """Decode one picture.

    Eight bits stay as they are. Sixteen are mapped by ``window``: "stored" and "percentile" by the
    percentiles of the picture, because a 16-bit file often holds 12 bits; "full" keeps the container's range.

    Args:
        path: The file.
        frame: Page, from 0.
        kind: What ``sniff`` found.
        window: ``data.window``.
        max_megapixels: Larger pictures are refused before decoding.

    Raises:
        DataError: Too large, or no such page. What Pillow raises for damaged files passes through.
    """
    with _opened(path) as picture:
        n_frames = getattr(picture, "n_frames", 1)
        megapixels = picture.size[0] * picture.size[1] / PIXELS_PER_MEGAPIXEL
        if megapixels > max_megapixels:
            problem = f"has {megapixels:.0f} million pixels, more than data.max_megapixels = {max_megapixels:g}"
            raise DataError(problem, hint="raise data.max_megapixels if the file is meant to be that large")
        if frame >= n_frames:
            raise DataError(f"has {n_frames} frames, frame {frame} was asked for", hint="scan the folder again")
        if frame:
            picture.seek(frame)
        upright = PIL.ImageOps.exif_transpose(picture)
        mode, pixels = upright.mode, _pixels(upright)
    if pixels.dtype == np.uint8:
        return Image(pixels, 1.0, Provenance(kind, kind, mode, BITS.get(mode, 8), "full", "full", ""))
    levels, text, origin = window_values(pixels, window, full=(0.0, float(np.iinfo(np.uint16).max)))
    return Image(levels, 1.0, Provenance(kind, kind, mode, 16, text, origin, ""))


@contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    """Open without Pillow's warnings about size; ours is a limit that the user sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PIL.Image.open(path) as picture:
            yield picture


def _pixels(picture: PIL.Image.Image) -> NDArray[Any]:
    """Return ``(height, width)`` grey (uint8, or wider numbers) or ``(height, width, 3)`` uint8."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("I", "F"):
        return np.asarray(picture).astype(np.float64)
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.has_transparency_data:
        picture = _on_black(picture)
    colour = np.asarray(picture.convert("RGB"))
    is_grey = bool((colour[..., :1] == colour).all())
    return np.ascontiguousarray(colour[..., 0]) if is_grey else colour


def _on_black(picture: PIL.Image.Image) -> PIL.Image.Image:
    layer = picture.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
