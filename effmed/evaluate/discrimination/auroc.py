"""Area under the ROC curve: DeLong's and Obuchowski's variance, intervals, paired and unpaired differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import erfc, expit, logit

from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Floats,
    Integers,
    Interval,
    Patients,
    Units,
    Z,
    absent_class,
    check_numbers,
    checked,
    estimated,
    not_estimable,
    patients_per_class,
    t_quantile,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_IMAGES = 50  # in the rarer class: below it the outermost limits of two methods are shown too (simulated)
FEW_MISRANKED = 5.0  # (1 - AUROC) x images of the rarer class; likewise
ROOT_TOLERANCE = 1e-14  # of a limit between 0 and 1: as near as float64 allows


@dataclass(frozen=True)
class AurocIntervals:
    """An AUROC with every interval that a reader may ask for.

    Attributes:
        estimate: With the interval to report.
        wald: DeLong's (or Obuchowski's) symmetric interval, clipped to 0 to 1, as pROC prints it; None without.
        conservative: The outermost limits of the reported and Newcombe's interval where the rarer class has
            fewer than 50 images, or the AUROC is near 1; None otherwise.
        variance: Of the AUROC; None where it cannot be estimated.
    """

    estimate: Estimate
    wald: Interval | None
    conservative: Interval | None
    variance: float | None


@dataclass(frozen=True)
class Difference:
    """First minus second, with Wald's interval and the two-sided p-value of no difference."""

    estimate: Estimate
    se: float | None
    z: float | None
    p_value: float | None


def auroc(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the area under the ROC curve with its interval.

    DeLong's variance, Obuchowski's where a patient has several images, on the logit scale with the t quantile
    of the rarer class; Newcombe's method 5 where the variance is 0.

    Args:
        truth: (n,) 0 or 1.
        logits: (n,) floating point, any monotone function of the probability.
        patients: (n,) patient of each image, or None where images are independent.

    Raises:
        DataError: Values that are missing, infinite or integers; the message names the rows.
    """
    return auroc_intervals(truth, logits, patients).estimate


def auroc_intervals(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> AurocIntervals:
    """Return the AUROC with all its intervals; arguments and errors as ``auroc``."""
    truth, logits, units, counts = checked(truth, logits, patients)
    if counts.n_events in {0, counts.n}:
        return AurocIntervals(not_estimable(absent_class(counts), counts), None, None, None)
    placements = place(truth, logits)
    reason = _no_interval(truth, logits, units)
    if reason:
        return AurocIntervals(estimated(placements.value, None, "none", counts, reason), None, None, None)
    return _with_intervals(truth, placements, units, counts)


def _with_intervals(truth: Integers, placements: Placements, units: Units, counts: Counts) -> AurocIntervals:
    value = placements.value
    variance = auroc_covariance(placements, placements, truth, units)
    in_class = patients_per_class(truth, units)
    newcombe = newcombe_interval(value, *in_class)
    if variance <= 0 or not 0 < value < 1:
        method = "Newcombe method 5" + (" on patients" if units.clustered else "")
        reported = estimated(value, newcombe, method, counts, "the variance between placements is 0")
        return AurocIntervals(reported, None, newcombe, None)
    df, se = min(in_class) - 1, math.sqrt(variance)
    low, high = logit_t_interval(value, se, df)
    name = "Obuchowski" if units.clustered else "DeLong"
    reported = estimated(value, (low, high), f"{name}, logit scale, t({df})", counts)
    wald = max(0.0, value - Z * se), min(1.0, value + Z * se)
    outermost = min(low, newcombe[0]), max(high, newcombe[1])
    few = is_uncertain(value, min(counts.n_events, counts.n - counts.n_events))
    return AurocIntervals(reported, wald, outermost if few else None, variance)


def is_uncertain(value: float, n_rarer: int) -> bool:
    """Whether the reported interval of an AUROC misses too often, so that the outermost limits are to be read.

    Simulated (benchmarks/coverage.py): with fewer than 50 images of the rarer class, and near 1 with more.
    """
    return n_rarer < FEW_IMAGES or (1 - value) * n_rarer < FEW_MISRANKED


def auroc_difference(
    truth: NDArray[Any], first: NDArray[Any], second: NDArray[Any], patients: Patients = None
) -> Difference:
    """Compare two AUROCs on the same images: paired DeLong, Obuchowski where patients have several images.

    Args:
        truth: (n,) 0 or 1.
        first: (n,) logits of one network.
        second: (n,) logits of the other.
        patients: (n,) or None.
    """
    truth, first, units, counts = checked(truth, first, patients)
    second = check_numbers(second, truth.size, "logits")
    if counts.n_events in {0, counts.n}:
        return Difference(not_estimable(absent_class(counts), counts), None, None, None)
    one, other = place(truth, first), place(truth, second)
    if min(patients_per_class(truth, units)) < 2:
        reason = too_few(units)
        return Difference(estimated(one.value - other.value, None, "none", counts, reason), None, None, None)
    variances = [auroc_covariance(one, one, truth, units), auroc_covariance(other, other, truth, units)]
    variance = sum(variances) - 2 * auroc_covariance(one, other, truth, units)
    name = "Obuchowski" if units.clustered else "DeLong"
    return _wald_difference(one.value - other.value, variance, f"{name}, paired, Wald", counts)


def auroc_contrast(first: AurocIntervals, second: AurocIntervals) -> Difference:
    """Compare the AUROCs of two groups that share no patient: the variances add up."""
    one, other = first.estimate, second.estimate
    known = (one.n_patients, other.n_patients)
    n_patients = None if None in known else sum(number or 0 for number in known)
    counts = Counts(one.n + other.n, one.n_events + other.n_events, n_patients)
    if one.value is None or other.value is None:
        return Difference(not_estimable(one.reason or other.reason, counts), None, None, None)
    difference = one.value - other.value
    if first.variance is None or second.variance is None:
        reason = "one of the two has no variance"
        return Difference(estimated(difference, None, "none", counts, reason), None, None, None)
    return _wald_difference(difference, first.variance + second.variance, "unpaired, Wald", counts)


def _wald_difference(difference: float, variance: float, method: str, counts: Counts) -> Difference:
    """Make a difference; identical networks have variance 0 and differ with p = 1."""
    if variance <= np.finfo(np.float64).eps:
        if difference == 0:
            return Difference(estimated(0.0, (0.0, 0.0), method, counts, "identical rankings"), 0.0, 0.0, 1.0)
        reason = "the variance of the difference is 0"
        return Difference(estimated(difference, None, "none", counts, reason), None, None, None)
    se = math.sqrt(variance)
    z = difference / se
    interval = difference - Z * se, difference + Z * se
    return Difference(estimated(difference, interval, method, counts), se, z, float(erfc(abs(z) / math.sqrt(2))))


@dataclass(frozen=True)
class Placements:
    """The share of the other class that each image outranks; their mean is the AUROC.

    Attributes:
        value: The AUROC.
        excess: Placement minus AUROC of every row, (n,): V10 - AUROC for positives, V01 - AUROC for negatives.
    """

    value: float
    excess: Floats


def place(truth: Integers, logits: Floats) -> Placements:
    """Return the placement values of both classes, ties counted half, in O(n log n).

    Source:
        DeLong, DeLong and Clarke-Pearson, Biometrics 1988; V10 and V01 of their equation (2).
    """
    positive = truth == 1
    of_positives = _share_below(logits[positive], logits[~positive])
    value = float(of_positives.mean())
    excess = np.empty(truth.size)
    excess[positive] = of_positives - value
    excess[~positive] = (1 - _share_below(logits[~positive], logits[positive])) - value
    return Placements(value, excess)


def _share_below(values: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return np.asarray(below / (2 * others.size), dtype=np.float64)


def auroc_covariance(first: Placements, second: Placements, truth: Integers, units: Units) -> float:
    """Return the covariance of two AUROCs on the same images; of one with itself, its variance.

    With one image per patient this is DeLong's estimate, otherwise Obuchowski's. Each class needs two patients.

    Source:
        Obuchowski, Biometrics 1997, 53:567: S10/m + S01/n + 2 S11/(mn), and its bivariate form.
    """
    positive = truth == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    x_first, x_second = (units.sums(np.where(positive, each.excess, 0.0)) for each in (first, second))
    y_first, y_second = (units.sums(np.where(positive, 0.0, each.excess)) for each in (first, second))
    n_with_positive, n_with_negative = patients_per_class(truth, units)
    s10 = (x_first * x_second).sum() * n_with_positive / (n_with_positive - 1) / n_positive**2
    s01 = (y_first * y_second).sum() * n_with_negative / (n_with_negative - 1) / n_negative**2
    mixed = (x_first * y_second + x_second * y_first).sum() / (n_positive * n_negative)
    return float(s10 + s01 + mixed * units.count / (units.count - 1))


def logit_t_interval(value: float, se: float, df: float) -> Interval:
    """Return the interval of an AUROC in (0, 1) made on the logit scale with Student's t."""
    half = t_quantile(df) * se / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def newcombe_interval(value: float, n_positive: int, n_negative: int) -> Interval:
    """Return the interval of an AUROC that exists even where every pair is ranked alike.

    Source:
        Newcombe, Statistics in Medicine 2006, 25:559, method 5 (Hanley and McNeil's variance, solved for the limits).
    """
    low = _newcombe_low(value, n_positive, n_negative)
    return low, 1 - _newcombe_low(1 - value, n_positive, n_negative)  # the variance is symmetric about 1/2


def _newcombe_low(value: float, n_positive: int, n_negative: int) -> float:
    n_star = (n_positive + n_negative) / 2 - 1

    def beyond(limit: float) -> float:
        spread = limit * (1 - limit) * (1 + n_star * (1 - limit) / (2 - limit) + n_star * limit / (1 + limit))
        return value - limit - Z * math.sqrt(spread / (n_positive * n_negative))

    nearly = value * (1 - np.finfo(np.float64).eps)  # at 1 itself there is a second, trivial solution
    return float(brentq(beyond, 0.0, nearly, xtol=ROOT_TOLERANCE)) if value > 0 else 0.0


def too_few(units: Units) -> str:
    """Say that a class has too few units for an interval."""
    return f"a class has fewer than 2 {'patients' if units.clustered else 'images'}: no interval"


def _no_interval(truth: Integers, logits: Floats, units: Units) -> str:
    if min(patients_per_class(truth, units)) < 2:
        return too_few(units)
    return "all logits are the same: no interval" if np.ptp(logits) == 0 else ""
