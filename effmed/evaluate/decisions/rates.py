"""Rates of a decision: sensitivity, specificity, predictive values, likelihood ratios, agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import bdtr, expit, logit

from effmed.errors import DataError
from effmed.evaluate.intervals import (
    N_REPLICATES,
    Counts,
    Estimate,
    Floats,
    Integers,
    Interval,
    Patients,
    Units,
    Z,
    absent_class,
    bootstrap_totals,
    check_length,
    check_truth,
    estimated,
    make_units,
    mean_estimate,
    not_estimable,
    percentile_estimate,
    proportion,
    t_quantile,
    variance_of_total,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 0.5  # added to every cell of a table with an empty one (Haldane)


@dataclass(frozen=True)
class TwoByTwo:
    """Images by truth and decision."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


def two_by_two(truth: NDArray[Any], decision: NDArray[np.bool_]) -> TwoByTwo:
    """Count images; ``decision`` (n,) is true where positive."""
    truth, decision = _checked_decision(truth, decision)
    true_positive, false_positive = int((decision & (truth == 1)).sum()), int((decision & (truth == 0)).sum())
    n_positive = int(truth.sum())
    n_negative = truth.size - n_positive
    return TwoByTwo(true_positive, false_positive, n_positive - true_positive, n_negative - false_positive)


