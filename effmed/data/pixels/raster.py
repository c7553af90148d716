"""One PNG, JPEG, TIFF, BMP or WebP → grey levels at their own depth, or colour."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from effmed.data.pixels.dicom.codecs import check_whole, read_codestream
from effmed.data.pixels.image import (
    MAX_UINT8,
    MAX_UINT16,
    Header,
    Image,
    Pixels,
    Provenance,
    check_size,
    grey_if_equal,
    join_channels,
)
from effmed.data.pixels.window import (
    Window,
    full_window,
    in_words,
    percentile_window,
    recipe_windows,
    refuse_windows,
    to_uint16,
)
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

BITS = {"1": 1, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16, "I": 32, "F": 32}  # of Pillow's modes, the others 8
GREY_MODES = {"L", "LA", "La", *BITS}
DEEP_RAW_MODES = ("LA;16B", "RGB;16B", "RGBA;16B")  # PNG of 16 bits that Pillow would cut to 8
PHOTOMETRIC_TAG, WHITE_IS_ZERO = 262, 0  # TIFF 6.0 section 8


def read_raster_header(path: Path, kind: str, max_megapixels: float) -> Header:
    """Read size, depth and number of pages, not the pixels.

    Raises:
        DataError: The picture is larger than ``max_megapixels``. What Pillow raises for damaged files passes through.
    """
    with _opened(path, kind) as picture:
        width, height = picture.size
        n_frames = _n_frames(picture, kind)
        check_size(height, width, n_frames, max_megapixels)
        return Header(
            kind=kind,
            rows=height,
            columns=width,
            frames=n_frames,
            bits=_bits(picture),
            colour=picture.mode not in GREY_MODES,
            photometric=picture.mode,
            syntax=kind,
        )


def read_raster(path: Path, frame: int, *, kind: str, window: str, max_megapixels: float) -> Image:
    """Decode one picture, upright as its EXIF orientation says; transparency is put on black.

    Eight bits stay as they are. More are mapped by ``window``: "stored" and "percentile" by the percentiles of the
    picture, because a 16-bit file often holds 12 bits; "full" keeps the container's range. Of several windows each
    becomes a channel.

    Args:
        path: The file.
        frame: Page, from 0.
        kind: What ``sniff`` found.
        window: ``data.window``.
        max_megapixels: Height x width x pages above which a file is refused before decoding, in 10^6.

    Raises:
        DataError: Too large, no such page, or colours or 8 bits where several windows are wanted. What Pillow raises
            for damaged files passes through.
    """
    with _opened(path, kind) as picture:
        n_frames = _n_frames(picture, kind)
        if not 0 <= frame < n_frames:
            raise DataError(f"has {n_frames} pages, page {frame} was asked for", hint="scan the folder again")
        if frame:
            picture.seek(frame)
        check_size(picture.height, picture.width, n_frames, max_megapixels)
        mode, bits, raw_mode = picture.mode, _bits(picture), _raw_mode(picture)
        is_negative = picture.mode.startswith("I;16") and _is_white_zero(picture)
        PIL.ImageOps.exif_transpose(picture, in_place=True)  # decodes; raises where the file is cut off
        if kind == "jpeg":
            _check_jpeg(path.read_bytes())
        values = _deep(path) if raw_mode in DEEP_RAW_MODES else _values(picture)
    if values.dtype == np.uint8:
        refuse_windows(window, "8-bit grey levels" if values.ndim == 2 else "colours")
        pixels: Pixels = values if values.ndim == 2 else grey_if_equal(values)
        return Image(pixels, 1.0, Provenance(kind, kind, mode, bits, "full", "full", ""))
    chosen = _choose_windows(values, window)
    pixels = join_channels([_levels(values, each) for each in chosen])
    return Image(
        MAX_UINT16 - pixels if is_negative else pixels,
        1.0,
        Provenance(kind, kind, mode, bits, in_words(chosen), chosen[0].origin, ""),
        has_windows=len(chosen) > 1,
    )


def _check_jpeg(source: bytes) -> None:
    stream = read_codestream(source)
    if stream is not None:
        check_whole(source, stream)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[PIL.Image.Image]:
    """Open as the kind it is, without Pillow's limit of size: ours is the user's, checked before decoding.

    Pillow gets a file and no path: by a path it maps a plain TIFF into memory at the size that it has after turning it,
    and mixes up the pixels of those that lie on their side.
    """
    limit = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.MAX_IMAGE_PIXELS = None
    try:
        with path.open("rb") as file, PIL.Image.open(file, formats=(kind.upper(),)) as picture:
            yield picture
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit


def _n_frames(picture: PIL.Image.Image, kind: str) -> int:
    """Return the number of pages; a second picture inside a JPEG (MPO) is another rendering of the first."""
    return 1 if kind == "jpeg" else int(getattr(picture, "n_frames", 1))


def _bits(picture: PIL.Image.Image) -> int:
    return 16 if _raw_mode(picture) in DEEP_RAW_MODES else BITS.get(picture.mode, 8)


def _raw_mode(picture: PIL.Image.Image) -> str:
    """Return how a PNG stores its values, as Pillow names it; empty for other kinds."""
    tile = getattr(picture, "tile", None)
    return str(tile[0][3]) if picture.format == "PNG" and tile else ""


def _is_white_zero(picture: PIL.Image.Image) -> bool:
    """Whether 0 is white in a TIFF; Pillow inverts such pictures itself up to 8 bits only."""
    tags: Any = getattr(picture, "tag_v2", {})
    return bool(tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO)


def _values(picture: PIL.Image.Image) -> NDArray[Any]:
    """Return ``(height, width)`` grey (uint8, uint16 or wider) or ``(height, width, 3)`` uint8."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16, copy=False)
    if picture.mode in ("I", "F"):
        return np.asarray(picture)
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layer.size, (0, 0, 0, MAX_UINT8)), layer)
    return np.asarray(picture.convert("RGB"))


