"""Maps of one logit that are logistic regressions: intercept, temperature, Platt, beta."""

from __future__ import annotations

import numpy as np
from scipy.special import log_expit

from effmed.evaluate.calibration.regression import fit_logistic
from effmed.evaluate.calibrators.maps import Affine, Beta
from effmed.evaluate.intervals import Floats, Integers

EVENTS_FOR_PLAIN_TARGETS = 50  # below it Platt's smoothed targets keep the scale finite
MAX_SCALE = 20.0  # a temperature of 0.05; a fit that reaches it has no optimum
MAX_BIAS = 20.0  # in logits, likewise

NOT_RISING = "probabilities do not rise with the logits"
SEPARATED = "the logits separate the classes perfectly"
TOO_STEEP = f"the temperature falls below {1 / MAX_SCALE:g}"
NO_CONSTANT = f"no constant up to {MAX_BIAS:g} makes the logits right on average"


def fit_intercept(logits: Floats, truth: Integers) -> Affine | str:
    """Fit a constant to one logit (n, 1), which stays as steep as it is; or say why there is none."""
    found = fit_logistic(np.ones_like(logits), truth.astype(np.float64), logits[:, 0])
    if found is None or abs(found.coefficients[0]) > MAX_BIAS:
        return NO_CONSTANT
    return Affine(scale=(1.0,), bias=(float(found.coefficients[0]),))


def fit_temperature(logits: Floats, truth: Integers) -> Affine | str:
    """Fit a scale to one logit (n, 1) without a constant."""
    if np.ptp(logits) == 0:
        return NOT_RISING
    found = fit_logistic(logits, truth.astype(np.float64))
    return SEPARATED if found is None else _checked(float(found.coefficients[0]), 0.0)


def fit_platt(logits: Floats, truth: Integers, *, smoothed: bool | None = None) -> Affine | str:
    """Fit scale and constant to one logit (n, 1).

    Args:
        logits: (n, 1).
        truth: (n,) 0 or 1.
        smoothed: Whether the truth is drawn in from 0 and 1 (Platt 1999), so that the scale stays finite; None for
            yes where a class has fewer than 50 images.
    """
    if np.ptp(logits) == 0:
        return NOT_RISING
    n_positive, n_negative = int(truth.sum()), int((1 - truth).sum())
    if smoothed is None:
        smoothed = min(n_positive, n_negative) < EVENTS_FOR_PLAIN_TARGETS
    target = truth.astype(np.float64)
    if smoothed:
        target = np.where(truth == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    found = fit_logistic(np.hstack([logits, np.ones_like(logits)]), target)
    return SEPARATED if found is None else _checked(*(float(value) for value in found.coefficients))


def _checked(scale: float, bias: float) -> Affine | str:
    if scale <= 0:
        return NOT_RISING
    return Affine(scale=(scale,), bias=(bias,)) if scale < MAX_SCALE else TOO_STEEP


def fit_beta(logits: Floats, truth: Integers) -> Beta | str:
    """Fit beta calibration to one logit (n, 1); a negative coefficient becomes 0 and the rest is fitted again.

    Source:
        Kull, Silva Filho and Flach, AISTATS 2017, section 4: a logistic regression on ln p and −ln(1 − p).
    """
    if np.ptp(logits) == 0:
        return NOT_RISING
    columns = np.hstack([log_expit(logits), -log_expit(-logits), np.ones_like(logits)])
    kept = np.array([True, True, True])
    for _ in range(columns.shape[1]):
        found = fit_logistic(columns[:, kept], truth.astype(np.float64))
        if found is None:
            return SEPARATED
        parameters = np.zeros(columns.shape[1])
        parameters[kept] = found.coefficients
        if (parameters[:2] >= 0).all():
            break
        kept[int(np.argmax(parameters[:2] < 0))] = False
    a, b, c = (float(value) for value in parameters)
    return Beta(a=a, b=b, c=c) if a + b > 0 else NOT_RISING
