"""The flexible calibration curve: a restricted cubic spline of the logits, its band and its distance from p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit

from effmed.evaluate.calibration.regression import LogisticFit, fit_logistic, sandwich, why_no_regression
from effmed.evaluate.intervals import (
    Counts,
    Floats,
    Integers,
    Patients,
    Units,
    Z,
    checked,
    checked_probability,
    t_quantile,
    wilson_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOT_QUANTILES = {  # Harrell, Regression Modeling Strategies, table 2.3
    3: (0.1, 0.5, 0.9),
    4: (0.05, 0.35, 0.65, 0.95),
    5: (0.05, 0.275, 0.5, 0.725, 0.95),
}
FEW_KNOTS, MORE_KNOTS = 3, 4
EVENTS_FOR_MORE_KNOTS = 500
N_FEW_IMAGES = 100  # below it the outer knots are the fifth smallest and largest value (Hmisc's rule)
OUTER_RANK = 4  # counted from 0
MIN_DISTINCT = 5  # probabilities; fewer are shown as points
N_POINTS = 101
N_GROUPS = 10


@dataclass(frozen=True)
class CalibrationCurve:
    """Observed against predicted probability, all arrays (points,); empty where there is no curve.

    Attributes:
        predicted: Probabilities from the smallest to the largest predicted.
        observed: Share of events that the curve gives there.
        low: Lower limit of the pointwise 95 % band.
        high: Upper limit.
        distance: |curve - probability| of every image, (n,); its mean is the ICI, its 90th percentile E90.
        knots: Of the spline, as logits.
        method: How curve and band were made.
        reason: Why there is no curve; empty where there is one.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    distance: Floats
    knots: tuple[float, ...]
    method: str
    reason: str


@dataclass(frozen=True)
class GroupedPoints:
    """Tenths of the images by predicted probability, all (groups,): mean, share of events, Wilson limits, images."""

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    n: Integers


def calibration_curve(
    truth: NDArray[Any],
    logits: NDArray[Any],
    patients: Patients = None,
    *,
    n_knots: int | None = None,
    at: Floats | None = None,
) -> CalibrationCurve:
    """Fit the flexible calibration curve.

    Args:
        truth: (n,) 0 or 1.
        logits: (n,) of the probabilities that are judged; infinite ones leave no curve.
        patients: (n,) or None; with several images per patient the band is the sandwich's.
        n_knots: 3, 4 or 5; None for 3, or 4 beyond 500 events and 500 non-events.
        at: Probabilities at which to evaluate it; None for 101 that are spread like the predicted ones.
    """
    truth, logits, units, counts = checked(truth, logits, patients, infinite=True)
    knots, reason = _knots(logits, counts, n_knots)
    fit = None if reason else fit_logistic(spline_design(logits, knots), truth.astype(np.float64))
    if fit is None:
        nothing = np.zeros(0)
        reason = reason or "the spline separates the classes perfectly"
        return CalibrationCurve(nothing, nothing, nothing, nothing, nothing, (), "none", reason)
    points = np.unique(np.quantile(logits, np.linspace(0, 1, N_POINTS))) if at is None else logit(at)
    covariance, quantile, band = _band(fit, spline_design(logits, knots), truth, units)
    design = spline_design(points, knots)
    predictor = design @ fit.coefficients
    half = quantile * np.sqrt(np.einsum("nj,jk,nk->n", design, covariance, design))
    limits = expit(predictor - half), expit(predictor + half)
    distance = np.abs(fit.probability - expit(logits))
    method = f"restricted cubic spline of the logits, {len(knots)} knots, {band}"
    return CalibrationCurve(expit(points), expit(predictor), *limits, distance, knots, method, "")


def _band(fit: LogisticFit, design: Floats, truth: Integers, units: Units) -> tuple[Floats, float, str]:
    if not units.clustered or units.count < 2:
        return fit.covariance, Z, "Wald band"
    covariance = sandwich(fit, design, truth.astype(np.float64), units)
    return covariance, t_quantile(units.count - 1), f"sandwich band by patient, t({units.count - 1})"


def _knots(logits: Floats, counts: Counts, n_knots: int | None) -> tuple[tuple[float, ...], str]:
    """Return the knots, or why there are none."""
    reason = why_no_regression(logits, counts)
    if reason:
        return (), reason
    if np.unique(logits).size < MIN_DISTINCT:
        return (), f"fewer than {MIN_DISTINCT} distinct probabilities: see the grouped points"
    rarer = min(counts.n_events, counts.n - counts.n_events)
    chosen = n_knots or (MORE_KNOTS if rarer > EVENTS_FOR_MORE_KNOTS else FEW_KNOTS)
    knots = np.quantile(logits, KNOT_QUANTILES[chosen])
    if OUTER_RANK * 2 < counts.n < N_FEW_IMAGES:
        knots[[0, -1]] = np.sort(logits)[[OUTER_RANK, -1 - OUTER_RANK]]
    if not (np.diff(knots) > 0).all():
        return (), "the probabilities are too coarse for a curve: see the grouped points"
    return tuple(knots.tolist()), ""


def spline_design(logits: Floats, knots: tuple[float, ...]) -> Floats:
    """Return intercept, logits and restricted cubic spline terms, (n, knots).

    Source:
        Hmisc::rcspline.eval with norm = 2.
    """
    first, last, before = knots[0], knots[-1], knots[-2]
    columns = [np.ones(logits.size), logits]
    for knot in knots[:-2]:
        at_before = _cubed(logits - before) * (last - knot) / (last - before)
        at_last = _cubed(logits - last) * (before - knot) / (last - before)
        columns.append((_cubed(logits - knot) - at_before + at_last) / (last - first) ** 2)
    return np.column_stack(columns)


def _cubed(values: Floats) -> Floats:
    above = np.maximum(values, 0)
    return above * above * above  # ten times faster than a power


def grouped_points(truth: NDArray[Any], probability: NDArray[Any], *, n_groups: int = N_GROUPS) -> GroupedPoints:
    """Return the observed share of events in groups of equal size, images with the same probability together."""
    truth, probability, *_ = checked_probability(truth, probability, None)
    group = mass_bins(probability, n_groups)
    n = np.bincount(group, minlength=n_groups)
    used = n > 0
    observed = np.bincount(group, weights=truth, minlength=n_groups)[used] / n[used]
    predicted = np.bincount(group, weights=probability, minlength=n_groups)[used] / n[used]
    limits = [wilson_interval(float(share), int(size)) for share, size in zip(observed, n[used], strict=True)]
    low, high = np.array(limits).reshape(-1, 2).T
    return GroupedPoints(predicted, observed, low, high, n[used])


def mass_bins(probability: Floats, n_bins: int) -> Integers:
    """Number bins of equal size, 0 to n_bins - 1, (n,); equal probabilities share the bin of their middle rank."""
    _, group, n = np.unique(probability, return_inverse=True, return_counts=True)
    middle = (np.cumsum(n) - n / 2) / max(probability.size, 1)
    return np.floor(middle * n_bins).astype(np.int64)[group]
