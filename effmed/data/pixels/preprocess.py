"""Preprocessing: an image of any size and depth → a letterboxed array of one size and depth, always the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.data.pixels.image import Image

DTYPES = {"uint8": np.uint8, "uint16": np.uint16}
UINT16_PER_UINT8 = 257  # 255 * 257 = 65535: both ranges end where they should


class Preprocessing(BaseModel):
    """Everything deterministic that shapes the pixels; stored in plan and bundle.

    Attributes:
        height: Rows of the result.
        width: Columns of the result.
        channels: 1: colour becomes luma; 3: grey is replicated.
        depth: Type of the result.
        window: As in the recipe, ``data.window``.
        max_megapixels: Size above which a file is refused before decoding, in 10^6 pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: int
    width: int
    channels: Literal[1, 3]
    depth: Literal["uint8", "uint16"]
    window: str
    max_megapixels: float


def preprocess(image: Image, spec: Preprocessing) -> NDArray[np.generic]:
    """Bring an image to the size, channels and depth of ``spec``, its aspect kept, centred on black.

    Args:
        image: Decoded image; ``aspect`` stretches it so that one millimetre is as high as it is wide.
        spec: What is wanted.

    Returns:
        ``(height, width)`` or ``(height, width, 3)`` of type ``spec.depth``.
    """
    pixels = _with_channels(_with_depth(image.pixels, spec), spec.channels)
    rows, columns = pixels.shape[0] * image.aspect, float(pixels.shape[1])
    scale = min(spec.height / rows, spec.width / columns)
    height = max(1, min(spec.height, round(rows * scale)))
    width = max(1, min(spec.width, round(columns * scale)))
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    fitted = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    result = np.zeros((spec.height, spec.width, *pixels.shape[2:]), dtype=DTYPES[spec.depth])
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    result[top : top + height, left : left + width] = fitted
    return result


def _with_depth(pixels: NDArray[np.generic], spec: Preprocessing) -> NDArray[np.generic]:
    if pixels.dtype == DTYPES[spec.depth]:
        return pixels
    if spec.depth == "uint16":
        return pixels.astype(np.uint16) * np.uint16(UINT16_PER_UINT8)
    return ((pixels.astype(np.uint32) + UINT16_PER_UINT8 // 2) // UINT16_PER_UINT8).astype(np.uint8)


def _with_channels(pixels: NDArray[np.generic], channels: int) -> NDArray[np.generic]:
    if channels == 1 and pixels.ndim > 2:
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[no-any-return]  # cv2 ships no types
    if channels > 1 and pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], channels, axis=2)
    return pixels
