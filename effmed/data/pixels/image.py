"""What one decoded image is: pixels, shape of a pixel, provenance; and what is known before decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Provenance:
    """How a file became grey levels.

    Attributes:
        kind: "dicom", "png", "jpeg", "tiff", "bmp", "webp" or "npz".
        syntax: Transfer syntax UID, or the codec's name.
        photometric: Photometric interpretation as stored.
        bits: Bits stored per value.
        window: "center/width", "lut", "p0.5-p99.5 = a..b" or "full".
        window_origin: "file", "recipe", "percentile" or "full".
        table: Hash of the lookup table, "" where none was used.
    """

    kind: str
    syntax: str
    photometric: str
    bits: int
    window: str
    window_origin: str
    table: str


@dataclass(frozen=True)
class Image:
    """One decoded 2-D image.

    Attributes:
        pixels: ``(height, width)`` grey, uint8 or uint16 over the full range, or ``(height, width, 3)`` uint8 RGB.
        aspect: Height of a pixel over its width; 1.0 where unknown.
        provenance: How the pixels came about.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    aspect: float
    provenance: Provenance


@dataclass(frozen=True)
class Header:
    """What is known of a file without decoding its pixels; "" or None where it says nothing.

    Attributes:
        kind: As in ``Provenance``.
        rows: Height in pixels.
        columns: Width in pixels.
        frames: Number of frames or pages.
        bits: Bits stored per value.
        colour: Whether a pixel has three values.
        age_years: Patient's age in years.
    """

    kind: str
    rows: int
    columns: int
    frames: int
    bits: int
    colour: bool
    photometric: str = ""
    syntax: str = ""
    patient: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    modality: str = ""
    manufacturer: str = ""
    scanner: str = ""
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    sex: str = ""
    age_years: float | None = None
