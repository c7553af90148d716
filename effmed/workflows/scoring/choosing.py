"""What is chosen on the validation images: calibrator, operating points, prediction sets, referral."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from effmed.data.records import LABEL
from effmed.evaluate.calibrators import (
    calibrate,
    fit_calibrator,
    fit_label_calibrators,
    identity_calibrator,
    join_calibrators,
    probabilities,
)
from effmed.evaluate.decisions import Decisions, choose_decisions, choose_label_points
from effmed.evaluate.predictions import apply_policy, class_numbers, label_numbers, patients_of
from effmed.learn.imbalance import undoing
from effmed.learn.plan import SET_BY_RECIPE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import pandas as pd

    from effmed.evaluate.calibrators import Calibrator
    from effmed.evaluate.calibrators.maps import Map
    from effmed.evaluate.intervals import Integers
    from effmed.evaluate.predictions import Predictions, Scores
    from effmed.learn.plan import Plan
    from effmed.recipe import DecisionSettings, ReportSettings


def truth_of(rows: pd.DataFrame, plan: Plan) -> Integers:
    """Return what training and validation take for true.

    Args:
        rows: Of a manifest.
        plan: Knows the classes, and what uncertain and blank labels count as.

    Returns:
        (n,) class numbers; of several labels (n, label) 1, 0, or -1 where a label is not known.

    Raises:
        DataError: A label is no class.
    """
    if plan.task != "multilabel":
        return class_numbers(rows["label"], plan.classes)
    labels = [label_numbers(rows[LABEL + name].to_numpy(object), name) for name in plan.classes]
    return apply_policy(np.column_stack(labels), uncertain=plan.uncertain, blank=plan.blank)


def decide_on_val(val: Scores, plan: Plan) -> tuple[Calibrator, Decisions, tuple[str, ...]]:
    """Fit the calibrator and choose what turns its probabilities into decisions.

    Args:
        val: Rows and logits of the validation images.
        plan: By which methods.

    Returns:
        Both; and why a label has no operating point, one sentence each.

    Raises:
        DataError: The method that the recipe names cannot be fitted, or the rule of two classes needs images of both.
    """
    truth, raw = truth_of(val.rows, plan), val.logits.astype(np.float64)
    method = plan.calibration if plan.reasons["calibration.method"] == SET_BY_RECIPE else "auto"
    shift, before = undoing(plan.imbalance)
    if plan.task == "multilabel":
        calibrator = fit_label_calibrators(raw, truth, method=method, prior_shift=shift, before=before, fitted_on="val")
        probability = expit(calibrate(calibrator, raw))
        points, missing = choose_label_points(probability, truth, plan.decision, classes=plan.classes)
        return calibrator, Decisions(points), missing
    calibrator = fit_calibrator(raw, truth, method=method, prior_shift=shift, before=before, fitted_on="val")
    probability = probabilities(calibrate(calibrator, raw))
    patients = patients_of(val.rows)
    return calibrator, choose_decisions(probability, truth, patients, plan.decision, classes=plan.classes), ()


def undone_only(plan: Plan, reason: str) -> Calibrator:
    """Return the calibrator that undoes what the loss did to the logits, and fits nothing.

    Args:
        plan: Of the network.
        reason: Why nothing is fitted, in words.
    """
    shift, before = undoing(plan.imbalance)
    if plan.task != "multilabel":
        return identity_calibrator(len(shift), reason).model_copy(update=_undoing(shift, before))
    alone = [identity_calibrator(1, reason).model_copy(update=_undoing([each], before)) for each in shift]
    return join_calibrators(alone)


def _undoing(shift: Iterable[float], before: tuple[Map, ...]) -> dict[str, object]:
    return {"prior_shift": tuple(map(float, shift)), "maps": before}


def with_policies(wanted: ReportSettings, plan: Plan, asked: Collection[str]) -> ReportSettings:
    """Return report settings under which uncertain and blank labels count as in training.

    Args:
        wanted: As the recipe has them.
        plan: Of the network.
        asked: Names of settings that the recipe sets itself, which stay.
    """
    if plan.task != "multilabel":
        return wanted
    policies = {"uncertain": plan.uncertain, "blank": plan.blank}
    return wanted.model_copy(update={name: each for name, each in policies.items() if name not in asked})


def decide_again(
    known: Predictions, calibrator: Calibrator, plan: Plan, settings: DecisionSettings
) -> tuple[Decisions, tuple[str, ...]]:
    """Choose by other rules than the plan's on predictions whose truth is known.

    Returns:
        What decides; and why a label has no operating point, one sentence each.

    Raises:
        DataError: The rule of two classes needs images of both.
    """
    probability = known.to_probability(calibrate(calibrator, known.logits))
    if known.is_multilabel:
        truth = apply_policy(known.labels, uncertain=plan.uncertain, blank=plan.blank)
        points, missing = choose_label_points(probability, truth, settings, classes=known.classes)
        return Decisions(points), missing
    return choose_decisions(probability, known.truth, known.patients, settings, classes=known.classes), ()
