"""Calibrators: how logits become probabilities that mean what they say; fitted on val, applied everywhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from effmed.errors import DataError, RecipeError
from effmed.evaluate.calibration.regression import fit_logistic
from effmed.evaluate.intervals import Floats, Integers, check_numbers, row_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["none", "platt", "temperature", "bias-corrected-temperature"]

MIN_EVENTS = 20  # of the rarest class; fewer say too little about an intercept and a scale
EVENTS_FOR_PLAIN_TARGETS = 50  # below it Platt's smoothed targets keep the scale finite
MAX_SCALE = 20.0  # a temperature of 0.05; a fit that reaches it has no optimum
MIN_SCALE = 0.05  # likewise: a smaller one leaves nothing of the logits
MAX_BIAS = 20.0  # in logits, likewise
MAX_STEPS = 500
PRECISION = 1e-12  # of the mean log loss and its gradient


class Calibrator(BaseModel):
    """Calibrated logits = scale x (logits - prior_shift) + bias.

    Attributes:
        method: How it was fitted.
        scale: 1 / temperature; above 0.
        bias: One number per logit; of several classes they add up to 0.
        prior_shift: What class weights or sampling added to the logits; subtracted first, zeros for nothing.
        fitted_on: Split whose images were used; empty for method ``none``.
        n: Images that were used.
        n_events: Images of the rarest class among them.
        reason: Why nothing, or less than wished, was fitted; empty otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method
    scale: float
    bias: tuple[float, ...]
    prior_shift: tuple[float, ...]
    fitted_on: str
    n: int
    n_events: int
    reason: str


def fit_calibrator(
    logits: NDArray[Any], truth: NDArray[Any], *, method: str, prior_shift: NDArray[Any], fitted_on: str = "val"
) -> Calibrator:
    """Fit a calibrator by maximum likelihood, after the prior shift is undone.

    Method ``auto`` is Platt for two classes and bias-corrected temperature for more. Where the rarest class has
    fewer than 20 images, or nothing can be fitted, it takes ``temperature`` (several classes, 20 images outside
    the commonest) or ``none``, and ``reason`` says so.

    Args:
        logits: (n, k) as the network gives them; k = 1 for two classes, else one per class.
        truth: (n,) class number; for two classes 1 is the positive one.
        method: ``auto``, ``none``, ``platt``, ``temperature`` or ``bias-corrected-temperature``.
        prior_shift: (k,).
        fitted_on: Name of the split, kept in the calibrator.

    Raises:
        DataError: A method that was asked for by name cannot be fitted; or values are missing or out of range.
    """
    logits = check_numbers(logits, len(truth), "logits")
    n_classes = max(logits.shape[1], 2)
    truth = _checked_classes(truth, n_classes)
    events = np.bincount(truth, minlength=n_classes)
    shift = np.asarray(prior_shift, dtype=np.float64)
    reasons: list[str] = []
    for candidate in _candidates(method, logits.shape[1]):
        fitted = _fit(candidate, logits - shift, truth, events)
        if not isinstance(fitted, str):
            break
        if method != "auto":
            problem = f"calibration method {method!r} cannot be fitted: {fitted}"
            raise DataError(problem, hint="use more val images, or --set calibration.method=none")
        reasons.append(f"no {candidate}: {fitted}")
    else:
        candidate, fitted = "none", (1.0, np.zeros(logits.shape[1]))
    return Calibrator(
        method=candidate,
        scale=fitted[0],
        bias=tuple(fitted[1].tolist()),
        prior_shift=tuple(shift.tolist()),
        fitted_on="" if candidate == "none" else fitted_on,
        n=truth.size,
        n_events=int(events.min()),
        reason="; ".join(reasons),
    )


def _candidates(method: str, n_logits: int) -> tuple[Method, ...]:
    """Return the methods to try, best first; when all fail, nothing is fitted."""
    if method == "auto":
        return ("platt",) if n_logits == 1 else ("bias-corrected-temperature", "temperature")
    if method not in get_args(Method):
        problem = f"calibration method {method!r} does not exist"
        raise RecipeError(problem, hint=f"calibration.method is auto or one of {', '.join(get_args(Method))}")
    if method == "platt" and n_logits > 1:
        problem = f"calibration method 'platt' is for two classes, not for {n_logits}"
        raise RecipeError(problem, hint="--set calibration.method=bias-corrected-temperature")
    return () if method == "none" else (cast("Method", method),)


