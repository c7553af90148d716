"""One DICOM object → grey levels or colour, in the standard's order; one lookup table does it for grey."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pydicom
from pydicom import config, uid
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from effmed.data.pixels.codecs import register
from effmed.data.pixels.image import Image, Provenance
from effmed.data.pixels.window import (
    UINT16_MAX,
    apply_window,
    parse_window,
    percentile_text,
    percentile_window,
    scale_between,
    to_uint16,
)
from effmed.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

register()
config.settings.reading_validation_mode = config.IGNORE  # its warnings would print values of the header

BYTE_BITS, WORD_BITS = 8, 16
BYTE_MAX, INVERSE_BYTE = 255, 256  # a table of 16 bits holds 257 levels per level of a byte
BYTES_PER_PIXEL_MAX = 16  # header and padding included, for the bound on a deflated data set
PIXELS_PER_MEGAPIXEL = 1e6
PREAMBLE_BYTES, GROUP_LENGTH_BYTES = 132, 12  # preamble and DICM; the element (0002,0000) itself
DEFER_BYTES = 4096  # larger values stay on disk until they are asked for
GREY = ("MONOCHROME1", "MONOCHROME2")
# XA and XRF: their Modality LUT undoes a curve of the receptor and must not be applied for display (PS3.3 C.8.7.1.1.2).
NO_MODALITY_LUT = (uid.XRayAngiographicImageStorage, uid.XRayRadiofluoroscopicImageStorage)


@dataclass(frozen=True)
class _Grey:
    """What of the header decides how stored values become grey levels."""

    values: NDArray[np.float64]  # modality value of every bit pattern of the container
    padding: NDArray[np.bool_]  # which patterns are padding
    inverse: bool


def read_dataset(path: Path, max_megapixels: float) -> Dataset:
    """Read a DICOM file, with or without a preamble; long values such as pixels when they are asked for.

    Raises:
        DataError: The deflated part would grow beyond what ``max_megapixels`` allows.
    """
    _check_deflated(path, int(max_megapixels * PIXELS_PER_MEGAPIXEL * BYTES_PER_PIXEL_MAX))
    return pydicom.dcmread(path, force=True, defer_size=DEFER_BYTES)


def read_dicom(path: Path, frame: int, *, window: str, max_megapixels: float) -> Image:
    """Decode one frame.

    Args:
        path: The file.
        frame: Index, from 0.
        window: "stored" (VOI LUT or first window, else percentiles), "percentile", "full" or "center/width".
        max_megapixels: Rows x columns x frames above which the file is refused before decoding, in 10^6.

    Raises:
        DataError: No pixels, impossible sizes, too large. What decoders raise for damaged files passes through.
    """
    dataset = read_dataset(path, max_megapixels)
    n_frames = check_size(dataset, max_megapixels)
    if frame >= n_frames:
        raise DataError(f"has {n_frames} frames, frame {frame} was asked for", hint="scan the folder again")
    aspect = _aspect(dataset, frame)
    if str(dataset.PhotometricInterpretation) not in GREY or int(dataset.get("SamplesPerPixel", 1)) > 1:
        return Image(_colour(dataset, frame), aspect, _provenance(dataset, "full", "full", ""))
    levels, text, origin, table = _grey(dataset, frame, window)
    return Image(levels, aspect, _provenance(dataset, text, origin, table))


def check_size(dataset: Dataset, max_megapixels: float) -> int:
    """Check rows, columns and frames before anything is allocated; return the number of frames.

    Raises:
        DataError: They are missing, not positive numbers, or too many.
    """
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        kind = getattr(dataset.get("SOPClassUID"), "name", "unknown kind")
        raise DataError(f"holds no image ({kind})", hint="remove it from the folder")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        n_frames = int(dataset.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            "Rows, Columns or Number of Frames is missing or no number", hint="export the file again"
        ) from error
    if min(rows, columns, n_frames) < 1:
        problem = f"announces {rows} x {columns} pixels in {n_frames} frames"
        raise DataError(problem, hint="export the file again")
    megapixels = rows * columns * n_frames / PIXELS_PER_MEGAPIXEL
    if megapixels > max_megapixels:
        problem = f"announces {megapixels:.0f} million pixels, more than data.max_megapixels = {max_megapixels:g}"
        raise DataError(problem, hint="raise data.max_megapixels if the file is meant to be that large")
    return n_frames


def find_value(dataset: Dataset, frame: int, group: str, name: str) -> Any:  # noqa: ANN401  DICOM values are of many types
    """Return an attribute from the functional groups of the frame, else the shared ones, else the top level.

    Source:
        DICOM PS3.3 C.7.6.16.
    """
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in ([per_frame[frame]] if frame < len(per_frame) else [], shared[:1]):
        for item in groups:
            inner = item.get(group) or []
            if inner and inner[0].get(name) is not None:
                return inner[0].get(name)
    return dataset.get(name)


def _provenance(dataset: Dataset, window: str, origin: str, table: str) -> Provenance:
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", "")) if hasattr(dataset, "file_meta") else ""
    bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0)
    return Provenance("dicom", syntax, str(dataset.PhotometricInterpretation), bits, window, origin, table)


def _check_deflated(path: Path, limit: int) -> None:
    meta = pydicom.filereader.read_file_meta_info(path) if _has_preamble(path) else None
    if meta is None or meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)  # leaves the file where the deflated part begins
        inflated = zlib.decompressobj(-zlib.MAX_WBITS)
        if len(inflated.decompress(file.read(), limit)) >= limit:
            raise DataError(
                f"inflates to more than {limit / 1e6:.0f} MB", hint="raise data.max_megapixels if that is right"
            )


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(PREAMBLE_BYTES).endswith(b"DICM")


def _aspect(dataset: Dataset, frame: int) -> float:
    """Return height over width of a pixel; all three attributes give the vertical value first."""
    for values in (
        find_value(dataset, frame, "PixelMeasuresSequence", "PixelSpacing"),
        dataset.get("ImagerPixelSpacing"),
        dataset.get("PixelAspectRatio"),
    ):
        try:
            height, width = (float(value) for value in values)
        except (TypeError, ValueError):
            continue
        if height > 0 and width > 0 and np.isfinite(height / width):
            return height / width
    return 1.0


def _colour(dataset: Dataset, frame: int) -> NDArray[np.uint8]:
    """Return ``(rows, columns, 3)`` RGB; palettes are looked up, YBR is converted by pydicom or the codec."""
    values = pixel_array(dataset, index=frame, allow_excess_frames=False)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    if values.dtype.itemsize > 1:
        bits = WORD_BITS if dataset.PhotometricInterpretation == "PALETTE COLOR" else int(dataset.BitsStored)
        values = values >> (bits - BYTE_BITS)
    return np.ascontiguousarray(values[..., :3].astype(np.uint8))


def _grey(dataset: Dataset, frame: int, window: str) -> tuple[NDArray[Any], str, str, str]:
    """Return grey levels, the window in words, its origin, and the hash of the lookup table."""
    if "PixelData" not in dataset or int(dataset.BitsAllocated) > WORD_BITS:
        slope, intercept = _slope_intercept(dataset, frame)
        wide = pixel_array(dataset, index=frame, allow_excess_frames=False, raw=True)
        values = wide.astype(np.float64) * slope + intercept
        intensity, text, origin = _intensity(dataset, frame, window, values, values)
        return to_uint16(1 - intensity if _is_inverse(dataset) else intensity), text, origin, ""
    stored = pixel_array(dataset, index=frame, allow_excess_frames=False, raw=True, correct_unused_bits=False)
    patterns = stored.view(f"u{stored.dtype.itemsize}")
    rule = _grey_rule(dataset, frame, patterns.dtype.itemsize * BYTE_BITS)
    seen = rule.values[patterns[~rule.padding[patterns]]] if window in ("stored", "percentile") else rule.values
    intensity, text, origin = _intensity(dataset, frame, window, rule.values, seen)
    table = to_uint16(np.nan_to_num(1 - intensity if rule.inverse else intensity))
    table[rule.padding] = 0
    if patterns.dtype == np.uint8 or int(dataset.BitsStored) <= BYTE_BITS:
        table = ((table.astype(np.uint32) + INVERSE_BYTE // 2) // (INVERSE_BYTE + 1)).astype(np.uint8)
    levels = cv2.LUT(patterns, table)
    return levels, text, origin, hashlib.sha256(table.tobytes()).hexdigest()[:16]


def _grey_rule(dataset: Dataset, frame: int, container_bits: int) -> _Grey:
    """Build, for every bit pattern of the container, its modality value: mask, sign, Modality LUT."""
    bits = min(int(dataset.get("BitsStored") or container_bits), container_bits)
    native = not getattr(dataset.file_meta, "TransferSyntaxUID", uid.ImplicitVRLittleEndian).is_compressed
    high_bit = int(dataset.get("HighBit", bits - 1))
    shift = max(0, high_bit + 1 - bits) if native else 0
    stored = ((np.arange(1 << container_bits) >> shift) & ((1 << bits) - 1)).astype(np.int64)
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        stored = np.where(stored >= 1 << (bits - 1), stored - (1 << bits), stored)
    return _Grey(_modality(dataset, frame, stored), _padding(dataset, stored), _is_inverse(dataset))


def _is_inverse(dataset: Dataset) -> bool:
    """MONOCHROME1 and INVERSE say the same thing (PS3.3 C.7.6.3.1.2): one inversion, never two."""
    return bool(dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE")


def _modality(dataset: Dataset, frame: int, stored: NDArray[np.int64]) -> NDArray[np.float64]:
    sequence = dataset.get("ModalityLUTSequence") or []
    if sequence and dataset.get("SOPClassUID") not in NO_MODALITY_LUT:
        first, table, _ = _table(sequence[0], signed=bool(dataset.get("PixelRepresentation")))
        return table[np.clip(stored - first, 0, len(table) - 1)].astype(np.float64)
    slope, intercept = _slope_intercept(dataset, frame)
    return stored.astype(np.float64) * slope + intercept


def _slope_intercept(dataset: Dataset, frame: int) -> tuple[float, float]:
    group = "PixelValueTransformationSequence"
    slope = find_value(dataset, frame, group, "RescaleSlope")
    intercept = find_value(dataset, frame, group, "RescaleIntercept")
    if slope is None or intercept is None:
        return 1.0, 0.0
    if not (np.isfinite(float(slope)) and np.isfinite(float(intercept)) and float(slope) != 0):
        raise DataError(f"Rescale Slope {slope} and Intercept {intercept} give no values", hint="export the file again")
    return float(slope), float(intercept)


def _padding(dataset: Dataset, stored: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which stored values are padding: one value, or the range up to Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (stored >= low) & (stored <= high)


def _table(item: Dataset, *, signed: bool) -> tuple[int, NDArray[np.int64], int]:
    """Return first mapped value, entries, and bits per entry of a LUT item (PS3.3 C.11.1.1)."""
    n_entries, first, bits = (int(value) for value in item.LUTDescriptor)
    data = item.LUTData
    entries = np.frombuffer(data, dtype="<u2") if isinstance(data, bytes) else np.asarray(data)
    entries = entries.astype(np.int64).reshape(-1)[: n_entries or UINT16_MAX + 1]
    if signed and first > UINT16_MAX // 2:
        first -= UINT16_MAX + 1
    if not len(entries):
        raise DataError("a lookup table of the header is empty", hint="choose another: --set data.window=percentile")
    return first, entries, bits


def _intensity(
    dataset: Dataset, frame: int, window: str, values: NDArray[np.float64], seen: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str, str]:
    """Map modality values to [0, 1] by the recipe's, the file's, or the percentiles' window.

    Args:
        dataset: The header.
        frame: Which frame.
        window: ``data.window``.
        values: Modality values to map.
        seen: Modality values that occur in the image, padding left out.
    """
    chosen = parse_window(window)
    if chosen is not None:
        return apply_window(values, *chosen), f"{chosen[0]:g}/{chosen[1]:g}", "recipe"
    if window == "full":
        return scale_between(values, values.min(), values.max()), "full", "full"
    stored = _stored_window(dataset, frame, values) if window == "stored" else None
    if stored is not None:
        return stored[0], stored[1], "file"
    low, high = percentile_window(seen)
    return scale_between(values, low, high), percentile_text(low, high), "percentile"


def _stored_window(dataset: Dataset, frame: int, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], str] | None:
    """Apply the VOI LUT, else the first window, that the file stores (PS3.3 C.11.2); None if it stores none."""
    sequence = dataset.get("VOILUTSequence") or []
    if sequence and sequence[0].get("LUTData") is not None:
        first, table, bits = _table(sequence[0], signed=bool(values.min() < 0))
        index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
        largest = (
            (1 << bits) - 1 if table.max() > (1 << (bits - 1)) else int(table.max())
        )  # some say 16 and hold 12 bits
        return table[index] / max(1, largest), "lut"
    center = _first(find_value(dataset, frame, "FrameVOILUTSequence", "WindowCenter"))
    width = _first(find_value(dataset, frame, "FrameVOILUTSequence", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = str(find_value(dataset, frame, "FrameVOILUTSequence", "VOILUTFunction") or "LINEAR")
    return apply_window(values, center, width, function), f"{center:g}/{width:g}"


def _first(value: Any) -> float | None:  # noqa: ANN401  one number or several, or a text that is none
    """Several windows are alternatives; the first is the default."""
    try:
        number = float(value[0] if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None
