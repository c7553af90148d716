"""What a site's images, or its prevalence, change about a bundle's probabilities and decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from effmed.errors import BundleError, DataError, RecipeError
from effmed.evaluate import calibration
from effmed.evaluate import calibrators as fitting
from effmed.evaluate.decisions import OperatingPoint, choose_decisions
from effmed.evaluate.predictions import Predictions, read_predictions
from effmed.recipe import ColumnSettings

if TYPE_CHECKING:
    from effmed.evaluate.calibrators import Calibrator
    from effmed.evaluate.intervals import Floats, Integers
    from effmed.learn.bundle import Bundle, BundleSheet
    from effmed.recipe import Recipe
    from effmed.run import Run
    from effmed.workflows.talk import Talk

LABELLED = ("in-the-large", "slope", "full")
ESTIMATED = ("em", "bbse")
SUM_TOLERANCE = 1e-6  # of prevalences that somebody typed
TOO_GOOD = "'after' is on the images that the update was fitted on: expect less on new ones"
OF_SITE = "; the limits hold for the choice of the site's images, not of those on val that calibrated the network"
ASSUMPTION = "this assumes that images of a class look as on val, and only the prevalence differs"
BEFORE_MOVE = ", before the prevalence was moved"
KEPT = (
    "the operating point stays at the same threshold of the probability, as it was chosen before the update: "
    "its sensitivity and specificity are no longer those that were chosen"
)
DROPPED = "prediction sets and referral are left out: what they promise rests on labelled images of the same prevalence"
STATE_IT = "state the prevalence instead: --set calibration.update=prevalence --set report.prevalence=[0.1]"


@dataclass(frozen=True)
class Site:
    """A site's images, scored by the bundle as it is.

    Attributes:
        name: As the user named it, without the path.
        readable: Every image that could be scored.
        run: The run in which the bundle lies; None where it lies elsewhere.
    """

    name: str
    readable: Predictions
    run: Run | None

    @property
    def labelled(self) -> Predictions:
        """The images whose truth is known."""
        return self.readable.labelled


def updated_sheet(bundle: Bundle, site: Site, recipe: Recipe, talk: Talk) -> tuple[BundleSheet, list[str]]:
    """Return the bundle's sheet with calibrator and operating points for the site, and what a reader must know.

    Raises:
        DataError: Events are too few, or no prevalence can be estimated.
        RecipeError: The stated prevalence is none.
        BundleError: The update needs what lies beside a bundle in its run.
    """
    old, update, name = bundle.sheet.calibrator, recipe.calibration.update, f"site: {site.name}"
    if update not in LABELLED:
        target, notes = _target(bundle, site, recipe)
        talk.say(f"prevalence {_shares(bundle, old.prevalence)} before, {_shares(bundle, target)} after")
        moved = fitting.shift_prevalence(old, target)
        points = tuple(_kept(point) for point in bundle.sheet.operating_points)
        changes = {"calibrator": moved, "operating_points": points, "sets": None, "referral": None}
        return bundle.sheet.model_copy(update=changes), [*notes, *([KEPT] if points else []), DROPPED]
    known = site.labelled
    if update == "full":
        new = _fitted_anew(old, known, recipe, name)
    else:
        less: Literal["in-the-large", "slope"] = "slope" if update == "slope" else "in-the-large"
        new = fitting.recalibrate(old, known.logits, known.truth, update=less, fitted_on=name)
    chosen = choose_decisions(
        _probability(new, known.logits),
        known.truth,
        known.patients,
        bundle.plan.decision,
        classes=bundle.sheet.classes,
        chosen_on=name,
    )
    decided = {"operating_points": chosen.points, "sets": chosen.sets, "referral": chosen.referral}
    return bundle.sheet.model_copy(update={"calibrator": new, **decided}), [TOO_GOOD]


def _kept(point: OperatingPoint) -> OperatingPoint:
    """Keep the threshold, and take back what its rule promised of the probabilities before."""
    rule = point.rule if point.rule.endswith(BEFORE_MOVE) else point.rule + BEFORE_MOVE
    return point.model_copy(update={"rule": rule, "sensitivity": None, "specificity": None})


def _fitted_anew(old: Calibrator, known: Predictions, recipe: Recipe, name: str) -> Calibrator:
    shift, method = np.array(old.prior_shift), recipe.calibration.method
    fitted = fitting.fit_calibrator(known.logits, known.truth, method=method, prior_shift=shift, fitted_on=name)
    if fitted.method == "none" and method == "auto":
        problem = f"calibration.update = full cannot be fitted on {name}: {fitted.reason}"
        raise DataError(problem, hint="use more labelled images")
    return fitted


def _target(bundle: Bundle, site: Site, recipe: Recipe) -> tuple[tuple[float, ...], list[str]]:
    """Return the site's prevalence, stated or estimated, and what it rests on."""
    update, classes = recipe.calibration.update, bundle.sheet.classes
    if update not in ESTIMATED:
        return _stated(recipe.report.prevalence, len(classes)), [ASSUMPTION]
    source = np.array(bundle.sheet.calibrator.prevalence)
    if source.size == 0:
        raise DataError("the bundle's calibrator was not fitted: probabilities mean too little", hint=STATE_IT)
    site_p = _probability(bundle.sheet.calibrator, site.readable.logits)
    val_p, val_truth = _val(bundle, site.run) if update == "bbse" else (site_p, np.zeros(0, dtype=np.int64))

    def estimate(p: Floats) -> Floats:
        if update == "em":
            return calibration.prevalence_by_em(p, source)
        return calibration.prevalence_by_confusion(p, val_p, val_truth)

    settings = recipe.report
    found = fitting.prevalence_with_limits(
        estimate,
        site_p,
        site.readable.patients,
        replicates=settings.bootstrap_replicates,
        seed=settings.seed,
    )
    if (found[:, 0] <= 0).any() or (found[:, 0] >= 1).any():
        problem = f"{update} estimates the impossible prevalence {_shares(bundle, tuple(found[:, 0].tolist()))}"
        raise DataError(problem, hint=STATE_IT)
    texts = [
        f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in zip(classes, found, strict=True)
    ]
    return tuple(found[:, 0].tolist()), [f"prevalence estimated by {update}: {', '.join(texts)}{OF_SITE}", ASSUMPTION]


