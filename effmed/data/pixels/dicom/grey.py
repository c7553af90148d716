"""Stored values → grey levels, in the standard's order: mask, sign, modality, window, inversion, padding, depth.

Up to 16 bits the chain is evaluated once for every value that a container can hold, and the table is applied to the
image: exact by construction, and fast.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import cv2
import numpy as np
from pydicom import uid

from effmed.data.pixels.dicom.dataset import (
    CONVERT_HINT,
    EXPLICIT_BIG,
    Bits,
    first_numbers,
    groups,
    lut_entries,
    numbers,
    text,
)
from effmed.data.pixels.image import BITS_PER_BYTE, Pixels, join_channels
from effmed.data.pixels.window import (
    Window,
    between,
    center_window,
    full_window,
    in_words,
    percentile_window,
    recipe_windows,
    to_uint8,
    to_uint16,
)
from effmed.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    from effmed.data.pixels.dicom.dataset import DicomFile, Layout

Values: TypeAlias = "NDArray[np.int64] | NDArray[np.float64]"

WORD_BITS = 16
# XA and XRF: their Modality LUT undoes a curve of the receptor and is not for display (PS3.3 C.8.7.1.1.2).
NO_MODALITY_LUT = (uid.XRayAngiographicImageStorage, uid.XRayRadiofluoroscopicImageStorage)
DIGEST_LETTERS = 16


@dataclass(frozen=True)
class Lut:
    """A lookup table of the header (PS3.3 C.11.1.1): entries from the value ``first`` on, each of ``bits`` bits."""

    first: int
    entries: NDArray[np.int64]
    bits: int

    def __call__(self, values: Values) -> NDArray[np.int64]:
        """Look values up; those before the first and after the last entry take these."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[index.astype(np.int64)])


@dataclass(frozen=True)
class GreyLevels:
    """Grey levels and how they came about.

    Attributes:
        pixels: ``(rows, columns)``, black is 0; ``(rows, columns, window)`` for several windows.
        window: As ``Provenance.window``.
        origin: As ``Provenance.window_origin``.
        table: Hash of the tables that mapped containers to grey levels, one per window; empty above 16 bits.
        has_bright_padding: Whether the windows alone would not make padding black.
    """

    pixels: Pixels
    window: str
    origin: str
    table: str
    has_bright_padding: bool


def grey_levels(
    pixels: NDArray[np.generic], opened: DicomFile, layout: Layout, bits: Bits, *, frame: int, window: str
) -> GreyLevels:
    """Map the containers of one monochrome frame to grey levels.

    Args:
        pixels: ``(rows, columns)`` integers or floats, as decoded.
        opened: The file.
        layout: Its layout.
        bits: Where the stored values lie in these integers.
        frame: Which frame; functional groups may differ between frames.
        window: ``data.window``.

    Raises:
        DataError: The header's rescale or lookup tables give no finite values.
    """
    chain = _Chain(opened, layout, frame)
    if not np.issubdtype(pixels.dtype, np.integer) or pixels.dtype.itemsize * BITS_PER_BYTE > WORD_BITS:
        direct, chosen, is_bright = chain.levels(stored_values(pixels, bits), None, window)
        return GreyLevels(join_channels(direct), in_words(chosen), chosen[0].origin, "", is_bright)
    containers = pixels.view(f"u{pixels.dtype.itemsize}")
    possible = stored_values(np.arange(1 << (pixels.dtype.itemsize * BITS_PER_BYTE)), bits)
    tables, chosen, is_bright = chain.levels(possible, containers, window)
    digest = hashlib.sha256(b"".join(table.tobytes() for table in tables)).hexdigest()[:DIGEST_LETTERS]
    levels = join_channels([cast("Pixels", cv2.LUT(containers, table)) for table in tables])
    return GreyLevels(levels, in_words(chosen), chosen[0].origin, digest, is_bright)


def stored_values(containers: NDArray[np.generic], bits: Bits) -> Values:
    """Return the values that containers hold: overlay bits masked, sign extended (PS3.5 8.1.1); floats as they are."""
    if not np.issubdtype(containers.dtype, np.integer):
        return containers.astype(np.float64)
    above = np.int64(64 - bits.stored)
    values = containers.astype(np.int64) >> np.int64(bits.shift)
    if bits.signed:
        return (values << above) >> above
    return values & np.int64((1 << min(bits.stored, 63)) - 1)


