"""Maps of several logits that are fitted by the softmax's likelihood: constants, one scale, or a scale per class."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from effmed.evaluate.calibrators.maps import Affine
from effmed.evaluate.calibrators.sigmoid import MAX_BIAS, MAX_SCALE, NO_CONSTANT, NOT_RISING, SEPARATED, TOO_STEEP
from effmed.evaluate.intervals import Floats, Integers
from effmed.recipe import CalibrationMethod

MIN_SCALE = 0.05  # a smaller one leaves nothing of the logits
LOGARITHMS = (math.log(MIN_SCALE), math.log(MAX_SCALE))
LOWEST, HIGHEST = np.exp(LOGARITHMS)  # as they come back from their logarithms
MAX_STEPS = 500
PRECISION = 1e-12  # of the mean log loss and its gradient


def fit_softmax(method: CalibrationMethod, logits: Floats, truth: Integers) -> Affine | str:
    """Fit scales and constants to several logits (n, k), the constants adding up to 0; or say why there are none.

    Args:
        method: ``intercept`` leaves the scales at 1, ``temperature`` has one scale and no constants,
            ``bias-corrected-temperature`` has one scale, ``vector`` has one per class.
        logits: (n, k), k > 1.
        truth: (n,) class numbers.
    """
    scale, bias = _optimum(method, logits, truth)
    if method == "intercept":
        found = Affine(scale=tuple(scale.tolist()), bias=tuple(bias.tolist()))
        return NO_CONSTANT if np.ptp(bias) >= MAX_BIAS else found
    if ((scale * logits + bias).argmax(axis=1) == truth).all():
        return SEPARATED  # a larger scale would always be better
    if scale.min() <= LOWEST:
        return NOT_RISING
    return TOO_STEEP if scale.max() >= HIGHEST else Affine(scale=tuple(scale.tolist()), bias=tuple(bias.tolist()))


def _optimum(method: CalibrationMethod, logits: Floats, truth: Integers) -> tuple[Floats, Floats]:
    n, n_classes = logits.shape
    n_scales = n_classes if method == "vector" else 1
    happened = np.eye(n_classes)[truth]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, bias = np.exp(parameters[:n_scales]), parameters[n_scales:]
        log_probability = log_softmax(scale * logits + bias, axis=1)
        residual = (np.exp(log_probability) - happened) / n
        by_class = (residual * logits).sum(axis=0)
        by_scale = by_class if method == "vector" else by_class.sum(keepdims=True)
        return float(-(happened * log_probability).sum() / n), np.append(by_scale * scale, residual.sum(axis=0))

    steep = (0.0, 0.0) if method == "intercept" else LOGARITHMS
    most = 0.0 if method == "temperature" else MAX_BIAS
    found = minimize(
        loss,
        np.zeros(n_scales + n_classes),
        jac=True,
        method="L-BFGS-B",
        bounds=[steep] * n_scales + [(-most, most)] * n_classes,
        options={"ftol": PRECISION**2, "gtol": PRECISION, "maxiter": MAX_STEPS},
    )
    logarithm, bias = found.x[:n_scales], found.x[n_scales:]
    return np.broadcast_to(np.exp(logarithm), (n_classes,)).copy(), np.asarray(bias - bias.mean())
