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


def make_targets(truth: torch.Tensor, n_classes: int, smoothing: float = 0.0) -> torch.Tensor:
    """Return how much of each class an image is said to be.

    Args:
        truth: ``(batch,)`` class indices; of several labels ``(batch, n_labels)`` 1, 0, or -1 where not known.
        n_classes: Classes that exclude each other; of several labels 2, absent and present.
        smoothing: Share that is spread evenly over all classes.

    Returns:
        float32 ``(batch, n_classes)``, rows with the sum 1; of several labels ``(batch, n_labels, 2)``, 0 where nothing
        is known.

    Source:
        Szegedy et al., Rethinking the Inception Architecture (CVPR 2016), section 7.
    """
    known = truth >= 0
    hard = functional.one_hot(truth.clamp(min=0), n_classes).float()
    return (hard * (1 - smoothing) + smoothing / n_classes) * known.unsqueeze(-1)


def imbalanced_loss(logits: torch.Tensor, targets: torch.Tensor, imbalance: Imbalance) -> torch.Tensor:
    """Return the cross entropy of all images, weighted, focused and offset as planned, added up.

    Whoever divides it divides by the number of images (of known labels), not by the sum of the weights, so that a batch
    without the rare class does not count more than its share.

    Args:
        logits: float32 ``(batch, 1)`` for two classes, else ``(batch, n_classes)``; of several labels one each.
        targets: As ``make_targets`` gives them.
        imbalance: What is planned. Its drawing and augmentation are the loader's.

    Source:
        Focusing: Lin et al., Focal Loss for Dense Object Detection (ICCV 2017), equation 4, without α; with an exponent
        of its own for absent labels Ridnik et al., Asymmetric Loss (ICCV 2021), equation 7 without margin: a margin
        lets the probabilities below it no longer be told apart. Offsets: Menon et al. (ICLR 2021), equation 10.
    """
    logits = logits + logits.new_tensor(imbalance.offsets)
    present, absent = imbalance.focus
    if targets.ndim == 2 and logits.shape[1] > 1:
        losses = -functional.log_softmax(logits, dim=1)
        exponents = logits.new_full((logits.shape[1],), present)
    else:
        columns = logits if targets.ndim > 2 else logits[:, 0]
        losses = -functional.logsigmoid(torch.stack([-columns, columns], dim=-1))
        exponents = logits.new_tensor([absent, present])
    if any(imbalance.focus):
        losses = _remaining(-losses) ** exponents * losses
    weights = logits.new_tensor(imbalance.weights)
    return (losses * targets * (weights.view(-1, 2) if targets.ndim > 2 else weights)).sum()


def undoing(imbalance: Imbalance) -> tuple[NDArray[np.float64], tuple[Unfocus, ...]]:
    """Return what is subtracted from the logits, and then maps them, so that they mean what the data holds.

    Returns:
        The prior shift, one per logit, and the map of each logit alone (of classes, of all together); none for none.
    """
    present, absent = imbalance.focus
    maps = (Unfocus(present=present, absent=absent),) if present or absent else ()
    return np.asarray(imbalance.shift, dtype=np.float64), maps


def _remaining(log_probability: torch.Tensor) -> torch.Tensor:
    """Return 1 − p, kept above 0, where a power below 1 has no gradient."""
    return -torch.expm1(log_probability).clamp(max=-torch.finfo(log_probability.dtype).tiny)
