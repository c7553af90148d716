"""What one file holds: its grey levels or colours, how they came about, and what its header says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"

BITS_PER_BYTE = 8
MAX_UINT8 = 255
MAX_UINT16 = 65535
UINT8_TO_UINT16 = MAX_UINT16 // MAX_UINT8  # 257: 0 stays 0 and 255 becomes 65535
PIXELS_PER_MEGAPIXEL = 1e6
ASPECT_MAX = 100.0  # of a pixel, either way: thick slices seen from the side reach 50; beyond it are typing errors


@dataclass(frozen=True)
class Provenance:
    """How a file became grey levels.

    Attributes:
        kind: Kind of the file: dicom, png, jpeg, tiff, bmp, webp, nifti or npz.
        syntax: Transfer syntax UID of a DICOM object, else the name of the codec.
        photometric: Photometric interpretation, colour mode or type of the values, as stored.
        bits: Bits stored per channel.
        window: ``center/width``, ``lut``, ``p0.5-p99.5 = low..high`` or ``full``; several separated by commas.
        window_origin: Who chose the window: file, recipe, percentile or full.
        table: Hash of the lookup tables that mapped stored values to grey levels; empty where none was used.
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
    """One 2-D picture.

    Attributes:
        pixels: Grey ``(height, width)``, black is 0: uint8 where the file holds up to 8 bits, else uint16 over the
            full range 0 to 65535. Or RGB ``(height, width, 3)`` uint8. Or several windows of a grey picture, each a
            channel, ``(height, width, window)`` of the depth of grey.
        aspect: Height of a pixel divided by its width; 1 where unknown.
        provenance: How the file became these grey levels.
        has_windows: Whether the channels are windows of a grey picture, which three of them do not tell from RGB.
        full_size: Height and width as stored, where fewer pixels than these were decoded; None where all were.
    """

    pixels: Pixels
    aspect: float
    provenance: Provenance
    has_windows: bool = False
    full_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, as stored."""
        return self.full_size or (self.pixels.shape[0], self.pixels.shape[1])


@dataclass(frozen=True)
class Header:
    """What is known of a file without decoding its pixels; text is empty and numbers are None where absent.

    Attributes:
        kind: Kind of the file, as in ``Provenance``.
        rows: Height in pixels, as stored.
        columns: Width in pixels, as stored.
        frames: Number of frames, pages or slices, at least 1.
        bits: Bits stored per channel.
        colour: Whether the file holds colour; an RGB image with equal channels may still turn out to be grey.
        photometric: Photometric interpretation or colour mode as stored.
        syntax: Transfer syntax UID or the name of the codec.
        patient: PatientID. Identifies a person: never print it.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        modality: Modality, e.g. DX.
        manufacturer: Manufacturer of the equipment.
        scanner: Model name of the equipment.
        body_part: BodyPartExamined.
        view: ViewPosition, e.g. PA.
        laterality: R, L or empty.
        sex: PatientSex: M, F or O.
        age_years: PatientAge in years.
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


def pixel_shape(height: float, width: float) -> float | None:
    """Return height over width of a pixel; None where these are no sizes, or those of no pixel that there is."""
    if not (0 < height < math.inf and 0 < width < math.inf):
        return None
    return height / width if 1 / ASPECT_MAX <= height / width <= ASPECT_MAX else None


def join_channels(channels: Sequence[Pixels]) -> Pixels:
    """Return one channel ``(height, width)`` as it is, several as ``(height, width, channel)``."""
    return channels[0] if len(channels) == 1 else cast("Pixels", np.stack(channels, axis=-1))


def grey_if_equal(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one channel of an RGB image whose three channels are equal, else the image.

    Args:
        colour: ``(height, width, 3)``.
    """
    red, green, blue = colour[..., 0], colour[..., 1], colour[..., 2]
    is_grey = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red) if is_grey else np.ascontiguousarray(colour)


def check_size(rows: int, columns: int, frames: int, max_megapixels: float) -> int:
    """Refuse impossible sizes, and what would need more memory than allowed, before anything is decoded.

    Returns:
        The number of frames; 1 where the header says 0, as some files with one frame do.

    Raises:
        DataError: Rows x columns x frames are not positive or exceed the limit.
    """
    if rows < 1 or columns < 1 or frames < 0:
        raise DataError(
            f"claims {rows} x {columns} pixels in {frames} frames",
            hint="export the file again, or leave it out of the folder",
        )
    megapixels = rows * columns * max(frames, 1) / PIXELS_PER_MEGAPIXEL
    if megapixels > max_megapixels:
        problem = (
            f"claims {rows} x {columns} pixels x {frames} frames, more than data.max_megapixels = {max_megapixels:g}"
        )
        raise DataError(problem, hint=f"if that is right: --set data.max_megapixels={math.ceil(megapixels)}")
    return max(frames, 1)
