"""Every metric of a report: discrimination, calibration before and after, decisions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.intervals import Counts, Estimate, make_units, not_estimable
from effmed.evaluate.report.evidence import Evidence, Measured

if TYPE_CHECKING:
    from effmed.evaluate.calibration import AgainstNull
    from effmed.evaluate.decisions import OperatingPoint
    from effmed.evaluate.intervals import Floats
    from effmed.evaluate.report.evidence import OneClass
    from effmed.evaluate.report.model import Stage

IMPOSSIBLE = -1e6  # logit that stands for minus infinity where the class is not the true one; its probability is 0


def measure(evidence: Evidence, points: tuple[OperatingPoint, ...]) -> list[Measured]:
    """Return every metric, in the order of the report."""
    measured = _discrimination(evidence) + _calibration(evidence, "raw")
    if evidence.is_recalibrated:
        measured += _calibration(evidence, "calibrated")
    else:
        measured += [replace(each, stage="calibrated") for each in measured if each.stage == "raw"]
    return measured + _decisions(evidence, points)


def _discrimination(evidence: Evidence) -> list[Measured]:
    """Rank the calibrated probabilities; of two classes the raw ones rank alike."""
    settings, measured = evidence.settings, []
    for number in evidence.judged:
        one = evidence.against_rest(number, "calibrated")
        estimates = {"auroc": discrimination.auroc(one.truth, one.ranking, evidence.patients)}
        estimates |= discrimination.ranking_estimates(
            one.truth, one.ranking, evidence.patients, replicates=settings.bootstrap_replicates, seed=settings.seed
        )
        measured += [Measured(name, one.name, "calibrated", estimate) for name, estimate in estimates.items()]
    return measured if evidence.is_binary else measured + _averages(evidence)


def _averages(evidence: Evidence) -> list[Measured]:
    happened = np.eye(len(evidence.classes), dtype=np.int64)[evidence.truth]
    ranking = np.column_stack([evidence.against_rest(number, "calibrated").ranking for number in evidence.judged])
    probability = evidence.probability("calibrated")
    settings = evidence.settings
    estimates = {
        "macro_auroc": discrimination.macro_auroc(happened, ranking, evidence.patients),
        "micro_auroc": discrimination.micro_auroc(happened, probability, evidence.patients),
        "hand_till_auroc": discrimination.hand_till_auroc(
            evidence.truth,
            probability,
            evidence.patients,
            replicates=settings.bootstrap_replicates,
            seed=settings.seed,
        ),
    }
    return [Measured(name, None, "calibrated", _with_names(each, evidence.classes)) for name, each in estimates.items()]


def _with_names(estimate: Estimate, classes: tuple[str, ...]) -> Estimate:
    """Call the classes in the reason by their names."""

    def named(match: re.Match[str]) -> str:
        return "class " + ", ".join(classes[int(number)] for number in match[1].split(", "))

    return replace(estimate, reason=re.sub(r"class number (\d+(?:, \d+)*)", named, estimate.reason))


def _calibration(evidence: Evidence, stage: Stage) -> list[Measured]:
    measured = []
    for number in evidence.judged:
        one = evidence.against_rest(number, stage)
        measured += _calibration_of(one, evidence, stage)
        if evidence.is_binary:
            measured += _calibration_of_two(one, evidence, stage)
    return measured if evidence.is_binary else measured + _calibration_of_all(evidence, stage)


def _calibration_of(one: OneClass, evidence: Evidence, stage: Stage) -> list[Measured]:
    """Measure what makes sense for one class against the rest."""
    patients, seed = evidence.patients, evidence.settings.seed
    estimates = {
        "citl": calibration.citl(one.truth, one.logits, patients),
        "slope": calibration.slope(one.truth, one.logits, patients),
        "brier": calibration.brier(one.truth, one.probability, patients),
    }
    errors = {
        "smece": calibration.smece(one.truth, one.probability, patients, seed=seed),
        "ece": calibration.ece(one.truth, one.probability, patients, seed=seed),
    }
    plain = [Measured(name, one.name, stage, estimate) for name, estimate in estimates.items()]
    return plain + [_beside_null(name, one.name, stage, error) for name, error in errors.items()]


def _calibration_of_two(one: OneClass, evidence: Evidence, stage: Stage) -> list[Measured]:
    """Measure what is added for two classes."""
    patients, seed = evidence.patients, evidence.settings.seed
    replicates = evidence.settings.bootstrap_replicates
    truth, probability = one.truth, one.probability
    estimates = {
        "scaled_brier": calibration.scaled_brier(truth, probability, patients, replicates=replicates, seed=seed),
        "log_loss": calibration.log_loss(truth, one.logits, patients),
        "observed_expected": calibration.observed_expected(
            truth, probability, patients, replicates=replicates, seed=seed
        ),
    }
    plain = [Measured(name, one.name, stage, estimate) for name, estimate in estimates.items()]
    errors = calibration.curve_errors(truth, one.logits, patients, seed=seed)
    return plain + [_beside_null(name, one.name, stage, error) for name, error in errors.items()]


def _calibration_of_all(evidence: Evidence, stage: Stage) -> list[Measured]:
    """Measure all classes together; the top label is the most probable class, and its event is being right."""
    probability = evidence.probability(stage)
    right = (probability.argmax(axis=1) == evidence.truth).astype(np.int64)
    top = calibration.smece(right, probability.max(axis=1), evidence.patients, seed=evidence.settings.seed)
    return [
        Measured("brier", None, stage, calibration.multiclass_brier(evidence.truth, probability, evidence.patients)),
        Measured("log_loss", None, stage, _log_loss(evidence, evidence.logits[stage])),
        _beside_null("top_label_smece", None, stage, top),
    ]


def _log_loss(evidence: Evidence, logits: Floats) -> Estimate:
    impossible = int(np.isinf(logits[np.arange(evidence.truth.size), evidence.truth]).sum())
    if impossible:
        units = make_units(evidence.patients, evidence.truth.size)
        counts = Counts(evidence.truth.size, evidence.truth.size, units.n_patients)
        return not_estimable(f"infinite: {impossible} images have probability 0 for their class", counts)
    finite = np.maximum(logits, IMPOSSIBLE)
    return calibration.multiclass_log_loss(evidence.truth, finite, evidence.patients)


def _beside_null(name: str, class_name: str | None, stage: Stage, error: AgainstNull) -> Measured:
    return Measured(name, class_name, stage, error.estimate, (error.null_mean, error.null_high))


def _decisions(evidence: Evidence, points: tuple[OperatingPoint, ...]) -> list[Measured]:
    if evidence.called is None:
        return []
    patients = evidence.patients
    estimates: dict[tuple[str, str | None], Estimate] = {}
    for number in evidence.judged:
        truth, called = (evidence.truth == number).astype(np.int64), evidence.called == number
        for rate in (decisions.sensitivity, decisions.specificity, decisions.ppv, decisions.npv):
            estimates[rate.__name__, evidence.classes[number]] = rate(truth, called, patients)
        if evidence.is_binary:
            for ratio in (decisions.lr_positive, decisions.lr_negative):
                estimates[ratio.__name__, evidence.classes[number]] = ratio(truth, called, patients)
    for share in (decisions.accuracy, decisions.balanced_accuracy):
        estimates[share.__name__, None] = share(evidence.truth, evidence.called, patients)
    measured = [Measured(name, class_name, "calibrated", each) for (name, class_name), each in estimates.items()]
    return measured + [benefit for point in points[:1] for benefit in _net_benefit(evidence, point)]


def _net_benefit(evidence: Evidence, point: OperatingPoint) -> list[Measured]:
    """Return the net benefit at the operating point's threshold; a threshold of 1 or more has none."""
    if not 0 <= point.threshold < 1:
        return []
    one = evidence.against_rest(evidence.classes.index(point.class_name), "calibrated")
    (estimate,) = decisions.net_benefit(one.truth, one.probability, (point.threshold,), evidence.patients)
    return [Measured("net_benefit", one.name, "calibrated", estimate)]
