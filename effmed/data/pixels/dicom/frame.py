"""One frame of a DICOM object → one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effmed.data.pixels.dicom.colour import look_up_palette, to_bytes
from effmed.data.pixels.dicom.dataset import GREY, PALETTE, DicomFile, first_numbers, open_dicom, pixel_layout
from effmed.data.pixels.dicom.decode import decode_frame
from effmed.data.pixels.dicom.grey import GreyLevels, grey_levels, stored_values
from effmed.data.pixels.image import Image, Provenance, grey_if_equal, pixel_shape
from effmed.data.pixels.preprocess import fitted_size
from effmed.data.pixels.window import refuse_windows
from effmed.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.pixels.dicom.dataset import Layout

# Attributes that give height and width of a pixel, in this order; the nearest to the patient first (PS3.3 10.7.1).
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")

SPARE = 2  # pixels of a picture decoded at a lower resolution per pixel of the result, at least; so they are averaged


def read_dicom(
    path: Path, frame: int, *, window: str, max_megapixels: float, enough: tuple[int, int] | None = None
) -> Image:
    """Decode one frame.

    Args:
        path: The file.
        frame: Index, from 0.
        window: "stored" (the stored VOI LUT or first window, else percentiles), "percentile", "full", "center/width",
            or several of the last, separated by commas, each of which becomes a channel.
        max_megapixels: Rows x columns x frames above which the file is refused before decoding, in 10^6.
        enough: Height and width of the box that the image will be fitted into; see ``read_image``.

    Raises:
        DataError: No pixels, impossible sizes, too large, or colours where several windows are wanted. What decoders
            raise for damaged files passes through.
    """
    with path.open("rb") as file:
        opened = open_dicom(file)
        layout = pixel_layout(opened, max_megapixels)
        if not 0 <= frame < layout.frames:
            raise DataError(f"has {layout.frames} frames, frame {frame} was asked for", hint="scan the folder again")
        if layout.photometric not in GREY:
            refuse_windows(window, "colours")
        aspect, size = pixel_aspect(opened, frame), (layout.rows, layout.columns)
        least = _least_size(size, aspect, enough)
        if layout.photometric in GREY:
            levels = _read_grey(opened, layout, frame, window, least)
            pixels, made = levels.pixels, (levels.window, levels.origin, levels.table)
        else:
            pixels, made = _read_colour(opened, layout, frame, least), ("full", "full", "")
    provenance = Provenance("dicom", opened.syntax, layout.photometric, layout.stored, *made)
    has_windows = layout.photometric in GREY and pixels.ndim > 2
    return Image(pixels, aspect, provenance, has_windows, full_size=size if pixels.shape[:2] != size else None)


def _read_grey(opened: DicomFile, layout: Layout, frame: int, window: str, least: tuple[int, int] | None) -> GreyLevels:
    """Decode one monochrome frame; whole where padding is bright, which at a lower resolution leaves a bright rim."""
    pixels, bits = decode_frame(opened, layout, frame, least)
    levels = grey_levels(pixels, opened, layout, bits, frame=frame, window=window)
    if levels.has_bright_padding and pixels.shape != (layout.rows, layout.columns):
        return _read_grey(opened, layout, frame, window, None)
    return levels


def _read_colour(opened: DicomFile, layout: Layout, frame: int, least: tuple[int, int] | None) -> NDArray[np.uint8]:
    pixels, bits = decode_frame(opened, layout, frame, least)
    if layout.photometric == PALETTE:
        return grey_if_equal(look_up_palette(stored_values(pixels, bits).astype(np.int64), opened, layout))
    return grey_if_equal(to_bytes(pixels, layout))


def _least_size(size: tuple[int, int], aspect: float, box: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the height and width that must be decoded to fill a box well; None: all."""
    if box is None:
        return None
    height, width = fitted_size(size, aspect, box)
    return SPARE * height, SPARE * width


def pixel_aspect(opened: DicomFile, frame: int) -> float:
    """Return height over width of a pixel, 1 where none tells; every attribute gives the vertical value first."""
    for keyword in SPACINGS:
        values = first_numbers(opened.dataset, frame, "PixelMeasuresSequence", keyword)
        aspect = pixel_shape(values[0], values[1]) if len(values) == 2 else None
        if aspect is not None:
            return aspect
    return 1.0
