"""Augmentation (seeded, training only) and the step from stored pixels to the network's input."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import otherwise asks the network for updates
import albumentations as A  # noqa: N812  after the line above; A is the name its documentation uses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effmed.recipe import AugmentSettings

UINT16_MAX = 65535
UINT8_MAX = 255


@cache  # one for all batches: what it draws, it draws from the seed of each image
def make_augmentation(settings: AugmentSettings) -> A.Compose:
    """Build the random changes of a training image: one affine map, mirrors, brightness and contrast.

    The border is filled with 0, the value of the letterbox.
    """
    shift, scale, degrees = settings.shift_fraction, settings.scale_fraction, settings.rotation_degrees
    return A.Compose(
        [
            A.Affine(
                rotate=(-degrees, degrees),
                translate_percent=(-shift, shift),
                scale=(1 - scale, 1 + scale),
                p=1.0,
            ),
            A.HorizontalFlip(p=0.5 if settings.horizontal_flip else 0.0),
            A.VerticalFlip(p=0.5 if settings.vertical_flip else 0.0),
            A.RandomBrightnessContrast(
                brightness_limit=settings.brightness_fraction,
                contrast_limit=settings.contrast_fraction,
                p=1.0,
            ),
        ]
    )


def strengthened(settings: AugmentSettings, factor: float) -> AugmentSettings:
    """Return settings whose ranges are ``factor`` times as wide, as far as they may be; mirrors stay."""
    limits = {"rotation_degrees": 180.0, "shift_fraction": 0.5, "scale_fraction": 0.5}
    ranges = ("rotation_degrees", "shift_fraction", "scale_fraction", "brightness_fraction", "contrast_fraction")
    return settings.model_copy(
        update={name: min(factor * getattr(settings, name), limits.get(name, 1.0)) for name in ranges}
    )


def augment(augmentation: A.Compose, pixels: NDArray[np.generic], *, seed: Sequence[int]) -> NDArray[np.generic]:
    """Change one image at random, but always in the same way for the same seed.

    Args:
        augmentation: From ``make_augmentation``.
        pixels: ``(height, width)`` or ``(height, width, channel)``; uint8 stays so, uint16 becomes float32 in [0, 1].
        seed: Integers that name this drawing, such as ``(seed, epoch, image)``.
    """
    augmentation.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    fit = pixels if pixels.dtype == np.uint8 else np.float32(pixels) / np.float32(UINT16_MAX)
    changed: NDArray[np.generic] = augmentation(image=fit)["image"]
    return changed


def to_input(pixels: NDArray[np.generic], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn stored pixels into what the network takes.

    Args:
        pixels: ``(batch, height, width)`` or ``(batch, height, width, channel)``, uint8, uint16, or float32 in
            [0, 1].
        mean: Per channel, in [0, 1].
        std: Per channel.

    Returns:
        float32 ``(batch, channel, height, width)``, channels last in memory, normalised.
    """
    largest = {np.dtype(np.uint8): UINT8_MAX, np.dtype(np.uint16): UINT16_MAX}.get(pixels.dtype, 1)
    scaled = torch.from_numpy(np.float32(pixels)).div_(largest)
    batch = scaled.unsqueeze(1) if scaled.ndim == 3 else scaled.permute(0, 3, 1, 2)  # (batch, height, width) is grey
    shape = (1, -1, 1, 1)
    normalised = (batch - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    return normalised.contiguous(memory_format=torch.channels_last)
