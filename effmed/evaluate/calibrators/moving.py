"""Calibrators for another site: one more map, for its prevalence or fitted on its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.calibration.prior_shift import shift_logits
from effmed.evaluate.calibrators.fitting import MIN_EVENTS, MIN_EVENTS_FALLBACK, checked_classes, fit_map
from effmed.evaluate.calibrators.maps import Affine
from effmed.evaluate.calibrators.model import Calibrator, calibrate
from effmed.evaluate.intervals import Floats, Patients, bootstrap, check_numbers, make_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from effmed.evaluate.intervals import Integers
    from effmed.recipe import CalibrationMethod

LIMITS = (0.025, 0.975)  # of a 95 % percentile interval


def recalibrate(
    calibrator: Calibrator,
    logits: NDArray[Any],
    truth: NDArray[Any],
    *,
    update: Literal["in-the-large", "slope"],
    fitted_on: str,
) -> Calibrator:
    """Add a map that is fitted on another site's images, and leave the rest as it is.

    Args:
        calibrator: What is there.
        logits: (n, k) as the network gives them for the site's images.
        truth: (n,) class numbers.
        update: ``in-the-large`` adds a constant to the calibrated logits, one per class of several; ``slope`` fits
            their scale as well.
        fitted_on: Name of the site.

    Raises:
        DataError: The rarest class has fewer than 10 images (20 for ``slope``), or there is no optimum.

    Source:
        Van Calster et al., Journal of Clinical Epidemiology 2016, 74:167: logistic recalibration, and its intercept
        alone.
    """
    calibrated = calibrate(calibrator, check_numbers(logits, len(truth), "logits"))
    n_classes = max(calibrated.shape[1], 2)
    classes = checked_classes(truth, n_classes)
    events = np.bincount(classes, minlength=n_classes)
    line: CalibrationMethod = "platt" if n_classes == 2 else "bias-corrected-temperature"
    method: CalibrationMethod = "intercept" if update == "in-the-large" else line
    needed = MIN_EVENTS_FALLBACK if update == "in-the-large" else MIN_EVENTS
    added = fit_map(method, calibrated, classes, needed)
    if isinstance(added, str):
        problem = f"calibration.update = {update} cannot be fitted on {fitted_on}: {added}"
        less = ", or change less: --set calibration.update=in-the-large" if update == "slope" else ""
        raise DataError(problem, hint=f"use more labelled images{less}")
    changes = {
        "method": method if calibrator.method == "none" else calibrator.method,
        "maps": (*calibrator.maps, added),
        "fitted_on": fitted_on,
        "n": classes.size,
        "n_events": int(events.min()),
        "prevalence": tuple((events / classes.size).tolist()),
        "reason": "",
    }
    return calibrator.model_copy(update=changes)


def shift_prevalence(calibrator: Calibrator, target: Sequence[float], *, independent: bool = False) -> Calibrator:
    """Move a calibrator to another prevalence, assuming that images of a class look the same there.

    Args:
        calibrator: Whose probabilities hold for ``calibrator.prevalence``.
        target: (class,) prevalences that add up to 1; where ``independent``, (label,) shares of positives.
        independent: Whether the classes are labels that do not exclude each other.

    Returns:
        The calibrator with one more map; its prevalence is the target.

    Raises:
        DataError: The calibrator was not fitted, so the prevalence it holds for is unknown; or the target is no
            prevalence.
    """
    n_outputs = len(calibrator.prior_shift)
    if not calibrator.prevalence:
        problem = "the calibrator was not fitted, so nobody knows for what prevalence its probabilities hold"
        raise DataError(problem, hint="calibrate with labelled images first")
    if len(target) != len(calibrator.prevalence):
        problem = f"{len(target)} prevalences are given for {len(calibrator.prevalence)} classes"
        raise DataError(problem, hint="give one share per class, in the order of the classes")
    source, wanted = np.array(calibrator.prevalence), np.array(target, dtype=np.float64)
    if independent:
        bias = np.array([_shift(np.zeros((1, 1)), *pair)[0, 0] for pair in zip(source, wanted, strict=True)])
    else:
        bias = shift_logits(np.zeros((1, n_outputs)), source, wanted)[0]
    move = Affine(scale=(1.0,) * n_outputs, bias=tuple(bias.tolist()))
    return calibrator.model_copy(update={"maps": (*calibrator.maps, move), "prevalence": tuple(wanted.tolist())})


def _shift(logits: Floats, source: float, target: float) -> Floats:
    return shift_logits(logits, np.array([1 - source, source]), np.array([1 - target, target]))


def prevalence_with_limits(
    estimate: Callable[[Floats], Floats], probability: Floats, patients: Patients, *, replicates: int, seed: int
) -> Floats:
    """Estimate prevalences and their 95 % percentile limits, drawing patients with replacement.

    Args:
        estimate: Takes probabilities (m, class) and returns (class,).
        probability: (n, class) of the site's images.
        patients: (n,) or None.
        replicates: How many draws; draws without an estimate are left out.
        seed: Of the draws.

    Returns:
        (class, 3): value, low, high.

    Raises:
        DataError: There is no estimate.
    """
    value = estimate(probability)

    def draw(weights: Integers) -> Floats:
        try:
            return estimate(np.repeat(probability, weights, axis=0))
        except DataError:
            return np.full_like(value, np.nan)

    draws = bootstrap(draw, make_units(patients, len(probability)), replicates=replicates, seed=seed)
    return np.column_stack([value, *np.nanquantile(draws, LIMITS, axis=0)])