def _deep(path: Path) -> NDArray[Any]:
    """Decode a 16-bit PNG with more than one channel: grey keeps its 16 bits, colour has 8; alpha is put on black."""
    stored = np.asarray(cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED))
    colour = stored[..., 2::-1].astype(np.float64)
    if stored.shape[2] > 3:
        colour *= stored[..., 3:] / MAX_UINT16
    deep = np.rint(colour).astype(np.uint16)
    is_grey = bool((deep == deep[..., :1]).all())
    return deep[..., 0] if is_grey else np.rint(deep / (MAX_UINT16 // MAX_UINT8)).astype(np.uint8)


def _choose_windows(values: NDArray[Any], window: str) -> tuple[Window, ...]:
    """Return the windows of a picture of more than 8 bits."""
    return recipe_windows(window) or (_own_window(values, window),)


def _own_window(values: NDArray[Any], window: str) -> Window:
    """Return the window that the picture's own values give."""
    if values.dtype == np.uint16:
        n_levels = MAX_UINT16 + 1
        counts = cv2.calcHist([values], [0], None, [n_levels], [0, n_levels]).ravel().astype(np.intp)
        is_full = window == "full"
        return full_window(0.0, float(MAX_UINT16)) if is_full else percentile_window(_every_uint16(), counts)
    finite = values[np.isfinite(values)].astype(np.float64)
    if window != "full":
        return percentile_window(finite)
    if not finite.size:
        return full_window(0.0, 0.0)
    return full_window(float(finite.min()), float(finite.max()))


def _levels(values: NDArray[Any], window: Window) -> NDArray[np.uint16]:
    """Map values to 16 bits; 16-bit ones by a table of all that there can be, which is faster and the same."""
    if values.dtype != np.uint16:
        return to_uint16(window.intensity(values.astype(np.float64)))
    table = to_uint16(window.intensity(_every_uint16()))
    return cast("NDArray[np.uint16]", cv2.LUT(np.ascontiguousarray(values), table))


def _every_uint16() -> NDArray[np.float64]:
    return np.arange(MAX_UINT16 + 1, dtype=np.float64)
