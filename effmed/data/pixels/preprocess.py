"""Preprocessing: the deterministic steps from an image to the pixels that a network is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from effmed.data.pixels.image import UINT8_TO_UINT16, join_channels
from effmed.data.pixels.window import parse_windows, to_uint8
from effmed.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.data.pixels.image import Image, Pixels


class Preprocessing(BaseModel):
    """Everything deterministic that shapes the pixels; stored in plan and bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    height: int
    """Height of the letterboxed image in pixels."""
    width: int
    """Width of the letterboxed image in pixels."""
    channels: Annotated[int, Field(ge=1)]
    """1: colour becomes luma; 3: grey is replicated; or as many as ``window`` names windows."""
    depth: Literal["uint8", "uint16"]
    """Type of the pixels; the full range of either is used."""
    window: str
    """DICOM window: 'stored', 'center/width', 'percentile' or 'full'; several 'center/width' are channels."""
    max_megapixels: float
    """Rows x columns x frames above which a file is refused before decoding, in 10^6."""
    reduced_decode: bool = False
    """Whether JPEG 2000 is decoded at the lowest resolution that is at least twice the size of the result."""

    @property
    def size_text(self) -> str:
        """The size in words; height and width by name where they differ."""
        is_square = self.height == self.width
        return f"{self.width} × {self.height} px" if is_square else f"{self.height} px high × {self.width} px wide"

    @property
    def enough(self) -> tuple[int, int] | None:
        """Height and width that ``read_image`` need not exceed much; None where files are decoded whole."""
        return (self.height, self.width) if self.reduced_decode else None


def preprocess(image: Image, spec: Preprocessing) -> Pixels:
    """Bring an image to the network's channels, depth and size, its proportions kept.

    The image is resized to fit inside ``(spec.height, spec.width)`` with square pixels, by area averaging where it
    shrinks and linearly where it grows, and centred on black.

    Args:
        image: Grey uint8 or uint16, RGB uint8, or several windows uint8 or uint16.
        spec: What is asked for.

    Returns:
        ``(height, width)`` for one channel, ``(height, width, channel)`` for more, of type ``spec.depth``.

    Raises:
        DataError: ``spec.window`` names several windows, and the image does not hold these.
    """
    n_windows = len(parse_windows(spec.window))
    if n_windows > 1 or image.has_windows:
        _check_windows(image, n_windows, spec)
        pixels = image.pixels
    else:
        pixels = _with_channels(image.pixels, spec.channels)
    return _with_depth(_letterbox(pixels, image, spec), spec.depth)


def _check_windows(image: Image, n_windows: int, spec: Preprocessing) -> None:
    n_held = image.pixels.shape[-1] if image.has_windows else 1
    if not n_held == n_windows == spec.channels:
        problem = f"holds {n_held} window(s), data.window = {spec.window} is {n_windows}, channels = {spec.channels}"
        raise DataError(problem, hint="windows are made from stored values, such as DICOM's; else use one window")


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Turn colour into luma (ITU-R BT.601) for one channel, repeat grey for three."""
    is_colour = pixels.ndim > 2
    if is_colour and channels == 1:
        return cast("Pixels", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    if not is_colour and channels > 1:
        return cast("Pixels", np.repeat(pixels[:, :, np.newaxis], channels, axis=2))
    return pixels


def _letterbox(pixels: Pixels, image: Image, spec: Preprocessing) -> Pixels:
    size = fitted_size(image.size, image.aspect, (spec.height, spec.width))
    shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    resized = _resized(pixels, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    boxed = np.zeros((spec.height, spec.width, *pixels.shape[2:]), dtype=pixels.dtype)
    top, left = (spec.height - size[0]) // 2, (spec.width - size[1]) // 2
    boxed[top : top + size[0], left : left + size[1]] = resized
    return boxed


def fitted_size(size: tuple[int, int], aspect: float, box: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which a picture with square pixels fits inside a box, at least one pixel each way.

    Args:
        size: Height and width in pixels, as stored.
        aspect: Height of a pixel divided by its width.
        box: Height and width in pixels.
    """
    height, width = size[0] * aspect, size[1]
    scale = min(box[0] / height, box[1] / width)
    fitted_height = min(max(round(height * scale), 1), box[0])
    fitted_width = min(max(round(width * scale), 1), box[1])
    return fitted_height, fitted_width


def _resized(pixels: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    if pixels.ndim > 2 and pixels.shape[2] != 3:  # cv2.resize takes at most 4 channels, and rounds 2 in another way
        return join_channels([_resized(channel, size, interpolation) for channel in np.moveaxis(pixels, -1, 0)])
    return cast("Pixels", cv2.resize(pixels, (size[1], size[0]), interpolation=interpolation))


def _with_depth(pixels: Pixels, depth: str) -> Pixels:
    """Convert between the full ranges of uint8 and uint16, rounding to the nearest."""
    if pixels.dtype == np.dtype(depth):
        return pixels
    if depth == "uint16":
        return pixels.astype(np.uint16) * np.uint16(UINT8_TO_UINT16)
    return to_uint8(cast("NDArray[np.uint16]", pixels))
