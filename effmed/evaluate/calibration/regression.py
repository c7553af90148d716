"""Logistic recalibration as a measure: calibration in the large and slope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, log_expit

from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Floats,
    Integers,
    Patients,
    Units,
    Z,
    absent_class,
    checked,
    estimated,
    not_estimable,
    rarer_df,
    t_quantile,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_EVENTS = 100  # of either kind: below it calibration is imprecise (Snell, Journal of Clinical Epidemiology 2021)
MAX_NEWTON_STEPS = 50  # a logistic regression that has an optimum needs fewer than 15
NEWTON_TOLERANCE = 1e-10  # largest step of a coefficient at the optimum


@dataclass(frozen=True)
class LogisticFit:
    """A logistic regression: coefficients (k,), their covariance (k, k) and the fitted probabilities (n,)."""

    coefficients: Floats
    covariance: Floats
    probability: Floats


def fit_logistic(
    design: Floats, target: Floats, offset: Floats | float = 0.0, weights: Floats | float = 1.0
) -> LogisticFit | None:
    """Fit P = sigmoid(design @ coefficients + offset) by maximum likelihood (Newton with step halving).

    Args:
        design: (n, k).
        target: (n,) 0 to 1; need not be whole.
        offset: (n,) added to the linear predictor.
        weights: (n,) how many images a row stands for.

    Returns:
        The fit, or None where there is no finite optimum: the classes are separated, or columns are collinear.
    """
    coefficients = np.zeros(design.shape[1])
    loss = _logistic_loss(design @ coefficients + offset, target, weights)
    for _ in range(MAX_NEWTON_STEPS):
        probability = expit(design @ coefficients + offset)
        information = np.asarray((design * (weights * probability * (1 - probability))[:, None]).T @ design)
        if not np.linalg.cond(information) < 1 / np.finfo(np.float64).eps:
            return None
        step = np.linalg.solve(information, design.T @ (weights * (target - probability)))
        if np.abs(step).max() < NEWTON_TOLERANCE:
            return LogisticFit(coefficients, np.asarray(np.linalg.inv(information), dtype=np.float64), probability)
        trial = _logistic_loss(design @ (coefficients + step) + offset, target, weights)
        while trial > loss + NEWTON_TOLERANCE * max(1.0, loss) and np.abs(step).max() > NEWTON_TOLERANCE:
            step = step / 2
            trial = _logistic_loss(design @ (coefficients + step) + offset, target, weights)
        coefficients, loss = coefficients + step, trial
    return None


def _logistic_loss(predictor: Floats, target: Floats, weights: Floats | float) -> float:
    return float((weights * ((1 - target) * predictor - log_expit(predictor))).sum())  # ln s(-x) = ln s(x) - x


def sandwich(fit: LogisticFit, design: Floats, target: Floats, units: Units) -> Floats:
    """Return the covariance (k, k) of the coefficients that allows for patients with several images, x G/(G-1)."""
    residual = target - fit.probability
    totals = np.column_stack([units.sums(column * residual) for column in design.T])
    meat = totals.T @ totals * units.count / (units.count - 1)
    return np.asarray(fit.covariance @ meat @ fit.covariance)


def citl(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return calibration in the large: the constant that the logits lack on average, 0 when calibrated.

    The intercept of a logistic regression with the logits as offset. Logits may be infinite (probabilities of
    exactly 0 or 1); there is no estimate then.
    """
    truth, logits, units, counts = checked(truth, logits, patients, infinite=True)
    reason = why_no_regression(logits, counts)
    if reason:
        return not_estimable(reason, counts)
    design = np.ones((truth.size, 1))
    return _coefficient(fit_logistic(design, truth.astype(float), logits), design, truth, units, counts)


def slope(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the calibration slope: 1 when calibrated, less when probabilities are too extreme.

    The coefficient of the logits in a logistic regression with intercept. Logits may be infinite, as in ``citl``.
    """
    truth, logits, units, counts = checked(truth, logits, patients, infinite=True)
    reason = why_no_regression(logits, counts)
    if not reason and np.ptp(logits) == 0:
        reason = "all logits are the same"
    if reason:
        return not_estimable(reason, counts)
    design = np.column_stack([np.ones(truth.size), logits])
    return _coefficient(fit_logistic(design, truth.astype(float)), design, truth, units, counts)


def _coefficient(fit: LogisticFit | None, design: Floats, truth: Integers, units: Units, counts: Counts) -> Estimate:
    """Return the last coefficient: Wald where images are independent, else the sandwich by patient with t.

    The degrees of freedom are those of the patients; of a slope, those of the rarer kind of patients, without which
    its interval holds the truth in 75 to 90 % where events are few (benchmarks/coverage.py).
    """
    if fit is None:
        return not_estimable("the logits separate the classes perfectly: the slope is infinite", counts)
    value = float(fit.coefficients[-1])
    if not units.clustered:
        half = Z * math.sqrt(fit.covariance[-1, -1])
        return estimated(value, (value - half, value + half), "logistic regression, Wald", counts)
    df = rarer_df(truth, units) if design.shape[1] > 1 else units.count - 1
    if df < 1:
        why = "all images are of one patient" if units.count < 2 else "a class has only one patient"
        return estimated(value, None, "none", counts, f"{why}: no interval")
    half = t_quantile(df) * math.sqrt(sandwich(fit, design, truth.astype(float), units)[-1, -1])
    method = f"logistic regression, sandwich by patient, t({df})"
    return estimated(value, (value - half, value + half), method, counts)


def why_no_regression(logits: Floats, counts: Counts) -> str:
    """Say why no logistic regression on the logits exists, or return the empty text."""
    infinite = int((~np.isfinite(logits)).sum())
    if infinite:
        return f"{infinite} probabilities are exactly 0 or 1, so their logits are infinite"
    return absent_class(counts)
