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

    Of labels that do not exclude each other it is the binary cross entropy of each label that is known, times the
    weight of its being present or absent, averaged over the known labels of the batch; 0 where none is known.

    Args:
        logits: ``(batch, 1)`` for two classes, else ``(batch, n_classes)``.
        truth: ``(batch,)`` class indices; of several labels ``(batch, n_labels)`` 1, 0, or -1 where not known.
        class_weights: ``(n_classes,)``; of several labels ``(2 n_labels,)``: absent and present of each.
    """
    if truth.ndim > 1:
        return _masked_loss(logits, truth, class_weights)
    if logits.shape[1] == 1:
        losses = functional.binary_cross_entropy_with_logits(logits[:, 0], truth.to(logits.dtype), reduction="none")
    else:
        losses = functional.cross_entropy(logits, truth, reduction="none")
    return (losses * class_weights[truth]).mean()


def _masked_loss(logits: torch.Tensor, truth: torch.Tensor, class_weights: torch.Tensor) -> torch.Tensor:
    known = (truth >= 0).to(logits.dtype)
    present = (truth == 1).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
    weights = torch.where(truth == 1, class_weights[1::2], class_weights[0::2])
    return (losses * weights * known).sum() / known.sum().clamp(min=1.0)


def label_shift(class_weights: Sequence[float]) -> tuple[float, ...]:
    """Return what the weights of several labels add to the logits of a perfectly fitted network, one per label.

    Args:
        class_weights: Absent and present of each label, as ``weighted_loss`` takes them.
    """
    pairs = zip(class_weights[0::2], class_weights[1::2], strict=True)
    return tuple(math.log(present / absent) for absent, present in pairs)


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
