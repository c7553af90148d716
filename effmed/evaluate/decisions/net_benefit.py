"""Net benefit: true positives less the false positives that they cost, over thresholds (decision curve)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Floats,
    Integers,
    Patients,
    Units,
    absent_class,
    checked_probability,
    estimated,
    mean_estimate,
    not_estimable,
    rarer_df,
    t_quantile,
    variance_of_total,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def odds(threshold: float) -> float:
    """Return how many true positives a false positive costs at a threshold probability.

    Raises:
        DataError: The threshold probability is not at least 0 and below 1.
    """
    if not 0 <= threshold < 1:
        problem = f"net benefit is not defined at the threshold probability {threshold:g}"
        raise DataError(problem, hint="choose a threshold probability below 1, such as --set decision.value=0.2")
    return threshold / (1 - threshold)


def net_benefit(
    truth: NDArray[Any],
    probability: NDArray[Any],
    thresholds: Sequence[float],
    patients: Patients = None,
    *,
    prevalence: float | None = None,
) -> tuple[Estimate, ...]:
    """Return the net benefit of calling images positive at or above each threshold.

    Args:
        truth: (n,) 0 or 1.
        probability: (n,).
        thresholds: Threshold probabilities, at least 0 and below 1.
        patients: (n,) or None.
        prevalence: Share of positive images for which it is meant; None for these images' own.

    Source:
        Vickers and Elkin, Medical Decision Making 2006, 26:565.
    """
    truth, probability, units, counts = checked_probability(truth, probability, patients)
    results = []
    for threshold in thresholds:
        called = (probability >= threshold).astype(np.float64)
        results.append(_net_benefit(truth, called, odds(threshold), prevalence, (units, counts)))
    return tuple(results)


def treat_all(
    truth: NDArray[Any], thresholds: Sequence[float], patients: Patients = None, *, prevalence: float | None = None
) -> tuple[Estimate, ...]:
    """Return the net benefit of calling every image positive; of calling none it is 0."""
    return net_benefit(truth, np.ones(len(truth)), thresholds, patients, prevalence=prevalence)


def gain_over_all(
    truth: NDArray[Any], probability: NDArray[Any], thresholds: Sequence[float], patients: Patients = None
) -> tuple[Estimate, ...]:
    """Return the net benefit less that of calling every image positive, with the interval of this difference.

    Args:
        truth: (n,) 0 or 1.
        probability: (n,).
        thresholds: Threshold probabilities, at least 0 and below 1.
        patients: (n,) or None.
    """
    truth, probability, units, counts = checked_probability(truth, probability, patients)
    if counts.n == 0:
        return (not_estimable("there is no image", counts),) * len(thresholds)
    results = []
    for threshold in thresholds:
        spared = (probability < threshold).astype(np.float64)  # the images that only treat-all calls
        gain = -spared * np.where(truth == 1, 1.0, -odds(threshold))
        if spared.any():
            results.append(mean_estimate(gain, counts, units, rarer_df(truth, units)))
        else:
            results.append(estimated(0.0, None, "none", counts, "every image is called positive: no interval"))
    return tuple(results)


def _net_benefit(
    truth: Integers, called: Floats, cost: float, prevalence: float | None, basis: tuple[Units, Counts]
) -> Estimate:
    units, counts = basis
    if prevalence is None:
        if counts.n == 0:
            return not_estimable("there is no image", counts)
        if not called.any():
            return estimated(0.0, None, "none", counts, "no image is called positive: no interval")
        return mean_estimate(called * np.where(truth == 1, 1.0, -cost), counts, units, rarer_df(truth, units))
    if absent_class(counts):
        return not_estimable(absent_class(counts), counts)
    worth = np.where(truth == 1, prevalence / counts.n_events, -(1 - prevalence) * cost / (counts.n - counts.n_events))
    rate = np.where(truth == 1, called[truth == 1].mean(), called[truth == 0].mean())
    value = float((worth * called).sum())
    df = rarer_df(truth, units)
    if df < 1:
        return estimated(value, None, "none", counts, "a class has only one patient or image: no interval")
    half = t_quantile(df) * math.sqrt(variance_of_total(worth * (called - rate), units))
    method = f"influence, t({df}), prevalence {prevalence:g}"
    return estimated(value, (value - half, value + half), method, counts)
