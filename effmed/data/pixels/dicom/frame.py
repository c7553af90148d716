"""One frame of a DICOM object → one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effmed.data.pixels.dicom.colour import look_up_palette, to_bytes
from effmed.data.pixels.dicom.dataset import GREY, PALETTE, DicomFile, first_numbers, open_dicom, pixel_layout
from effmed.data.pixels.dicom.decode import decode_frame
from effmed.data.pixels.dicom.grey import grey_levels, stored_values
from effmed.data.pixels.image import Image, Provenance, grey_if_equal
from effmed.data.pixels.window import refuse_windows
from effmed.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

# Attributes that give height and width of a pixel, in this order; the nearest to the patient first (PS3.3 10.7.1).
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def read_dicom(path: Path, frame: int, *, window: str, max_megapixels: float) -> Image:
    """Decode one frame.

    Args:
        path: The file.
        frame: Index, from 0.
        window: "stored" (the stored VOI LUT or first window, else percentiles), "percentile", "full", "center/width",
            or several of the last, separated by commas, each of which becomes a channel.
        max_megapixels: Rows x columns x frames above which the file is refused before decoding, in 10^6.

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
        pixels, bits = decode_frame(opened, layout, frame)
    aspect = pixel_aspect(opened, frame)
    facts = ("dicom", opened.syntax, layout.photometric, layout.stored)
    if layout.photometric in GREY:
        levels = grey_levels(pixels, opened, layout, bits, frame=frame, window=window)
        provenance = Provenance(*facts, levels.window, levels.origin, levels.table)
        return Image(levels.pixels, aspect, provenance, has_windows=levels.pixels.ndim > 2)
    is_palette = layout.photometric == PALETTE
    indices = stored_values(pixels, bits).astype(np.int64)
    colour = look_up_palette(indices, opened, layout) if is_palette else to_bytes(pixels, layout)
    return Image(grey_if_equal(colour), aspect, Provenance(*facts, "full", "full", ""))


def pixel_aspect(opened: DicomFile, frame: int) -> float:
    """Return height over width of a pixel; every attribute that tells gives the vertical value first."""
    for keyword in SPACINGS:
        values = first_numbers(opened.dataset, frame, "PixelMeasuresSequence", keyword)
        if len(values) == 2 and min(values) > 0 and np.isfinite(values[0] / values[1]):
            return values[0] / values[1]
    return 1.0
