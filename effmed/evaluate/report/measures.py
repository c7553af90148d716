"""Metrics of each class against the rest: discrimination, calibration before and after, decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from effmed.errors import RecipeError
from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.intervals import Estimate, proportion
from effmed.evaluate.report.averages import averages, calibration_of_all, decisions_of_all
from effmed.evaluate.report.evidence import Evidence, Measured, beside_null

if TYPE_CHECKING:
    from effmed.evaluate.decisions import OperatingPoint
    from effmed.evaluate.report.evidence import OneClass
    from effmed.evaluate.report.model import Stage
    from effmed.recipe import ReportSettings

RATES = {
    "sensitivity": decisions.sensitivity,
    "specificity": decisions.specificity,
    "ppv": decisions.ppv,
    "npv": decisions.npv,
}
RATIOS = {"lr_positive": decisions.lr_positive, "lr_negative": decisions.lr_negative}
AT_PREVALENCE = {"ppv_at_prevalence": decisions.ppv_at_prevalence, "npv_at_prevalence": decisions.npv_at_prevalence}


def measure(evidence: Evidence, points: tuple[OperatingPoint, ...]) -> list[Measured]:
    """Return every metric over all images, in the order of the report."""
    measured = _discrimination(evidence)
    if evidence.predictions.is_scored:
        return measured
    before = _calibration(evidence, "raw")
    after = _calibration(evidence, "calibrated") if evidence.is_recalibrated else as_calibrated(before)
    return measured + before + after + _decisions(evidence, points)


def as_calibrated(measured: list[Measured]) -> list[Measured]:
    """Return the same numbers as those of calibrated probabilities, where calibration changed nothing."""
    return [replace(each, stage="calibrated") for each in measured]


def _discrimination(evidence: Evidence) -> list[Measured]:
    """Rank the calibrated probabilities; of two classes the raw ones rank alike."""
    settings, measured = evidence.settings, []
    for number in evidence.judged:
        one = evidence.against_rest(number, "calibrated")
        happened, everyone = one.truth == 1, np.ones(one.truth.size, dtype=bool)
        estimates = {
            "prevalence": proportion(happened, everyone, one.patients),
            "auroc": discrimination.auroc(one.truth, one.ranking, one.patients),
        }
        estimates |= discrimination.ranking_estimates(
            one.truth, one.ranking, one.patients, replicates=settings.bootstrap_replicates, seed=settings.seed
        )
        measured += _named(estimates, one.name)
    return measured if evidence.is_binary else measured + averages(evidence)


def _named(estimates: dict[str, Estimate], class_name: str, stage: Stage = "calibrated") -> list[Measured]:
    return [Measured(name, class_name, stage, estimate) for name, estimate in estimates.items()]


def _calibration(evidence: Evidence, stage: Stage) -> list[Measured]:
    measured = []
    for number in evidence.judged:
        one = evidence.against_rest(number, stage)
        measured += _calibration_of(one, evidence.settings, stage)
        if evidence.has_events:
            measured += _calibration_of_event(one, evidence.settings, stage)
    return measured if evidence.has_events else measured + calibration_of_all(evidence, stage)


def _calibration_of(one: OneClass, settings: ReportSettings, stage: Stage) -> list[Measured]:
    """Measure what makes sense for one class against the rest."""
    estimates = {
        "citl": calibration.citl(one.truth, one.logits, one.patients),
        "slope": calibration.slope(one.truth, one.logits, one.patients),
        "brier": calibration.brier(one.truth, one.probability, one.patients),
    }
    errors = {
        "smece": calibration.smece(one.truth, one.probability, one.patients, seed=settings.seed),
        "ece": calibration.ece(one.truth, one.probability, one.patients, seed=settings.seed),
    }
    plain = _named(estimates, one.name, stage)
    return plain + [beside_null(name, one.name, stage, error) for name, error in errors.items()]


def _calibration_of_event(one: OneClass, settings: ReportSettings, stage: Stage) -> list[Measured]:
    """Measure what is added where the class is an event of its own."""
    seed, replicates = settings.seed, settings.bootstrap_replicates
    truth, probability, patients = one.truth, one.probability, one.patients
    estimates = calibration.event_scores(truth, probability, patients, replicates=replicates, seed=seed)
    estimates["log_loss"] = calibration.log_loss(truth, one.logits, patients)
    estimates |= calibration.corp_estimates(truth, probability, patients)
    errors = calibration.curve_errors(truth, one.logits, patients, seed=seed)
    errors |= {"miscalibration": calibration.miscalibration(truth, probability, patients, seed=seed)}
    plain = _named(estimates, one.name, stage)
    return plain + [beside_null(name, one.name, stage, error) for name, error in errors.items()]


def _decisions(evidence: Evidence, points: tuple[OperatingPoint, ...]) -> list[Measured]:
    if evidence.called is None:
        return []
    measured = []
    for number in evidence.judged:
        one = evidence.against_rest(number, "calibrated")
        measured += _rates(one, evidence, target_prevalence(evidence, number))
    if not evidence.is_multilabel:
        measured += decisions_of_all(evidence)
    return measured + [benefit for point in points for benefit in _net_benefit(evidence, point)]


def _rates(one: OneClass, evidence: Evidence, prevalence: float | None) -> list[Measured]:
    if one.called is None:
        return []
    rates = RATES | RATIOS if evidence.has_events else RATES
    estimates = {name: rate(one.truth, one.called, one.patients) for name, rate in rates.items()}
    if prevalence is not None:
        estimates |= {
            name: at_prevalence(one.truth, one.called, prevalence, one.patients)
            for name, at_prevalence in AT_PREVALENCE.items()
        }
    return _named(estimates, one.name)


def target_prevalence(evidence: Evidence, number: int) -> float | None:
    """Return the stated prevalence of a class where the network will be used; None where none was stated.

    Raises:
        RecipeError: ``report.prevalence`` does not fit the classes.
    """
    stated, n_judged = evidence.settings.prevalence, len(evidence.judged)
    if not stated:
        return None
    wrong_sum = n_judged > 1 and not evidence.is_multilabel and not np.isclose(sum(stated), 1)
    if len(stated) != n_judged or wrong_sum:
        problem = f"report.prevalence = {list(stated)} does not fit the classes {', '.join(evidence.classes)}"
        hint = "of two classes give that of the second; of more one share each, adding up to 1; of labels one each"
        raise RecipeError(problem, hint=hint)
    return stated[evidence.judged.index(number)]


def _net_benefit(evidence: Evidence, point: OperatingPoint) -> list[Measured]:
    """Return the net benefit at the operating point's threshold; a threshold of 1 or more has none."""
    if not 0 <= point.threshold < 1:
        return []
    one = evidence.against_rest(evidence.classes.index(point.class_name), "calibrated")
    (estimate,) = decisions.net_benefit(one.truth, one.probability, (point.threshold,), one.patients)
    return [Measured("net_benefit", one.name, "calibrated", estimate)]
