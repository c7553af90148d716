"""Windows: modality values → display intensities, by the functions of the DICOM standard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

UINT16_MAX = 65535
PERCENTILES = (0.5, 99.5)  # a share of 1 % may saturate: letters, markers, metal
NUMBER = r"-?\d+(?:\.\d+)?"


def parse_window(window: str) -> tuple[float, float] | None:
    """Return centre and width of ``data.window``; None for "stored", "percentile" and "full".

    Raises:
        RecipeError: The text is none of them.
    """
    if window in ("stored", "percentile", "full"):
        return None
    match = re.fullmatch(rf"\s*({NUMBER})\s*/\s*({NUMBER})\s*", window)
    if match is None or float(match[2]) < 1:
        problem = (
            f"data.window = {window!r} is neither stored, percentile, full nor center/width with a width of at least 1"
        )
        raise RecipeError(problem, hint="for example --set data.window=40/400")
    return float(match[1]), float(match[2])


def apply_window(
    values: NDArray[np.floating], center: float, width: float, function: str = "LINEAR"
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
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return np.where(values > center - 0.5, 1.0, 0.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def percentile_window(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values between which the middle 99 % lie."""
    low, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0)
    return float(low), float(high)


def scale_between(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Map ``low`` to 0 and ``high`` to 1; a constant image becomes 0."""
    if high <= low:
        return np.zeros(values.shape)
    return np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)


def window_values(
    values: NDArray[Any], window: str, *, full: tuple[float, float]
) -> tuple[NDArray[np.uint16], str, str]:
    """Map grey values without a stored window to the full range of 16 bits.

    Args:
        values: Grey values of any type.
        window: ``data.window``.
        full: Smallest and largest value that the container can hold.

    Returns:
        uint16 of the same shape; the window in words; its origin: "recipe", "percentile" or "full".
    """
    chosen = parse_window(window)
    if chosen is not None:
        return to_uint16(apply_window(values.astype(np.float64), *chosen)), f"{chosen[0]:g}/{chosen[1]:g}", "recipe"
    if window == "full":
        return to_uint16(scale_between(values, *full)), "full", "full"
    low, high = percentile_window(values)
    return to_uint16(scale_between(values, low, high)), percentile_text(low, high), "percentile"


def percentile_text(low: float, high: float) -> str:
    """Say which values the percentiles were."""
    return f"p{PERCENTILES[0]:g}-p{PERCENTILES[1]:g} = {low:g}..{high:g}"


def to_uint16(intensity: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Bring intensities in [0, 1] to 0..65535, rounded."""
    scaled: NDArray[np.uint16] = np.rint(intensity * UINT16_MAX).astype(np.uint16)
    return scaled
