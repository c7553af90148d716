"""The loss, with what is planned for rare classes, and how to undo what that does to the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from effmed.evaluate.calibrators import Unfocus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.learn.plan import Imbalance


def imbalanced_loss(logits: torch.Tensor, truth: torch.Tensor, imbalance: Imbalance) -> torch.Tensor:
    """Return the cross entropy of each image, weighted, focused and offset as planned, averaged over the batch.

    The average divides by the number of images, not by the sum of the weights, so that a batch without the rare class
    does not count more than its share. Of labels that do not exclude each other it is over the known labels of the
    batch; 0 where none is known.

    Args:
        logits: float32 ``(batch, 1)`` for two classes, else ``(batch, n_classes)``.
        truth: ``(batch,)`` class indices; of several labels ``(batch, n_labels)`` 1, 0, or -1 where not known.
        imbalance: What is planned. Its drawing and augmentation are the loader's.

    Source:
        Focusing: Lin et al., Focal Loss for Dense Object Detection (ICCV 2017), equation 4, without α; with an exponent
        of its own for absent labels Ridnik et al., Asymmetric Loss (ICCV 2021), equation 7 without margin: a margin
        lets the probabilities below it no longer be told apart. Offsets: Menon et al. (ICLR 2021), equation 10.
    """
    weights = logits.new_tensor(imbalance.weights)
    logits = logits + logits.new_tensor(imbalance.offsets)
    if truth.ndim > 1:
        known = (truth >= 0).to(logits.dtype)
        losses = _binary(logits, truth == 1, imbalance) * torch.where(truth == 1, weights[1::2], weights[0::2])
        return (losses * known).sum() / known.sum().clamp(min=1.0)
    if logits.shape[1] == 1:
        losses = _binary(logits[:, 0], truth == 1, imbalance)
    else:
        losses = functional.cross_entropy(logits, truth, reduction="none")
        if any(imbalance.focus):
            losses = _remaining(-losses) ** imbalance.focus[0] * losses
    return (losses * weights[truth]).mean()


def undoing(imbalance: Imbalance) -> tuple[NDArray[np.float64], tuple[Unfocus, ...]]:
    """Return what is subtracted from the logits, and then maps them, so that they mean what the data holds.

    Returns:
        The prior shift, one per logit, and the map of each logit alone (of classes, of all together); none for none.
    """
    present, absent = imbalance.focus
    maps = (Unfocus(present=present, absent=absent),) if present or absent else ()
    return np.asarray(imbalance.shift, dtype=np.float64), maps


def _binary(logits: torch.Tensor, present: torch.Tensor, imbalance: Imbalance) -> torch.Tensor:
    losses = functional.binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="none")
    if not any(imbalance.focus):
        return losses
    exponents = torch.where(present, *imbalance.focus)
    return _remaining(-losses) ** exponents * losses


def _remaining(log_probability: torch.Tensor) -> torch.Tensor:
    """Return 1 − p, kept above 0, where a power below 1 has no gradient."""
    return -torch.expm1(log_probability).clamp(max=-torch.finfo(log_probability.dtype).tiny)
