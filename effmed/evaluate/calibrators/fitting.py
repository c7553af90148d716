"""Fitting a calibrator: which methods there are, what each needs, and what is fitted where that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from effmed.errors import DataError, RecipeError
from effmed.evaluate.calibrators.maps import apply_map
from effmed.evaluate.calibrators.model import Calibrator, identity_calibrator, join_calibrators
from effmed.evaluate.calibrators.ranks import fit_isotonic, fit_venn_abers
from effmed.evaluate.calibrators.sigmoid import fit_beta, fit_intercept, fit_platt, fit_temperature
from effmed.evaluate.calibrators.softmax import fit_softmax
from effmed.evaluate.intervals import Floats, Integers, check_numbers, row_text
from effmed.recipe import CalibrationMethod

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.evaluate.calibrators.maps import Map

MIN_EVENTS = 20  # of the rarest class; fewer say too little about an intercept and a scale
MIN_EVENTS_ISOTONIC = 1_000  # likewise about a free curve
MIN_EVENTS_FALLBACK = 10  # likewise about an intercept that nobody asked for
NEEDED = {"intercept": 1, "isotonic": MIN_EVENTS_ISOTONIC}  # MIN_EVENTS for the other methods
ONE_LOGIT = {
    "intercept": fit_intercept,
    "temperature": fit_temperature,
    "bias-corrected-temperature": fit_platt,  # the same thing for one logit
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
    "venn-abers": fit_venn_abers,
}
SEVERAL_LOGITS = ("intercept", "temperature", "bias-corrected-temperature", "vector")


def fit_calibrator(
    logits: NDArray[Any],
    truth: NDArray[Any],
    *,
    method: str,
    prior_shift: NDArray[Any],
    before: tuple[Map, ...] = (),
    fitted_on: str = "val",
) -> Calibrator:
    """Fit a calibrator by maximum likelihood, after the prior shift is undone.

    Method ``auto`` is Platt for two classes and bias-corrected temperature for more. Where the rarest class has
    fewer than 20 images, or nothing can be fitted, it takes less, and ``reason`` says so: ``intercept`` (two classes,
    10 images of the rarer), ``temperature`` (several classes, 20 images outside the commonest) or ``none``.

    A method that is asked for by name needs 20 images of the rarest class; ``intercept`` 1, ``isotonic`` 1,000.

    Args:
        logits: (n, k) as the network gives them; k = 1 for two classes, else one per class.
        truth: (n,) class number; for two classes 1 is the positive one.
        method: ``auto`` or a ``calibration.method`` of the recipe: ``platt``, ``beta``, ``isotonic`` and
            ``venn-abers`` are for two classes, ``vector`` is for more.
        prior_shift: (k,).
        before: Maps that undo what else the loss did, after the shift.
        fitted_on: Name of the split, kept in the calibrator.

    Raises:
        RecipeError: There is no such method, or not for so many classes.
        DataError: A method that was asked for by name cannot be fitted; or values are missing or out of range.
    """
    logits = check_numbers(logits, len(truth), "logits")
    n_classes = max(logits.shape[1], 2)
    truth = checked_classes(truth, n_classes)
    events = np.bincount(truth, minlength=n_classes)
    shift = np.asarray(prior_shift, dtype=np.float64)
    undone = logits - shift
    for each in before:
        undone = apply_map(each, undone)
    found, maps, reason = _first_that_fits(method, undone, truth)
    return Calibrator(
        method=found,
        maps=(*before, *maps),
        prior_shift=tuple(shift.tolist()),
        fitted_on=fitted_on if maps else "",
        n=truth.size,
        n_events=int(events.min()),
        prevalence=tuple((events / truth.size).tolist()) if maps else (),
        reason=reason,
    )


def fit_label_calibrators(
    logits: NDArray[Any],
    truth: NDArray[Any],
    *,
    method: str,
    prior_shift: NDArray[Any],
    before: tuple[Map, ...] = (),
    fitted_on: str = "val",
) -> Calibrator:
    """Fit a calibrator for each of several labels, on the images of which the label is known, and join them.

    Args:
        logits: (n, label) as the network gives them.
        truth: (n, label) 1, 0, or -1 where a label is not known.
        method: As in ``fit_calibrator``, for two classes.
        prior_shift: (label,).
        before: Maps of one logit that undo what else the loss did, the same for every label.
        fitted_on: Name of the split.

    Raises:
        RecipeError: There is no such method, or not for two classes.
        DataError: A method that was asked for by name cannot be fitted for a label.
    """
    fitted = []
    for label in range(truth.shape[1]):
        rows = truth[:, label] >= 0
        shift = np.asarray(prior_shift[label : label + 1], dtype=np.float64)
        if rows.any():
            known = logits[rows, label, None], truth[rows, label]
            one = fit_calibrator(*known, method=method, prior_shift=shift, before=before, fitted_on=fitted_on)
        else:
            one = identity_calibrator(1, f"not known of any image of {fitted_on}")
            one = one.model_copy(update={"prior_shift": tuple(shift.tolist()), "maps": before})
        fitted.append(one)
    return join_calibrators(fitted)


def _first_that_fits(method: str, logits: Floats, truth: Integers) -> tuple[CalibrationMethod, tuple[Map, ...], str]:
    """Return the method that was fitted, its map, and why none before it was."""
    reasons: list[str] = []
    for candidate, needed in _candidates(method, logits.shape[1]):
        fitted = fit_map(candidate, logits, truth, needed)
        if not isinstance(fitted, str):
            return candidate, (fitted,), "; ".join(reasons)
        if method != "auto":
            problem = f"calibration method {method!r} cannot be fitted: {fitted}"
            raise DataError(problem, hint="use more images, or --set calibration.method=none")
        reasons.append(f"no {candidate}: {fitted}")
    return "none", (), "; ".join(reasons)


def _candidates(method: str, n_logits: int) -> tuple[tuple[CalibrationMethod, int], ...]:
    """Return the methods to try, best first, with the events each needs; when all fail, nothing is fitted."""
    if method == "auto":
        if n_logits == 1:
            return ("platt", MIN_EVENTS), ("intercept", MIN_EVENTS_FALLBACK)
        return ("bias-corrected-temperature", MIN_EVENTS), ("temperature", MIN_EVENTS)
    if method not in get_args(CalibrationMethod):
        problem = f"calibration method {method!r} does not exist"
        raise RecipeError(
            problem, hint=f"calibration.method is auto or one of {', '.join(get_args(CalibrationMethod))}"
        )
    if method == "none":
        return ()
    if method not in (ONE_LOGIT if n_logits == 1 else SEVERAL_LOGITS):
        problem = f"calibration method {method!r} is not for {max(n_logits, 2)} classes"
        better = "platt" if n_logits == 1 else "bias-corrected-temperature"
        raise RecipeError(problem, hint=f"--set calibration.method={better}")
    return ((cast("CalibrationMethod", method), NEEDED.get(method, MIN_EVENTS)),)


def checked_classes(truth: NDArray[Any], n_classes: int) -> Integers:
    """Return class numbers (n,) as integers; ``DataError`` where one is none."""
    wrong = ~np.isin(truth, np.arange(n_classes))
    if wrong.any():
        problem = f"truth is not a class number from 0 to {n_classes - 1} in {row_text(wrong)}"
        raise DataError(problem, hint="calibrate on labelled images only")
    return np.asarray(truth).astype(np.int64)


def fit_map(method: CalibrationMethod, logits: Floats, truth: Integers, needed: int) -> Map | str:
    """Return the map that a method fits, or why there is none: fewer than ``needed`` events, or no optimum."""
    events = np.bincount(truth, minlength=max(logits.shape[1], 2))
    if method == "temperature":
        available, of = truth.size - int(events.max()), "outside the commonest class"
    else:
        available, of = int(events.min()), "of the rarest class"
    if available < needed:
        return f"{available} images {of}, at least {needed} are needed"
    if logits.shape[1] > 1:
        return fit_softmax(method, logits, truth)
    return ONE_LOGIT[method](logits, truth)
