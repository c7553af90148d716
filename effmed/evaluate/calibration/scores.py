"""Proper scores and what they consist of: Brier, log loss, CORP decomposition; observed / expected."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import gammaincinv, log_expit, log_softmax, xlogy

from effmed.evaluate.intervals import (
    N_REPLICATES,
    UPPER_TAIL,
    Counts,
    Estimate,
    Floats,
    Integers,
    Interval,
    Patients,
    Z,
    absent_class,
    bootstrap_totals,
    check_numbers,
    check_probability,
    checked,
    checked_probability,
    estimated,
    make_units,
    mean_estimate,
    not_estimable,
    percentile_estimate,
    rarer_df,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_EXPECTED = 1e-290  # events: what few images or many divide by it stays within float64, 1.8e308


def event_scores(
    truth: NDArray[Any],
    probability: NDArray[Any],
    patients: Patients = None,
    *,
    replicates: int = N_REPLICATES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return ``scaled_brier`` and ``observed_expected``, which rest on the same bootstrap draws.

    Scaled Brier: 1 - Brier / (prevalence (1 - prevalence)): 1 best, 0 like the prevalence for all, below 0 worse.
    Observed / expected events: 1 when calibrated in the large, less when risk is overestimated; its interval is on the
    log scale (Debray, BMJ 2017, 356:i6460), Poisson's exact one where no or every image has the event, that of the
    patient bootstrap where patients have several images.

    Args:
        truth: (n,) 0 or 1.
        probability: (n,).
        patients: (n,) or None.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    truth, probability, units, counts = checked_probability(truth, probability, patients)
    if absent_class(counts):
        missing = not_estimable(absent_class(counts), counts)
        return {"scaled_brier": missing, "observed_expected": _observed_expected(probability, counts, None)}
    terms = np.column_stack([(probability - truth) ** 2, truth, np.ones(truth.size), probability])
    totals = bootstrap_totals(terms, units, replicates=replicates, seed=seed).T
    value = float(_scaled(terms.sum(axis=0)[:3]))
    ratios = totals[1] / np.maximum(totals[3], LEAST_EXPECTED) if units.clustered else None
    return {
        "scaled_brier": percentile_estimate(value, _scaled(totals[:3]), counts),
        "observed_expected": _observed_expected(probability, counts, ratios),
    }


def observed_expected(
    truth: NDArray[Any],
    probability: NDArray[Any],
    patients: Patients = None,
    *,
    replicates: int = N_REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Return observed / expected events; see ``event_scores``."""
    return event_scores(truth, probability, patients, replicates=replicates, seed=seed)["observed_expected"]


def _observed_expected(probability: Floats, counts: Counts, draws: Floats | None) -> Estimate:
    """Return the ratio, with the percentile interval of bootstrap draws where there are any."""
    expected, observed = float(probability.sum()), counts.n_events
    if expected < LEAST_EXPECTED:
        return not_estimable(f"the probabilities are all 0{' or next to it' if expected else ''}", counts)
    ratio = observed / expected
    if observed in {0, counts.n}:
        low, high = _poisson_interval(observed)
        return estimated(ratio, (low / expected, high / expected), "Poisson, exact", counts)
    if draws is not None:
        return percentile_estimate(ratio, draws, counts)
    factor = math.exp(Z * math.sqrt((1 - observed / counts.n) / observed))
    return estimated(ratio, (ratio / factor, ratio * factor), "log scale (Debray)", counts)


def _poisson_interval(count: int) -> Interval:
    low = float(gammaincinv(count, 1 - UPPER_TAIL)) if count else 0.0
    return low, float(gammaincinv(count + 1, UPPER_TAIL))