def _checked_classes(truth: NDArray[Any], n_classes: int) -> Integers:
    wrong = ~np.isin(truth, np.arange(n_classes))
    if wrong.any():
        problem = f"truth is not a class number from 0 to {n_classes - 1} in {row_text(wrong)}"
        raise DataError(problem, hint="calibrate on labelled images only")
    return np.asarray(truth).astype(np.int64)


def _fit(method: Method, logits: Floats, truth: Integers, events: Integers) -> tuple[float, Floats] | str:
    """Return scale and bias, or why there are none."""
    if method == "temperature":
        available, of = truth.size - int(events.max()), "outside the commonest class"
    else:
        available, of = int(events.min()), "of the rarest class"
    if available < MIN_EVENTS:
        return f"{available} images {of}, at least {MIN_EVENTS} are needed"
    scale, bias = _fit_sigmoid(method, logits, truth) if logits.shape[1] == 1 else _fit_softmax(method, logits, truth)
    if scale <= 0:
        return "probabilities do not rise with the logits"
    if math.isinf(scale):
        return "the logits separate the classes perfectly"
    return (scale, bias) if scale < MAX_SCALE else f"the temperature falls below {1 / MAX_SCALE:g}"


def _fit_sigmoid(method: Method, logits: Floats, truth: Integers) -> tuple[float, Floats]:
    """Fit scale and bias of one logit; the scale is 0 for constant logits, infinite for separated classes."""
    if np.ptp(logits) == 0:
        return 0.0, np.zeros(1)
    if method == "temperature":
        alone = fit_logistic(logits, truth.astype(np.float64))
        return (math.inf if alone is None else float(alone.coefficients[0])), np.zeros(1)
    fit = fit_logistic(np.hstack([logits, np.ones_like(logits)]), _platt_targets(truth))
    return (math.inf, np.zeros(1)) if fit is None else (float(fit.coefficients[0]), fit.coefficients[1:])


def _platt_targets(truth: Integers) -> Floats:
    """Return the truth, drawn in from 0 and 1 where events are few (Platt 1999), so that the scale stays finite."""
    n_positive, n_negative = int(truth.sum()), int((1 - truth).sum())
    if min(n_positive, n_negative) >= EVENTS_FOR_PLAIN_TARGETS:
        return truth.astype(np.float64)
    return np.where(truth == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))


def _fit_softmax(method: Method, logits: Floats, truth: Integers) -> tuple[float, Floats]:
    n, n_classes = logits.shape
    bias_bound = 0.0 if method == "temperature" else MAX_BIAS
    happened = np.eye(n_classes)[truth]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, bias = np.exp(parameters[0]), parameters[1:]
        log_probability = log_softmax(scale * logits + bias, axis=1)
        residual = (np.exp(log_probability) - happened) / n
        gradient = np.append((residual * logits).sum() * scale, residual.sum(axis=0))
        return float(-(happened * log_probability).sum() / n), gradient

    bounds = [(math.log(MIN_SCALE), math.log(MAX_SCALE))] + [(-bias_bound, bias_bound)] * n_classes
    found = minimize(
        loss,
        np.zeros(n_classes + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": PRECISION**2, "gtol": PRECISION, "maxiter": MAX_STEPS},
    )
    scale, bias = float(np.exp(found.x[0])), np.asarray(found.x[1:] - found.x[1:].mean())
    if ((scale * logits + bias).argmax(axis=1) == truth).all():
        return math.inf, bias  # a larger scale would always be better
    if found.x[0] in bounds[0]:  # no optimum between the bounds
        return (0.0 if found.x[0] < 0 else MAX_SCALE), bias
    return scale, bias


def calibrate(calibrator: Calibrator, logits: NDArray[Any]) -> Floats:
    """Return calibrated logits, (n, k) float64."""
    shifted = np.asarray(logits, dtype=np.float64) - np.array(calibrator.prior_shift)
    return np.asarray(calibrator.scale * shifted + np.array(calibrator.bias))


def probabilities(logits: NDArray[Any]) -> Floats:
    """Return probabilities, (n, class) float64: the sigmoid's (negative, positive) of one logit, softmax of more."""
    logits = np.asarray(logits, dtype=np.float64)
    if logits.shape[1] == 1:
        return np.hstack([expit(-logits), expit(logits)])
    return np.asarray(softmax(logits, axis=1))