@dataclass(frozen=True)
class _Chain:
    """The steps of one frame."""

    opened: DicomFile
    layout: Layout
    frame: int

    def levels(
        self, stored: Values, containers: NDArray[np.generic] | None, window: str
    ) -> tuple[list[Pixels], tuple[Window, ...], bool]:
        """Map stored values to grey levels, once per window.

        Args:
            stored: Values to map: all that are possible, or those of the image.
            containers: The image as indices into these values; None where they are the image itself.
            window: ``data.window``.

        Returns:
            Grey levels, the windows, and whether padding had to be made black.
        """
        modality = self._modality(stored)
        padding = self._padding(stored) | ~np.isfinite(modality)
        chosen = self._windows(modality, window)
        if not chosen:
            counts = None if containers is None else np.bincount(containers.ravel(), minlength=stored.size)
            kept = ~padding
            chosen = (percentile_window(modality[kept], None if counts is None else counts[kept]),)
        levels = [self._in_window(modality, each) for each in chosen]
        is_bright = any(bool(each[padding].any()) for each in levels)
        for each in levels:
            each[padding] = 0
        is_byte = self.layout.stored <= BITS_PER_BYTE
        return [to_uint8(each) if is_byte else each for each in levels], chosen, is_bright

    def _in_window(self, modality: NDArray[np.float64], window: Window) -> NDArray[np.uint16]:
        intensity = window.intensity(modality)
        return to_uint16(1.0 - intensity if self._is_inverse() else intensity)

    def _is_inverse(self) -> bool:
        """MONOCHROME1 and INVERSE say the same thing (PS3.3 C.7.6.3.1.2): one inversion, never two."""
        return (
            self.layout.photometric == "MONOCHROME1" or text(self.opened.dataset, "PresentationLUTShape") == "INVERSE"
        )

    def _modality(self, stored: Values) -> NDArray[np.float64]:
        """Apply the Modality LUT, else slope and intercept, of the frame (PS3.3 C.11.1)."""
        dataset = self.opened.dataset
        lut = self._lut("ModalityLUTSequence", is_signed=self.layout.signed)
        if lut is not None and dataset.get("SOPClassUID") not in NO_MODALITY_LUT:
            return lut(stored).astype(np.float64)
        slope, intercept = (
            first_numbers(dataset, self.frame, "PixelValueTransformationSequence", keyword) or [absent]
            for keyword, absent in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
        )
        values = stored.astype(np.float64) * slope[0] + intercept[0]
        is_whole = np.issubdtype(stored.dtype, np.integer)
        if slope[0] == 0 or (is_whole and not np.isfinite(values).all()):
            problem = f"rescale slope {slope[0]:g} and intercept {intercept[0]:g} give no usable values"
            raise DataError(problem, hint=CONVERT_HINT)
        return values

    def _padding(self, stored: Values) -> NDArray[np.bool_]:
        """Which stored values are padding: one value, or the range up to the limit (PS3.3 C.7.5.1.1.2)."""
        ends = [numbers(self.opened.dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        given = [end[0] for end in ends if end]
        if not ends[0]:
            return np.zeros(stored.shape, dtype=bool)
        return np.asarray((stored >= min(given)) & (stored <= max(given)))

    def _windows(self, modality: NDArray[np.float64], window: str) -> tuple[Window, ...]:
        """Return the recipe's windows, else the file's VOI LUT, else its first window; nothing: take percentiles."""
        if window == "full":
            return (self._full_window(modality),)
        stored = self._stored_window(modality) if window == "stored" else None
        return recipe_windows(window) if stored is None else (stored,)

    def _stored_window(self, modality: NDArray[np.float64]) -> Window | None:
        """Several windows are alternatives (PS3.3 C.11.2.1.2); the first is the default."""
        lut = self._lut("VOILUTSequence", is_signed=bool(modality.min(initial=0) < 0))
        if lut is not None:
            # Some descriptors say 16 bits over entries of 12.
            used_bits = min(lut.bits, int(lut.entries.max()).bit_length())
            full = between(0.0, float((1 << max(used_bits, 1)) - 1), text="lut", origin="file")
            return Window(lambda values: full.intensity(lut(values).astype(np.float64)), full.text, full.origin)
        for place in groups(self.opened.dataset, self.frame, "FrameVOILUTSequence"):
            center, width = numbers(place, "WindowCenter")[:1], numbers(place, "WindowWidth")[:1]
            if center and width and np.isfinite([*center, *width]).all() and width[0] > 0:
                function = text(place, "VOILUTFunction") or "LINEAR"
                return center_window(center[0], width[0], function, origin="file")
        return None

    def _full_window(self, modality: NDArray[np.float64]) -> Window:
        """Everything that the stored bits can hold; what occurs, where these are floats."""
        bits = Bits(self.layout.stored, 0, self.layout.signed)
        if self.layout.is_float:
            ends = modality[np.isfinite(modality)]
        elif self.layout.stored <= WORD_BITS:
            ends = self._modality(stored_values(np.arange(1 << self.layout.stored), bits))
        else:
            half = 1 << (self.layout.stored - 1)
            ends = self._modality(np.array([-half, half - 1]) if bits.signed else np.array([0, 2 * half - 1]))
        return full_window(float(ends.min(initial=np.inf)), float(ends.max(initial=-np.inf)))

    def _lut(self, sequence: str, *, is_signed: bool) -> Lut | None:
        """Return the first table of a sequence; None where it has none, or an empty one."""
        items: list[Dataset] = list(self.opened.dataset.get(sequence) or [])
        if not items or items[0].get("LUTData") is None:
            return None
        descriptor = [int(value) for value in numbers(items[0], "LUTDescriptor")]
        if len(descriptor) != 3:
            return None
        n_entries = descriptor[0] % (1 << WORD_BITS) or 1 << WORD_BITS
        entries = lut_entries(items[0].get("LUTData"), n_entries, is_big=self.opened.syntax == EXPLICIT_BIG)
        first = descriptor[1] % (1 << WORD_BITS)
        is_negative = is_signed and first >= 1 << (WORD_BITS - 1)
        return Lut(first - (1 << WORD_BITS) if is_negative else first, entries, descriptor[2])