def brier(truth: NDArray[Any], probability: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the mean squared distance of probability and truth, 0 (best) to 1."""
    truth, probability, units, counts = checked_probability(truth, probability, patients)
    if counts.n == 0:
        return not_estimable("there is no image", counts)
    return _not_negative(mean_estimate((probability - truth) ** 2, counts, units, rarer_df(truth, units)))


def scaled_brier(
    truth: NDArray[Any],
    probability: NDArray[Any],
    patients: Patients = None,
    *,
    replicates: int = N_REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Return the scaled Brier score; see ``event_scores``."""
    return event_scores(truth, probability, patients, replicates=replicates, seed=seed)["scaled_brier"]


def _scaled(totals: Floats) -> Floats:
    squared, events, n = totals
    prevalence = events / n
    reference = prevalence * (1 - prevalence)
    return np.asarray(1 - squared / n / np.where(reference > 0, reference, np.nan))


def log_loss(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the mean negative log likelihood in nats, from logits and therefore without clipping.

    Logits may be infinite; where one says the impossible of what happened, the loss is infinite and so not estimable.
    """
    truth, logits, units, counts = checked(truth, logits, patients, infinite=True)
    terms = -log_expit(np.where(truth == 1, logits, -logits))
    if counts.n == 0:
        return not_estimable("there is no image", counts)
    if np.isinf(terms).any():
        return not_estimable(
            f"infinite: {int(np.isinf(terms).sum())} images have probability 0 for their class", counts
        )
    return _not_negative(mean_estimate(terms, counts, units, rarer_df(truth, units)))


def multiclass_brier(truth: NDArray[Any], probability: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the mean squared distance summed over classes, 0 (best) to 2.

    Args:
        truth: (n,) class numbers.
        probability: (n, class).
        patients: (n,) or None.
    """
    probability = check_probability(probability, len(truth))
    units = make_units(patients, len(truth))
    happened = np.eye(probability.shape[1])[truth]
    counts = Counts(len(truth), len(truth), units.n_patients)
    return _not_negative(mean_estimate(((probability - happened) ** 2).sum(axis=1), counts, units))


def multiclass_log_loss(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the mean negative log likelihood in nats of class numbers (n,) under the softmax of logits (n, class)."""
    logits = check_numbers(logits, len(truth), "logits")
    units = make_units(patients, len(truth))
    counts = Counts(len(truth), len(truth), units.n_patients)
    terms = -log_softmax(logits, axis=1)[np.arange(len(truth)), truth]
    return _not_negative(mean_estimate(terms, counts, units))


def _not_negative(estimate: Estimate) -> Estimate:
    """End an interval at 0, below which no score lies."""
    return estimate if estimate.low is None else replace(estimate, low=max(0.0, estimate.low))


@dataclass(frozen=True)
class Corp:
    """Score = miscalibration - discrimination + uncertainty, with isotonic recalibration as the reference."""

    miscalibration: float
    discrimination: float
    uncertainty: float


def corp(truth: NDArray[Any], probability: NDArray[Any], score: Literal["brier", "log"] = "brier") -> Corp | None:
    """Decompose the Brier or log score; None where the log score is infinite, or a class is absent.

    Source:
        Dimitriadis, Gneiting and Jordan, PNAS 2021, 118:e2016191118.
    """
    truth, probability, _, counts = checked_probability(truth, probability, None)
    if counts.n_events in {0, counts.n}:
        return None
    distinct, group, n = np.unique(probability, return_inverse=True, return_counts=True)
    fraction = np.bincount(group, weights=truth) / n
    recalibrated = isotonic_regression(fraction, weights=n).x
    best = np.asarray(recalibrated, dtype=np.float64)
    score_of = partial(_mean_score, fraction, n, score)
    original, lowest, constant = score_of(distinct), score_of(best), score_of(np.asarray(counts.n_events / counts.n))
    return Corp(original - lowest, constant - lowest, constant) if math.isfinite(original) else None


def _mean_score(fraction: Floats, n: Integers, score: Literal["brier", "log"], forecast: Floats) -> float:
    if score == "brier":
        terms = fraction * (1 - forecast) ** 2 + (1 - fraction) * forecast**2
        return float((n * terms).sum() / n.sum())
    logs = xlogy(fraction, forecast) + xlogy(1 - fraction, 1 - forecast)
    return float(-(n * logs).sum() / n.sum())


def corp_estimates(truth: NDArray[Any], probability: NDArray[Any], patients: Patients = None) -> dict[str, Estimate]:
    """Return the other two parts of the Brier score: ``discrimination_part`` and ``uncertainty``; without interval."""
    parts = corp(truth, probability)
    *_, counts = checked_probability(truth, probability, patients)
    if parts is None:
        return dict.fromkeys(("discrimination_part", "uncertainty"), not_estimable(absent_class(counts), counts))
    note = "one part of three that add up to the Brier score: no interval"
    values = {"discrimination_part": parts.discrimination, "uncertainty": parts.uncertainty}
    return {name: estimated(value, None, "CORP, Brier", counts, note) for name, value in values.items()}
