"""Cached pixels → batches: shuffled and augmented for training, in order otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from effmed.learn.transforms import augment, make_augmentation, strengthened, to_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from effmed.data.cache import CachedPixels
    from effmed.learn.plan import Plan

ORDER_STREAM, AUGMENT_STREAM, VIEW_STREAM = 0, 1, 2  # separate random streams of one seed


class Examples(Protocol):
    """What batches are made of: images, or what a frozen backbone makes of them."""

    @property
    def truth(self) -> NDArray[np.int64]:
        """``(n,)`` class index of each; of several labels ``(n, label)`` 1, 0, or -1 where not known."""

    def __len__(self) -> int: ...

    def inputs(self, chosen: NDArray[np.int64], plan: Plan) -> torch.Tensor:
        """Return what the network takes of some of them, unchanged by chance."""

    def changed_inputs(self, chosen: NDArray[np.int64], plan: Plan, epoch: int) -> torch.Tensor:
        """Return the same with changes that depend on seed, epoch and image only."""


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

    def inputs(self, chosen: NDArray[np.int64], plan: Plan) -> torch.Tensor:
        """Return images as the network takes them, ``(image, channel, height, width)``."""
        return to_input(self.pixels[self.rows[chosen]], plan.mean, plan.std)

    def changed_inputs(self, chosen: NDArray[np.int64], plan: Plan, epoch: int) -> torch.Tensor:
        """Return images with the changes that depend on seed, epoch and image only."""
        seed, strengths = (plan.seed, AUGMENT_STREAM, epoch), plan.imbalance.augment
        by_strength = {each: make_augmentation(strengthened(plan.augment, each)) for each in {1.0, *strengths}}
        of_image = [strengths[int(self.truth[i])] if self.truth.ndim == 1 else 1.0 for i in chosen]
        changed = [
            augment(by_strength[strength], self.pixels[self.rows[i]], seed=(*seed, int(i)))
            for i, strength in zip(chosen, of_image, strict=True)
        ]
        return to_input(np.stack(changed), plan.mean, plan.std)


def train_batches(examples: Examples, plan: Plan, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ``(input, truth)`` batches of one epoch, in an order and with changes that depend on seed and epoch only.

    A last batch of a single image is left out: batch normalisation cannot learn from one.
    """
    order = _order(examples, plan, epoch)
    for start in range(0, len(order), plan.batch_size):
        chosen = order[start : start + plan.batch_size]
        if len(chosen) == 1 and start > 0:
            return
        yield examples.changed_inputs(chosen, plan, epoch), torch.from_numpy(examples.truth[chosen])


def _order(examples: Examples, plan: Plan, epoch: int) -> NDArray[np.int64]:
    """Return as many numbers of examples as there are: each once, or drawn again and again where classes are."""
    chance, drawn = np.random.default_rng((plan.seed, ORDER_STREAM, epoch)), plan.imbalance.drawn
    if set(drawn) == {1.0}:
        return chance.permutation(len(examples))
    factors = np.asarray(drawn)[examples.truth]
    return chance.choice(len(examples), size=len(examples), p=factors / factors.sum())


def ordered_batches(examples: Examples, plan: Plan) -> Iterator[torch.Tensor]:
    """Yield input batches of all examples in their order, unchanged by chance."""
    for start in range(0, len(examples), plan.batch_size):
        yield examples.inputs(np.arange(start, min(start + plan.batch_size, len(examples))), plan)


def n_steps(examples: Examples, plan: Plan) -> int:
    """Return how many batches ``train_batches`` yields."""
    full, rest = divmod(len(examples), plan.batch_size)
    return full + (1 if rest > 1 or (rest == 1 and full == 0) else 0)
