"""Progressive resizing: the first epochs learn from smaller images, faster; validation sees them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from effmed.learn.plan.fitting import SIDES  # of equal length; Tan and Le, EfficientNetV2 (ICML 2021), table 6

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.learn.plan import Plan

MULTIPLE_PX = 8


def side_factor(plan: Plan, epoch: int) -> float:
    """Return the share of the full side in an epoch: from ``plan.progressive`` in equal steps to 1 in the last stage.

    Args:
        plan: What was decided; 1 for images that are always whole.
        epoch: 0 for the first.

    Source:
        Tan and Le, EfficientNetV2 (ICML 2021), algorithm 1; the strength of augmentation grows by the same share.
    """
    stage = min(SIDES - 1, epoch * SIDES // plan.epochs)
    if stage == SIDES - 1:
        return 1.0  # which the sum below may miss by a rounding
    return plan.progressive + (1 - plan.progressive) * stage / (SIDES - 1)


def shrink(pixels: NDArray[Any], factor: float) -> NDArray[Any]:
    """Return an image whose sides are ``factor`` times as long, down to a multiple of 8 pixels, averaged over areas.

    Args:
        pixels: ``(height, width)`` or ``(height, width, channel)``, uint8 or uint16.
        factor: In (0, 1]; 1 returns the image as it is.
    """
    if factor == 1:
        return pixels
    height, width = (min(n, max(MULTIPLE_PX, int(n * factor / MULTIPLE_PX) * MULTIPLE_PX)) for n in pixels.shape[:2])
    shrunk: NDArray[Any] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk
