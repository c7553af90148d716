"""A measure on some of the images: its value, its variance, and what each patient contributes to its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import expit, logit

from effmed.errors import DataError
from effmed.evaluate.calibration.regression import fit_logistic, why_no_regression
from effmed.evaluate.discrimination.auroc import Placements, auroc_covariance, too_few
from effmed.evaluate.intervals import (
    Counts,
    Floats,
    Integers,
    Interval,
    Patients,
    Units,
    absent_class,
    check_length,
    check_numbers,
    checked,
    effective_number,
    make_units,
    patients_per_class,
    rarer_df,
    variance_of_total,
    wilson_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Judged:
    """Images of one class against the rest, ready to be judged in parts.

    Attributes:
        truth: 0 or 1, (n,).
        ranks: Position of each image's logit among the distinct ones, (n,): orders images as the logits do.
        logits: (n,); infinite where a probability is exactly 0 or 1.
        called: Whether the image is called positive at the common threshold, (n,); None without a threshold.
        patients: Number of the patient, (n,), the same in all parts; None where images are independent.
        n_patients: In all, also outside of this part.
    """

    truth: Integers
    ranks: Integers
    logits: Floats
    called: NDArray[np.bool_] | None
    patients: Integers | None
    n_patients: int

    def take(self, chosen: NDArray[Any]) -> Judged:
        """Return a part: the rows of a mask, or with these numbers."""
        return Judged(
            self.truth[chosen],
            self.ranks[chosen],
            self.logits[chosen],
            None if self.called is None else self.called[chosen],
            None if self.patients is None else self.patients[chosen],
            self.n_patients,
        )

    @cached_property
    def units(self) -> Units:
        """Which rows of this part vary together."""
        return make_units(self.patients, self.truth.size)

    @property
    def counts(self) -> Counts:
        """Images, events and patients of this part."""
        return Counts(self.truth.size, int(self.truth.sum()), self.units.n_patients)

    def totals(self, influence: Floats) -> Floats:
        """Add up an influence (n,) by patient, (all patients,); empty where images are independent."""
        if self.patients is None:
            return np.zeros(0)
        return np.bincount(self.patients, weights=influence, minlength=self.n_patients).astype(np.float64)


def make_judged(
    truth: NDArray[Any],
    ranking: NDArray[Any],
    logits: NDArray[Any],
    *,
    called: NDArray[Any] | None = None,
    patients: Patients = None,
) -> Judged:
    """Check and number what is to be judged in parts.

    Args:
        truth: (n,) 0 or 1.
        ranking: (n,) finite, in the order of the probabilities.
        logits: (n,) log odds; may be infinite.
        called: (n,) bool, true where called positive; None without a threshold.
        patients: (n,) patient of each image, or None where images are independent.

    Raises:
        DataError: Values that are missing or of another length or type; the message names the rows.
    """
    zero_one, values, units, _ = checked(truth, ranking, patients)
    log_odds = check_numbers(logits, zero_one.size, "logits", infinite=True)
    if called is not None:
        called = np.asarray(called)
        check_length(called, zero_one.size, "decisions")
        if called.dtype != np.bool_:
            problem = f"decisions are {called.dtype}, not bool"
            raise DataError(problem, hint="compare the probability with the threshold first")
    ranks = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes = None if patients is None else units.codes
    return Judged(zero_one, ranks, log_odds, called, codes, units.count)


@dataclass(frozen=True)
class Spread:
    """How far a measure may be from its true value.

    Attributes:
        value: The measure.
        variance: Of the value; 0 only for a proportion of 0 or 1.
        df: Degrees of freedom of the variance; infinite where it counts as known.
        totals: Influence on the value by patient, (all patients,), 0 for those of other parts; empty where images
            are independent.
        scale: On which the interval is made.
        n_effective: Of a proportion: how many independent images would be as informative.
    """

    value: float
    variance: float
    df: float
    totals: Floats
    scale: Literal["plain", "logit", "wilson"] = "plain"
    n_effective: float = np.inf

    def limits(self, quantile: float) -> Interval:
        """Return the interval whose half-width is a quantile of the normal or of Student's t: that of the report."""
        if self.scale == "wilson":
            return wilson_interval(self.value, self.n_effective, quantile)
        half = quantile * math.sqrt(self.variance)
        if self.scale == "plain":
            return self.value - half, self.value + half
        half, centre = half / (self.value * (1 - self.value)), logit(self.value)
        return float(expit(centre - half)), float(expit(centre + half))


@dataclass(frozen=True)
class Part:
    """A measure on a part of the images.

    Attributes:
        value: None where it is not estimable.
        spread: None where it is not estimable.
        reason: Why there is no value or no spread; empty where there are both.
    """

    value: float | None
    spread: Spread | None = None
    reason: str = ""


def auroc_part(judged: Judged) -> Part:
    """Return the AUROC with DeLong's or Obuchowski's variance, t with the patients of the rarer class - 1."""
    if absent_class(judged.counts):
        return Part(None, reason=absent_class(judged.counts))
    placements = place_ranks(judged.truth, judged.ranks)
    in_class = patients_per_class(judged.truth, judged.units)
    if min(in_class) < 2:
        return Part(placements.value, reason=too_few(judged.units))
    variance = auroc_covariance(placements, placements, judged.truth, judged.units)
    if variance <= 0 or not 0 < placements.value < 1:
        return Part(placements.value, reason="the variance between placements is 0")
    n_positive = judged.counts.n_events
    influence = placements.excess / np.where(judged.truth == 1, n_positive, judged.truth.size - n_positive)
    spread = Spread(placements.value, variance, min(in_class) - 1, judged.totals(influence), "logit")
    return Part(placements.value, spread)


def place_ranks(truth: Integers, ranks: Integers) -> Placements:
    """Return what ``discrimination.auroc.place`` does, by counting ranks instead of sorting logits again, O(n)."""
    positive = truth == 1
    counts = [np.bincount(ranks[each], minlength=int(ranks.max()) + 1) for each in (positive, ~positive)]
    positives_below, negatives_below = ((np.cumsum(each) - each / 2) / each.sum() for each in counts)
    value = float(negatives_below[ranks[positive]].mean())
    return Placements(value, np.where(positive, negatives_below[ranks], 1 - positives_below[ranks]) - value)


def citl_part(judged: Judged) -> Part:
    """Return calibration in the large."""
    return _coefficient(judged, np.ones((judged.truth.size, 1)), judged.logits)


def slope_part(judged: Judged) -> Part:
    """Return the calibration slope."""
    if judged.logits.size and np.ptp(judged.ranks) == 0:
        return Part(None, reason="all logits are the same")
    return _coefficient(judged, np.column_stack([np.ones(judged.truth.size), judged.logits]), 0.0)


def _coefficient(judged: Judged, design: Floats, offset: Floats | float) -> Part:
    """Return the last coefficient with its variance by patient: the sandwich of ``calibration.citl`` and ``slope``.

    Its influence is the last row of (covariance @ x) x residual, of maximum likelihood. Where a report has Wald's
    interval, of independent images, this one is wider if logits are too extreme: the textbook's variance of CITL
    then is too small.
    """
    reason = why_no_regression(judged.logits, judged.counts)
    if reason:
        return Part(None, reason=reason)
    target, units = judged.truth.astype(np.float64), judged.units
    fit = fit_logistic(design, target, offset)
    if fit is None:
        return Part(None, reason="the logits separate the classes perfectly: the slope is infinite")
    value = float(fit.coefficients[-1])
    if units.count < 2:
        return Part(value, reason="all images are of one patient: no interval")
    influence = (design @ fit.covariance[-1]) * (target - fit.probability)
    df = rarer_df(judged.truth, units) if design.shape[1] > 1 and units.clustered else units.count - 1
    if df < 1:
        return Part(value, reason="a class has only one patient: no interval")
    return Part(value, Spread(value, variance_of_total(influence, units), df, judged.totals(influence)))


def sensitivity_part(judged: Judged) -> Part:
    """Return the share of positive images that are called positive."""
    return _proportion(judged, judged.truth == 1, called=True)


def specificity_part(judged: Judged) -> Part:
    """Return the share of negative images that are called negative."""
    return _proportion(judged, judged.truth == 0, called=False)


def _proportion(judged: Judged, mask: NDArray[np.bool_], *, called: bool) -> Part:
    """Return the share of the images of a mask whose call is ``called``, with what ``intervals.proportion`` uses."""
    if judged.called is None:
        return Part(None, reason="there is no threshold")
    if not mask.any():
        return Part(None, reason="the denominator is empty")
    chosen = judged.take(mask)
    hits, units = judged.called[mask] == called, chosen.units
    value = float(hits.mean())
    if units.clustered and units.count < 2:
        return Part(value, reason="all images are of one patient: no interval")
    n_effective = effective_number(hits, units) if units.clustered else float(hits.size)
    df = units.count - 1 if units.clustered else np.inf
    totals = chosen.totals((hits - value) / hits.size)
    return Part(value, Spread(value, value * (1 - value) / n_effective, df, totals, "wilson", n_effective))


def correlation(first: Spread, second: Spread) -> float:
    """Return the correlation of two parts that comes from patients who are in both; 0 where there is none."""
    scale = float((first.totals @ first.totals) * (second.totals @ second.totals))
    return float(first.totals @ second.totals) / scale**0.5 if scale > 0 else 0.0
