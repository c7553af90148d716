"""Windows: modality values → display intensities in [0, 1], by the functions of the DICOM standard."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from effmed.data.pixels.image import MAX_UINT16, UINT8_TO_UINT16
from effmed.errors import DataError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

PERCENTILES = (0.5, 99.5)  # a share of 1 % may saturate: letters, markers, metal
NAMED_WINDOWS = ("stored", "percentile", "full")
NUMBER = r"-?\d+(?:\.\d+)?"
MAX_EXPONENT = 700.0  # exp(709.8) is the largest float64


@dataclass(frozen=True)
class Window:
    """A way from modality values to intensities.

    Attributes:
        intensity: Maps values of any shape to float64 in [0, 1].
        text: The window in words, as ``Provenance.window``.
        origin: Who chose it, as ``Provenance.window_origin``.
    """

    intensity: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    text: str
    origin: str


def parse_windows(window: str) -> tuple[tuple[float, float], ...]:
    """Return centre and width of each window in ``data.window``; nothing for "stored", "percentile" and "full".

    Raises:
        RecipeError: The text is none of these.
    """
    if window in NAMED_WINDOWS:
        return ()
    matches = [re.fullmatch(rf"\s*({NUMBER})\s*/\s*({NUMBER})\s*", part) for part in window.split(",")]
    parsed = tuple((float(match[1]), float(match[2])) for match in matches if match is not None)
    if len(parsed) < len(matches) or min(width for _, width in parsed) < 1:
        problem = (
            f"data.window = {window!r} is neither stored, percentile, full nor center/width with a width of at least 1"
        )
        raise RecipeError(problem, hint="for example --set data.window=40/400, or several: 40/80,80/200,600/2800")
    return parsed


def recipe_windows(window: str) -> tuple[Window, ...]:
    """Return the windows that ``data.window`` names by centre and width; none for "stored", "percentile" and "full"."""
    return tuple(center_window(*parsed, origin="recipe") for parsed in parse_windows(window))


def refuse_windows(window: str, content: str) -> None:
    """Refuse several windows where there are no values to cut them from.

    Args:
        window: ``data.window``.
        content: What the file holds instead, such as "colours".

    Raises:
        DataError: ``window`` names several.
    """
    if len(parse_windows(window)) > 1:
        problem = f"holds {content}, from which the windows {window} cannot be made"
        raise DataError(problem, hint="leave it out of the folder, or use one window: --set data.window=stored")


def in_words(windows: Sequence[Window]) -> str:
    """Return all windows of an image as ``Provenance.window``."""
    return ", ".join(window.text for window in windows)


def apply_window(
    values: NDArray[np.float64], center: float, width: float, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """Map modality values to display intensities with a DICOM window.

    Values below the window become 0, values above it 1. The half-unit offsets of LINEAR are the
    standard's, not an approximation: they make a width of 256 cover exactly 256 integers.

    Args:
        values: Modality values of any shape, after rescale (Hounsfield units for CT).
        center: Window Center (0028,1050), in the unit of ``values``.
        width: Window Width (0028,1051), likewise. LINEAR is not defined below 1 and becomes LINEAR_EXACT.
        function: VOI LUT Function (0028,1056): LINEAR, LINEAR_EXACT or SIGMOID.

    Returns:
        Intensities in [0, 1], same shape as ``values``.

    Raises:
        ValueError: The width is not positive.

    Source:
        DICOM PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2.
    """
    if width <= 0:
        raise ValueError(f"window width {width:g} is not positive")
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -MAX_EXPONENT, MAX_EXPONENT)
        return np.asarray(1.0 / (1.0 + np.exp(exponent)))
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return np.where(values > center - 0.5, 1.0, 0.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def center_window(center: float, width: float, function: str = "LINEAR", *, origin: str) -> Window:
    """Return the window that ``apply_window`` applies."""
    intensity = partial(apply_window, center=center, width=width, function=function)
    return Window(intensity, f"{center:g}/{width:g}", origin)


def percentile_window(values: NDArray[np.float64], counts: NDArray[np.intp] | None = None) -> Window:
    """Return the window between whose ends the middle 99 % of an image lie.

    Where 99 % of the image are one value (a mask, a nuclear image), the smallest and largest value are taken, so that
    what differs stays visible; where all of it is one value, zero and this value.

    Args:
        values: Modality values that may occur; padding and what is not finite left out.
        counts: How often each occurs; None: once.
    """
    seen = values if counts is None else values[counts > 0]
    if not seen.size:
        return between(0.0, 0.0, text="no values", origin="percentile")
    weights = None if counts is None else counts[counts > 0]
    low, high = np.percentile(seen, PERCENTILES, weights=weights, method="inverted_cdf")
    if low < high:
        text = f"p{PERCENTILES[0]:g}-p{PERCENTILES[1]:g} = {low:g}..{high:g}"
        return between(float(low), float(high), text=text, origin="percentile")
    low, high = seen.min(), seen.max()
    if low == high:
        low = min(0.0, high)
    return between(float(low), float(high), text=f"p0-p100 = {low:g}..{high:g}", origin="percentile")


def full_window(low: float, high: float) -> Window:
    """Return the window over everything that the file could hold."""
    return between(low, high, text="full", origin="full")


def between(low: float, high: float, *, text: str, origin: str) -> Window:
    """Return the window that maps ``low`` to 0 and ``high`` to 1."""
    return Window(partial(scale_between, low=low, high=high), text, origin)


def scale_between(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Map ``low`` to 0 and ``high`` to 1; everything to 0 where both are the same."""
    if high <= low:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def to_uint16(intensity: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Bring intensities in [0, 1] to 0..65535, rounded; what is not a number becomes 0."""
    return np.rint(np.nan_to_num(intensity, nan=0.0) * MAX_UINT16).astype(np.uint16)


def to_uint8(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Bring grey levels 0..65535 to 0..255, rounded to the nearest."""
    return ((levels.astype(np.uint32) + UINT8_TO_UINT16 // 2) // UINT8_TO_UINT16).astype(np.uint8)
