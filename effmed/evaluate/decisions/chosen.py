"""Everything that turns probabilities into decisions, chosen at once on one split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.decisions.operating_point import OperatingPoint, choose_operating_point
from effmed.evaluate.decisions.sets import Referral, SetRule, choose_referral, fit_sets, one_per_patient

if TYPE_CHECKING:
    from effmed.evaluate.intervals import Floats, Integers, Patients
    from effmed.recipe import DecisionSettings


@dataclass(frozen=True)
class Decisions:
    """What decides.

    Attributes:
        points: The operating point of two classes; of more the largest probability decides, and there is none. Of
            labels that do not exclude each other, one for each that has both kinds.
        sets: Limits of prediction sets; None makes none.
        referral: Below which certainty an image is referred; None refers none.
    """

    points: tuple[OperatingPoint, ...] = ()
    sets: SetRule | None = None
    referral: Referral | None = None


def choose_label_points(
    probability: Floats,
    truth: Integers,
    settings: DecisionSettings,
    *,
    classes: tuple[str, ...],
    chosen_on: str = "val",
) -> tuple[tuple[OperatingPoint, ...], tuple[str, ...]]:
    """Choose an operating point for each of several labels, on the images of which the label is known.

    Args:
        probability: (n, label) calibrated.
        truth: (n, label) 1, 0, or -1 where not known.
        settings: By which rule.
        classes: Names of the labels.
        chosen_on: Name of the split.

    Returns:
        The points; and why a label has none, one sentence each.
    """
    points, reasons = list[OperatingPoint](), list[str]()
    for number, name in enumerate(classes):
        rows = truth[:, number] >= 0
        try:
            point = choose_operating_point(
                truth[rows, number], probability[rows, number], settings, class_name=name, chosen_on=chosen_on
            )
        except DataError as error:
            reasons.append(error.problem)
        else:
            points.append(point)
    return tuple(points), tuple(reasons)


def choose_decisions(
    probability: Floats,
    truth: Integers,
    patients: Patients,
    settings: DecisionSettings,
    *,
    classes: tuple[str, ...],
    chosen_on: str = "val",
) -> Decisions:
    """Choose operating point, prediction sets and referral on labelled images.

    Prediction sets are promised for exchangeable images, so one image of each patient, drawn at random, sets them.

    Args:
        probability: (n, class) calibrated.
        truth: (n,) class numbers.
        patients: (n,) or None.
        settings: By which rules.
        classes: In the order of the outputs.
        chosen_on: Name of the split.

    Raises:
        DataError: The rule of the operating point needs images of a class that has none.
    """
    points: tuple[OperatingPoint, ...] = ()
    called = probability.argmax(axis=1)
    if len(classes) == 2:
        point = choose_operating_point(truth, probability[:, 1], settings, class_name=classes[1], chosen_on=chosen_on)
        points, called = (point,), (probability[:, 1] >= point.threshold).astype(np.int64)
    alone = one_per_patient(patients, truth.size)
    sets = fit_sets(
        truth[alone],
        probability[alone],
        miss_fraction=settings.miss_fraction,
        by_class=settings.sets_by_class,
        chosen_on=chosen_on,
    )
    referral = choose_referral(
        truth,
        called,
        probability[np.arange(truth.size), called],
        max_error_fraction=settings.max_error_fraction,
        chosen_on=chosen_on,
    )
    return Decisions(points, sets, referral)
