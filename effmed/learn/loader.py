"""Cached pixels → batches: shuffled and augmented for training, in order otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from effmed.learn.transforms import augment, make_augmentation, to_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from effmed.data.cache import CachedPixels
    from effmed.learn.plan import Plan

ORDER_STREAM, AUGMENT_STREAM = 0, 1  # separate random streams of one seed


@dataclass(frozen=True)
class Images:
    """The preprocessed images of one split.

    Attributes:
        pixels: ``(image, height, width)`` or ``(image, height, width, channel)``: the cache, memory-mapped.
        rows: ``(n,)`` which of the cache's images belong to the split.
        truth: ``(n,)`` class index of each; of several labels ``(n, label)`` 1, 0, or -1 where not known.
    """

    pixels: NDArray[np.generic] | CachedPixels
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def train_batches(images: Images, plan: Plan, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ``(input, truth)`` batches of one epoch, in an order and with changes that depend on seed and epoch only.

    A last batch of a single image is left out: batch normalisation cannot learn from one.
    """
    augmentation = make_augmentation(plan.augment)
    order = np.random.default_rng((plan.seed, ORDER_STREAM, epoch)).permutation(len(images))
    for start in range(0, len(order), plan.batch_size):
        chosen = order[start : start + plan.batch_size]
        if len(chosen) == 1 and start > 0:
            return
        pixels = np.stack(
            [
                augment(augmentation, images.pixels[images.rows[i]], seed=(plan.seed, AUGMENT_STREAM, epoch, int(i)))
                for i in chosen
            ]
        )
        yield to_input(pixels, plan.mean, plan.std), torch.from_numpy(images.truth[chosen])


def ordered_batches(images: Images, plan: Plan) -> Iterator[torch.Tensor]:
    """Yield input batches of all images in their order, unchanged by chance."""
    for start in range(0, len(images), plan.batch_size):
        yield to_input(images.pixels[images.rows[start : start + plan.batch_size]], plan.mean, plan.std)


def n_steps(images: Images, plan: Plan) -> int:
    """Return how many batches ``train_batches`` yields."""
    full, rest = divmod(len(images), plan.batch_size)
    return full + (1 if rest > 1 or (rest == 1 and full == 0) else 0)