def sensitivity(truth: NDArray[Any], decision: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return the share of positive images that are called positive."""
    truth, decision = _checked_decision(truth, decision)
    return proportion(decision, truth == 1, patients)


def specificity(truth: NDArray[Any], decision: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return the share of negative images that are called negative."""
    truth, decision = _checked_decision(truth, decision)
    return proportion(~decision, truth == 0, patients)


def ppv(truth: NDArray[Any], decision: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return the share of positive calls that are right, at the prevalence of these images."""
    truth, decision = _checked_decision(truth, decision)
    return proportion(truth == 1, decision, patients)


def npv(truth: NDArray[Any], decision: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return the share of negative calls that are right, at the prevalence of these images."""
    truth, decision = _checked_decision(truth, decision)
    return proportion(truth == 0, ~decision, patients)


def accuracy(truth: NDArray[Any], decision: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the share of images whose class number is decided rightly; any number of classes."""
    check_length(decision, len(truth), "decisions")
    return proportion(np.asarray(truth) == np.asarray(decision), np.ones(len(truth), dtype=bool), patients)


def balanced_accuracy(truth: NDArray[Any], decision: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the share decided rightly, averaged over the classes that occur; any number of classes."""
    check_length(decision, len(truth), "decisions")
    right = np.asarray(truth) == np.asarray(decision)
    units = make_units(patients, len(truth))
    counts = Counts(len(truth), int(right.sum()), units.n_patients)
    classes, group, n = np.unique(truth, return_inverse=True, return_counts=True)
    if classes.size < 2:
        return not_estimable("fewer than 2 classes occur", counts)
    share = np.bincount(group, weights=right) / n
    influence = (right - share[group]) / (n[group] * classes.size)
    value = float(share.mean())
    if units.count < 2:
        return estimated(value, None, "none", counts, "one patient: no interval")
    variance = variance_of_total(influence, units)
    if variance <= 0:
        return estimated(value, None, "none", counts, "within every class all images are decided alike: no interval")
    half = t_quantile(units.count - 1) * math.sqrt(variance)
    interval = max(0.0, value - half), min(1.0, value + half)
    return estimated(value, interval, f"influence, t({units.count - 1}), {classes.size} classes", counts)


def mean_absolute_error(truth: NDArray[Any], decision: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return by how many grades decisions are off on average; class numbers (n,) are the grades."""
    check_length(decision, len(truth), "decisions")
    units = make_units(patients, len(truth))
    off = np.abs(np.asarray(truth) - np.asarray(decision)).astype(np.float64)
    counts = Counts(len(truth), int((off == 0).sum()), units.n_patients)
    if np.ptp(off) == 0:
        return estimated(float(off[0]), None, "none", counts, "all decisions are off by the same: no interval")
    return mean_estimate(off, counts, units)


def lr_positive(truth: NDArray[Any], decision: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return sensitivity / (1 - specificity): how much more often positive images are called positive."""
    truth, decision = _checked_decision(truth, decision)
    return _likelihood_ratio(truth, decision, patients, "no negative image is called positive")


def lr_negative(truth: NDArray[Any], decision: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return (1 - sensitivity) / specificity: how much more often positive images are called negative."""
    truth, decision = _checked_decision(truth, decision)
    return _likelihood_ratio(truth, ~decision, patients, "no negative image is called negative")


def _likelihood_ratio(truth: Integers, called: NDArray[np.bool_], patients: Patients, empty: str) -> Estimate:
    units = make_units(patients, truth.size)
    counts = Counts(truth.size, int(truth.sum()), units.n_patients)
    if absent_class(counts):
        return not_estimable(absent_class(counts), counts)
    n_positive, n_negative = counts.n_events, counts.n - counts.n_events
    in_positives, in_negatives = called[truth == 1].mean(), called[truth == 0].mean()
    if in_negatives == 0:
        return not_estimable(empty, counts)
    ratio = float(in_positives / in_negatives)
    if ratio == 0:
        return estimated(ratio, None, "none", counts, "a cell of the two-by-two table is empty: no interval")
    positive_part = (called - in_positives) / (n_positive * in_positives)
    influence = np.where(truth == 1, positive_part, -(called - in_negatives) / (n_negative * in_negatives))
    interval = _log_interval(ratio, influence, units)
    return estimated(ratio, interval, "log scale, by patient" if units.clustered else "log scale", counts)


def _log_interval(ratio: float, influence: Floats, units: Units) -> Interval:
    if units.clustered:
        half = t_quantile(units.count - 1) * math.sqrt(variance_of_total(influence, units))
    else:
        half = Z * math.sqrt(float((influence**2).sum()))  # the textbook's, without G/(G-1)
    return ratio * math.exp(-half), ratio * math.exp(half)


def ppv_at_prevalence(
    truth: NDArray[Any], decision: NDArray[np.bool_], prevalence: float, patients: Patients = None
) -> Estimate:
    """Return the positive predictive value where a given share of images, 0 to 1 exclusive, is positive.

    Source:
        Mercaldo, Lau and Zhou, Statistics in Medicine 2007, 26:2170: the logit interval, which is that of the
        positive likelihood ratio moved by the odds of the prevalence.
    """
    truth, decision = _checked_decision(truth, decision)
    ratio = _likelihood_ratio(truth, decision, patients, "")
    return _at_prevalence(truth, decision, prevalence, ratio)


def npv_at_prevalence(
    truth: NDArray[Any], decision: NDArray[np.bool_], prevalence: float, patients: Patients = None
) -> Estimate:
    """Return the negative predictive value at a given prevalence, as ``ppv_at_prevalence``."""
    truth, decision = _checked_decision(truth, decision)
    ratio = _likelihood_ratio(truth, ~decision, patients, "")
    other = _at_prevalence(truth, ~decision, prevalence, ratio)
    if other.value is None or other.low is None or other.high is None:
        return other
    return replace(other, value=1 - other.value, low=1 - other.high, high=1 - other.low)


def _at_prevalence(truth: Integers, called: NDArray[np.bool_], prevalence: float, ratio: Estimate) -> Estimate:
    """Return the share of positives among called images at a prevalence."""
    if not 0 < prevalence < 1:
        problem = f"prevalence {prevalence:g} is not between 0 and 1"
        raise DataError(problem, hint="state the share of positive images where the network will be used")
    counts = Counts(ratio.n, ratio.n_events, ratio.n_patients)
    if absent_class(counts) or not called.any():
        return not_estimable(absent_class(counts) or "no image is called so", counts)
    n_positive, n_negative = counts.n_events, counts.n - counts.n_events
    hits, false = int(called[truth == 1].sum()), int(called[truth == 0].sum())
    positive_part, negative_part = prevalence * hits / n_positive, (1 - prevalence) * false / n_negative
    value = positive_part / (positive_part + negative_part)
    if ratio.low is not None and ratio.high is not None:
        limits = [float(expit(logit(prevalence) + math.log(limit))) for limit in (ratio.low, ratio.high)]
        return estimated(value, (limits[0], limits[1]), f"Mercaldo, {ratio.method}", counts)
    in_positives, in_negatives = (hits + HALF) / (n_positive + 1), (false + HALF) / (n_negative + 1)
    centre = logit(prevalence) + math.log(in_positives / in_negatives)
    spread = (1 - in_positives) / (hits + HALF) + (1 - in_negatives) / (false + HALF)
    low, high = (float(expit(centre + sign * Z * math.sqrt(spread))) for sign in (-1, 1))
    method = "Mercaldo, 1/2 added to every cell"
    return estimated(value, (min(low, value), max(high, value)), method, counts, "a cell of the table is empty")


@dataclass(frozen=True)
class McNemar:
    """Exact test of two decisions on the same images: images only the first, only the second decides rightly."""

    first_only: int
    second_only: int
    p_value: float


def mcnemar(truth: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> McNemar:
    """Compare two decisions, as class numbers; on positive images only, it compares sensitivities.

    Images count as independent.
    """
    check_length(first, len(truth), "decisions")
    check_length(second, len(truth), "decisions")
    first_right, second_right = np.asarray(first) == np.asarray(truth), np.asarray(second) == np.asarray(truth)
    first_only, second_only = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    p_value = min(1.0, 2 * float(bdtr(min(first_only, second_only), first_only + second_only, HALF)))
    return McNemar(first_only, second_only, p_value)


def kappa_quadratic(
    truth: NDArray[Any],
    decision: NDArray[Any],
    patients: Patients = None,
    *,
    n_classes: int,
    replicates: int = N_REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Return Cohen's kappa with quadratic weights: agreement beyond chance of ordinal grades, at most 1."""
    check_length(decision, len(truth), "decisions")
    units = make_units(patients, len(truth))
    counts = Counts(len(truth), int((np.asarray(truth) == np.asarray(decision)).sum()), units.n_patients)
    cell = np.asarray(truth) * n_classes + np.asarray(decision)
    terms = np.eye(n_classes**2)[cell]
    value = float(_kappa(terms.sum(axis=0)[None, :], n_classes)[0])
    if not math.isfinite(value):
        return not_estimable("truth and decisions are of one single class", counts)
    totals = bootstrap_totals(terms, units, replicates=replicates, seed=seed)
    return percentile_estimate(value, _kappa(totals, n_classes), counts)


def _kappa(totals: Floats, n_classes: int) -> Floats:
    """Return kappa of confusion matrices (replicate, cell); NaN where chance agreement is complete."""
    table = totals.reshape(-1, n_classes, n_classes)
    grade = np.arange(n_classes)
    weight = (grade[:, None] - grade) ** 2
    chance = np.einsum("rt,rd->rtd", table.sum(axis=2), table.sum(axis=1)) / table.sum(axis=(1, 2))[:, None, None]
    expected = (weight * chance).sum(axis=(1, 2))
    return np.asarray(1 - (weight * table).sum(axis=(1, 2)) / np.where(expected > 0, expected, np.nan))


def _checked_decision(truth: NDArray[Any], decision: NDArray[Any]) -> tuple[Integers, NDArray[np.bool_]]:
    decision = np.asarray(decision)
    check_length(decision, len(truth), "decisions")
    if decision.dtype != np.bool_:
        problem = f"decisions are {decision.dtype}, not bool"
        raise DataError(problem, hint="compare the probability with the threshold first")
    return check_truth(truth), decision
