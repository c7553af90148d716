"""What validation logits are worth while a network is being fitted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate.calibrators import probabilities
from effmed.evaluate.calibrators.maps import apply_map
from effmed.evaluate.discrimination import auroc, macro_auroc
from effmed.learn.imbalance import undoing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.learn.plan import Imbalance


def undone(logits: NDArray[np.floating], imbalance: Imbalance, *, exclusive: bool) -> NDArray[np.float64]:
    """Return logits as if rare classes had been learned like all others: what the network says of the data.

    Args:
        logits: ``(image, output)``.
        imbalance: What was planned.
        exclusive: Whether classes exclude each other; else every column is a label of its own.
    """
    shift, maps = undoing(imbalance)
    found = np.asarray(logits, dtype=np.float64) - shift
    for each in maps:
        columns = [found] if exclusive else [found[:, [k]] for k in range(found.shape[1])]
        found = np.hstack([apply_map(each, column) for column in columns])
    return found


def cross_entropy(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the mean of minus ln of the true class's probability, in float64 from the logits.

    Args:
        logits: ``(image, 1)`` for two classes, else ``(image, class)``.
        truth: ``(image,)`` class indices; of several labels ``(image, label)`` 1, 0, or -1 where not known: the mean is
            over the known labels, each of which is present or absent; 0 where none is known.
    """
    wide = np.asarray(logits, dtype=np.float64)
    if truth.ndim > 1:
        losses = np.logaddexp(0, np.where(truth == 1, -wide, wide))[truth >= 0]
        return float(losses.mean()) if losses.size else 0.0
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    largest = wide.max(axis=1)
    log_sum = largest + np.log(np.exp(wide - largest[:, None]).sum(axis=1))
    return float(np.mean(log_sum - wide[np.arange(len(truth)), truth]))


def score_interval(
    logits: NDArray[np.floating], truth: NDArray[np.int64], patients: NDArray[np.generic] | None = None
) -> tuple[float, float | None, float | None]:
    """Return ``mean_auroc`` with the limits of its 95 % interval, None where there is none.

    Args:
        logits: As of ``mean_auroc``.
        truth: As of ``mean_auroc``.
        patients: ``(image,)``, or None where images are independent.
    """
    score, wide = mean_auroc(logits, truth), np.asarray(logits, dtype=np.float64)
    if truth.ndim == 1 and wide.shape[1] == 1:
        found = auroc(truth, wide[:, 0], patients)
    else:
        columns = truth if truth.ndim > 1 else (truth[:, None] == np.arange(wide.shape[1])).astype(np.int64)
        found = macro_auroc(columns, wide if truth.ndim > 1 else probabilities(wide), patients)
    same = found.value is not None and math.isclose(found.value, score)  # classes with few images are not averaged
    return (score, found.low, found.high) if same else (score, None, None)


def mean_auroc(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the AUROC of the positive class, or for more classes the mean over one-versus-rest.

    Args:
        logits: ``(image, 1)`` for two classes, else ``(image, class)``.
        truth: ``(image,)`` class indices; every class occurs, as the split guarantees. Of several labels
            ``(image, label)`` 1, 0, or -1: the mean is over the labels of which both kinds are known.
    """
    if truth.ndim > 1:
        return _mean_auroc_of_labels(np.asarray(logits, dtype=np.float64), truth)
    wide = np.asarray(logits, dtype=np.float64)
    scores = wide if wide.shape[1] == 1 else probabilities(wide)
    positives = range(1, 2) if wide.shape[1] == 1 else range(wide.shape[1])
    values = [
        auroc((truth == k).astype(np.int64), scores[:, k - 1 if wide.shape[1] == 1 else k]).value for k in positives
    ]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 0.5


def _mean_auroc_of_labels(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    known = [truth[:, k] >= 0 for k in range(truth.shape[1])]
    values = [auroc(truth[rows, k], logits[rows, k]).value for k, rows in enumerate(known)]
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else 0.5
