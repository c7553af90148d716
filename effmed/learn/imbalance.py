"""What is done about rare classes: weighted losses, and the exact shift of the logits that each one causes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


def weighted_loss(logits: torch.Tensor, truth: torch.Tensor, class_weights: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of each image, times the weight of its class, averaged over the batch.

    The average divides by the number of images, not by the sum of the weights, so that a batch
    without the rare class does not count more than its share.

    Args:
        logits: ``(batch, 1)`` for two classes, else ``(batch, n_classes)``.
        truth: ``(batch,)`` class indices.
        class_weights: ``(n_classes,)``.
    """
    if logits.shape[1] == 1:
        losses = functional.binary_cross_entropy_with_logits(logits[:, 0], truth.to(logits.dtype), reduction="none")
    else:
        losses = functional.cross_entropy(logits, truth, reduction="none")
    return (losses * class_weights[truth]).mean()


def prior_shift(class_weights: Sequence[float]) -> tuple[float, ...]:
    """Return what the weights add to the logits of a perfectly fitted network.

    Weighting class k by w_k multiplies its odds by w_k: for two classes
    logit q = logit p + ln(w_1 / w_0), for more q_k ∝ w_k p_k. Subtracting the shift
    brings the probabilities back to the prevalence of the data.

    Args:
        class_weights: One weight per class.

    Returns:
        One number per logit: one for two classes, else one per class.

    Source:
        King and Zeng, Logistic Regression in Rare Events Data (2001), section 4.
    """
    if len(class_weights) == 2:
        return (math.log(class_weights[1] / class_weights[0]),)
    return tuple(math.log(weight) for weight in class_weights)
