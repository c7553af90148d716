"""What the standard wants of colours: 8 bits per channel, palettes looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.pixels.processing import apply_color_lut

from effmed.data.pixels.dicom.dataset import CONVERT_HINT, EXPLICIT_BIG, DicomFile, Layout, lut_entries, numbers
from effmed.data.pixels.image import BITS_PER_BYTE, MAX_UINT8
from effmed.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_bytes(colour: NDArray[np.generic], layout: Layout) -> NDArray[np.uint8]:
    """Bring RGB of any depth to 8 bits per channel, rounded; row by row, because floats take eight times the memory."""
    if layout.stored == BITS_PER_BYTE:
        return colour.astype(np.uint8, copy=False)
    rounded = np.empty(colour.shape, dtype=np.uint8)
    for row, target in zip(colour, rounded, strict=True):
        fraction = row.astype(np.float64) / ((1 << layout.stored) - 1)
        target[:] = np.rint(np.minimum(fraction, 1.0) * MAX_UINT8)  # bits above those stored mean nothing
    return rounded


def look_up_palette(stored: NDArray[np.int64], opened: DicomFile, layout: Layout) -> NDArray[np.uint8]:
    """Turn indices into colours (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6).

    Args:
        stored: ``(rows, columns)`` indices.
        opened: The file; its tables may hold 8 or 16 bits, plain or in segments.
        layout: Its layout.

    Returns:
        ``(rows, columns, 3)``.

    Raises:
        DataError: The header has no palette, or it is shorter than it says.
    """
    dataset = opened.dataset
    descriptor = [int(value) for value in numbers(dataset, "RedPaletteColorLookupTableDescriptor")]
    if len(descriptor) != 3:
        raise DataError("is PALETTE COLOR without a palette", hint=CONVERT_HINT)
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        return _as_byte_colours(apply_color_lut(stored, dataset)[..., :3])
    n_entries, first = descriptor[0] or 1 << 16, descriptor[1]
    is_big = opened.syntax == EXPLICIT_BIG
    tables = [
        lut_entries(dataset.get(f"{name}PaletteColorLookupTableData"), n_entries, is_big=is_big)
        for name in ("Red", "Green", "Blue")
    ]
    first = first - (1 << 16) if layout.signed and first >= 1 << 15 else first
    palette = _as_byte_colours(np.stack(tables, axis=-1))
    colours = np.empty((*stored.shape, 3), dtype=np.uint8)
    for row, target in zip(stored, colours, strict=True):
        target[:] = palette[np.clip(row - first, 0, n_entries - 1)]
    return colours


def _as_byte_colours(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Keep the upper byte of 16-bit colours; some tables say 16 bits and hold 8."""
    wide = np.asarray(values, dtype=np.int64)
    return (wide >> BITS_PER_BYTE if wide.max() > MAX_UINT8 else wide).astype(np.uint8)
