"""Changing one image at a time, on the CPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cv2
import numpy as np

from effmed.learn.transforms.changes import draw_change, make_augmentation
from effmed.learn.transforms.inputs import UINT8_MAX, UINT16_MAX

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import otherwise asks the network for updates
from albumentations.augmentations.geometric.functional import warp_affine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effmed.learn.plan import Plan
    from effmed.learn.transforms.changes import Augmentation, Change

TEST_STREAM = 3  # of a plan's seed, beside those of the loader
LEVELS = np.arange(UINT8_MAX + 1)


def augment(augmentation: Augmentation, pixels: NDArray[np.generic], *, seed: Sequence[int]) -> NDArray[np.generic]:
    """Change one image at random, but always in the same way for the same seed.

    Args:
        augmentation: From ``make_augmentation``.
        pixels: ``(height, width)`` or ``(height, width, channel)``; uint8 stays so, uint16 becomes float32 in [0, 1].
        seed: Integers that name this drawing, such as ``(seed, epoch, image)``.
    """
    height, width = pixels.shape[:2]
    return changed(pixels, draw_change(augmentation, (height, width), seed=seed))


def changed(pixels: NDArray[np.generic], change: Change) -> NDArray[np.generic]:
    """Change one image as drawn; the border is filled with 0, the value of the letterbox.

    Args:
        pixels: As of ``augment``; float32 in [0, 1] stays so.
        change: Drawn for the size of this image.
    """
    fit = np.float32(pixels) / np.float32(UINT16_MAX) if pixels.dtype == np.uint16 else pixels
    moved = warp_affine(fit, _squared(change), cv2.INTER_LINEAR, 0, cv2.BORDER_CONSTANT, pixels.shape[:2])
    if moved.dtype == np.uint8:
        table = LEVELS * change.contrast + UINT8_MAX * change.brightness
        levels: NDArray[np.generic] = cv2.LUT(moved, np.rint(table).clip(0, UINT8_MAX).astype(np.uint8))
        return levels
    shades: NDArray[np.float32] = np.multiply(moved, np.float32(change.contrast))
    shades += np.float32(change.brightness)
    return shades.clip(0, 1, out=shades)


def view_of(pixels: NDArray[np.generic], plan: Plan, view: int) -> NDArray[np.generic]:
    """Return one of the views of images whose logits are averaged: 0 is the images as they are.

    What changes depends on the plan's seed and the number of the view alone: it is the same for every image, whatever
    stands beside it.

    Args:
        pixels: ``(image, height, width)`` or ``(image, height, width, channel)``.
        plan: Of the network.
        view: From 0 to ``plan.augment.test_views`` - 1.
    """
    if view == 0 or not len(pixels):
        return pixels
    augmentation = make_augmentation(plan.augment)
    return np.stack([augment(augmentation, each, seed=(plan.seed, TEST_STREAM, view)) for each in pixels])


def _squared(change: Change) -> NDArray[np.float64]:
    return np.vstack((change.matrix, (0.0, 0.0, 1.0)))
