"""What is drawn by chance for one training image: an affine map, mirrors, brightness and contrast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effmed.recipe import AugmentSettings

N_RANGES = 7  # rotation, two shifts, two scales, contrast, brightness


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The ranges from which the changes of an image are drawn, all uniform and independent of each other.

    Attributes:
        low: Smallest rotation in degrees, shift as a share of width and of height, scale of width and of height,
            contrast (a factor), and brightness (a share of the grey range, added).
        high: The largest of each.
        mirrors: Chance that left and right change places, and that top and bottom do.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mirrors: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Change:
    """What happens to one image.

    Attributes:
        matrix: ``(2, 3)``: where the centre of pixel ``(x, y, 1)`` goes; mirrors are in it.
        contrast: Factor of every grey value.
        brightness: Added afterwards, as a share of the grey range.
    """

    matrix: NDArray[np.float64]
    contrast: float
    brightness: float


@cache  # one for all batches
def make_augmentation(settings: AugmentSettings) -> Augmentation:
    """Return the ranges that settings ask for."""
    wide = (settings.rotation_degrees, *2 * (settings.shift_fraction,), *2 * (settings.scale_fraction,))
    reach = np.array([*wide, settings.contrast_fraction, settings.brightness_fraction])
    middle = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    mirrors = (0.5 if settings.horizontal_flip else 0.0, 0.5 if settings.vertical_flip else 0.0)
    return Augmentation(middle - reach, middle + reach, mirrors)


def strengthened(settings: AugmentSettings, factor: float) -> AugmentSettings:
    """Return settings whose ranges are ``factor`` times as wide, as far as they may be; mirrors stay."""
    limits = {"rotation_degrees": 180.0, "shift_fraction": 0.5, "scale_fraction": 0.5}
    ranges = ("rotation_degrees", "shift_fraction", "scale_fraction", "brightness_fraction", "contrast_fraction")
    return settings.model_copy(
        update={name: min(factor * getattr(settings, name), limits.get(name, 1.0)) for name in ranges}
    )


def draw_change(augmentation: Augmentation, size: tuple[int, int], *, seed: Sequence[int]) -> Change:
    """Draw the change of one image: always the same for the same seed and size.

    Args:
        augmentation: From ``make_augmentation``.
        size: Height and width of the image in pixels.
        seed: Integers that name this drawing, such as ``(seed, epoch, image)``.
    """
    drawn = np.random.default_rng(tuple(seed)).random(N_RANGES + len(augmentation.mirrors))
    ranges = augmentation.low + drawn[:N_RANGES] * (augmentation.high - augmentation.low)
    contrast, brightness = ranges[5:].tolist()
    is_mirrored = drawn[N_RANGES:] < augmentation.mirrors
    return Change(_matrix(ranges[:5].tolist(), is_mirrored.tolist(), size), contrast, brightness)


def _matrix(drawn: Sequence[float], is_mirrored: Sequence[bool], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the map that scales, then rotates about the middle of the picture, then shifts, then mirrors."""
    degrees, *shifts, scale_x, scale_y = drawn
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    turned = ((cosine * scale_x, sine * scale_y), (-sine * scale_x, cosine * scale_y))
    sides = size[::-1]
    middle = [(side - 1) / 2 for side in sides]
    rows = []
    for axis, (row, side) in enumerate(zip(turned, sides, strict=True)):
        moved = middle[axis] + shifts[axis] * side - row[0] * middle[0] - row[1] * middle[1]
        rows.append((-row[0], -row[1], side - 1 - moved) if is_mirrored[axis] else (*row, moved))
    return np.array(rows)