def _stated(prevalence: tuple[float, ...], n_classes: int) -> tuple[float, ...]:
    """Return one prevalence per class."""
    if n_classes == 2 and len(prevalence) == 1:
        return (1 - prevalence[0], prevalence[0])
    if len(prevalence) != n_classes or abs(sum(prevalence) - 1) > SUM_TOLERANCE:
        problem = f"report.prevalence = {list(prevalence)} is not one share for each of {n_classes} classes, with sum 1"
        raise RecipeError(problem, hint="of two classes give that of the positive one alone: [0.1]")
    return prevalence


def _val(bundle: Bundle, run: Run | None) -> tuple[Floats, Integers]:
    """Return probabilities and truths of the validation images, which a bundle alone does not hold."""
    if run is None:
        problem = "calibration.update = bbse needs the predictions on val, which a bundle alone does not hold"
        raise BundleError(problem, hint="name the run folder, or --set calibration.update=em")
    val = read_predictions(run.predictions("val"), ColumnSettings()).readable.labelled
    return _probability(bundle.sheet.calibrator, val.logits), val.truth


def _shares(bundle: Bundle, prevalence: tuple[float, ...]) -> str:
    pairs = zip(bundle.sheet.classes, prevalence, strict=False)
    return ", ".join(f"{name} {share:.3f}" for name, share in pairs) or "unknown"


def _probability(calibrator: Calibrator, logits: Floats) -> Floats:
    return fitting.probabilities(fitting.calibrate(calibrator, logits))
