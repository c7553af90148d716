"""Prior shift: probabilities where classes are more or less frequent, assuming that images of a class look the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.intervals import Floats, check_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 100_000  # each costs one pass over the images; well separated classes need fewer than 100
TOLERANCE = 1e-12  # of a prevalence between two steps


def shift_logits(logits: Floats, source: Floats, target: Floats) -> Floats:
    """Move logits from one prevalence to another.

    Args:
        logits: (n, k) calibrated at ``source``; k = 1 for two classes.
        source: (class,) prevalences that the logits were calibrated for, adding up to 1.
        target: (class,) prevalences where they are used.

    Returns:
        (n, k): logit p + logit target - logit source of one logit, else logits + ln(target / source).

    Source:
        Saerens, Latinne and Decaestecker, Neural Computation 2002, 14:21, equation (2.4).
    """
    for name, prevalence in (("source", source), ("target", target)):
        check_prevalence(prevalence, name)
    change = np.log(target) - np.log(source)
    return np.asarray(logits + (change[1:] - change[:1] if logits.shape[1] == 1 else change))


def check_prevalence(prevalence: Floats, name: str) -> None:
    """Raise ``DataError`` unless the prevalences are above 0 and add up to 1."""
    if (prevalence <= 0).any() or not np.isclose(prevalence.sum(), 1):
        problem = f"{name} prevalences {prevalence.tolist()} are not above 0 with sum 1"
        raise DataError(problem, hint="give one share per class, in the order of the classes")


def prevalence_by_em(probability: NDArray[Any], source: Floats) -> Floats:
    """Estimate the prevalences of unlabelled images by maximum likelihood.

    Args:
        probability: (n, class), calibrated at ``source``.
        source: (class,).

    Returns:
        (class,), adding up to 1.

    Raises:
        DataError: It does not converge, since hardly any image tells the classes apart.

    Source:
        Saerens, Latinne and Decaestecker 2002: the EM algorithm of their section 2; its steps are lengthened as in
        Varadhan and Roland, Scandinavian Journal of Statistics 2008, 35:335 (SQUAREM), where that gains likelihood.
    """
    probability = check_probability(probability, len(probability))
    check_prevalence(source, "source")
    ratio, prevalence = probability / source, source
    for _ in range(MAX_STEPS):
        first = _em_step(ratio, prevalence)
        step = first - prevalence
        if np.abs(step).max() < TOLERANCE:
            return first
        second = _em_step(ratio, first)
        bend = second - first - step
        length = np.sqrt((step @ step) / max(float(bend @ bend), np.finfo(np.float64).tiny))
        far = prevalence + 2 * length * step + length**2 * bend
        gains = (far > 0).all() and _log_likelihood(ratio, far) >= _log_likelihood(ratio, second)
        prevalence = far / far.sum() if gains else second
    raise DataError("the prevalence does not converge", hint="state it instead of estimating it")


def _em_step(ratio: Floats, prevalence: Floats) -> Floats:
    weighted = ratio * prevalence
    return np.asarray((weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0))


def _log_likelihood(ratio: Floats, prevalence: Floats) -> float:
    return float(np.log(ratio @ prevalence).sum())


def prevalence_by_confusion(
    probability: NDArray[Any], source_probability: NDArray[Any], source_truth: NDArray[Any], *, hard: bool = False
) -> Floats:
    """Estimate the prevalences of unlabelled images by inverting the confusion on labelled ones (BBSE).

    Args:
        probability: (n, class) of the unlabelled images.
        source_probability: (m, class) of labelled images.
        source_truth: (m,) class numbers.
        hard: Whether decisions are counted (Rogan-Gladen) instead of probabilities averaged.

    Returns:
        (class,), adding up to 1; may lie outside 0 to 1 by chance.

    Raises:
        DataError: A class is absent from the labelled images, or they are not told apart.

    Source:
        Lipton, Wang and Smola, ICML 2018.
    """
    votes, source_votes = (_votes(each, hard=hard) for each in (probability, source_probability))
    members = np.eye(votes.shape[1])[source_truth]
    if (members.sum(axis=0) == 0).any():
        raise DataError("a class has no labelled image to learn its confusion from", hint="use a larger split")
    confusion = source_votes.T @ members / members.sum(axis=0)  # column: true class, row: what it is taken for
    if np.linalg.cond(confusion) > 1 / np.finfo(np.float64).eps:
        raise DataError("the network does not tell the classes apart", hint="state the prevalence instead")
    return np.asarray(np.linalg.solve(confusion, votes.mean(axis=0)))


def _votes(probability: NDArray[Any], *, hard: bool) -> Floats:
    checked = check_probability(probability, len(probability))
    return np.eye(checked.shape[1])[checked.argmax(axis=1)] if hard else checked
