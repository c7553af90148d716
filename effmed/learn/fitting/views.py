"""Views of an image whose logits are averaged: the image as it is, and changed as for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effmed.learn.fitting.loop import predict_logits
from effmed.learn.loader import ordered_batches
from effmed.learn.transforms import to_input, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from numpy.typing import NDArray

    from effmed.learn.loader import Images
    from effmed.learn.plan import Plan


def mean_over_views(logits_of: Callable[[int], NDArray[np.float32]], plan: Plan) -> NDArray[np.float32]:
    """Return the mean of the logits of all planned views, float32 ``(image, n_outputs)``.

    Args:
        logits_of: Gives the logits of one view of all images, by its number.
        plan: Of the network.
    """
    n_views = plan.augment.test_views
    if n_views == 1:
        return logits_of(0)
    total = logits_of(0).astype(np.float64)
    for view in range(1, n_views):
        total += logits_of(view)
    return (total / n_views).astype(np.float32)


def predict_views(network: torch.nn.Module, images: Images, plan: Plan) -> NDArray[np.float32]:
    """Return the logits of images in their order, averaged over the planned views."""

    def logits_of(view: int) -> NDArray[np.float32]:
        batches = ordered_batches(images, plan) if view == 0 else _view_batches(images, plan, view)
        return predict_logits(network, batches, plan)

    return mean_over_views(logits_of, plan)


def _view_batches(images: Images, plan: Plan, view: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), plan.micro_batch):
        pixels = images.pixels[images.rows[start : start + plan.micro_batch]]
        yield to_input(view_of(pixels, plan, view), plan.mean, plan.std)
