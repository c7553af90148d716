"""Metrics over all classes together: averages of the ranking, scores, shares decided rightly."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.intervals import Counts, Estimate, make_units, not_estimable
from effmed.evaluate.report.evidence import Evidence, Measured, beside_null

if TYPE_CHECKING:
    from effmed.evaluate.intervals import Floats
    from effmed.evaluate.report.model import Stage

IMPOSSIBLE = -1e6  # logit that stands for minus infinity where the class is not the true one; its probability is 0


def averages(evidence: Evidence) -> list[Measured]:
    """Return the averages of the AUROC over classes or labels."""
    probability = evidence.probability("calibrated")
    if evidence.is_multilabel:
        ranking = evidence.label_ranking
    else:
        ranking = np.column_stack([evidence.against_rest(number, "calibrated").ranking for number in evidence.judged])
    estimates = {
        "macro_auroc": discrimination.macro_auroc(evidence.happened, ranking, evidence.patients),
        "micro_auroc": discrimination.micro_auroc(evidence.happened, probability, evidence.patients),
    }
    if not evidence.is_multilabel:
        estimates["hand_till_auroc"] = discrimination.hand_till_auroc(
            evidence.truth,
            probability,
            evidence.patients,
            replicates=evidence.settings.bootstrap_replicates,
            seed=evidence.settings.seed,
        )
    return [Measured(name, None, "calibrated", _with_names(each, evidence.classes)) for name, each in estimates.items()]


def _with_names(estimate: Estimate, classes: tuple[str, ...]) -> Estimate:
    """Call the classes in the reason by their names."""

    def named(match: re.Match[str]) -> str:
        return "class " + ", ".join(classes[int(number)] for number in match[1].split(", "))

    return replace(estimate, reason=re.sub(r"class number (\d+(?:, \d+)*)", named, estimate.reason))


def calibration_of_all(evidence: Evidence, stage: Stage) -> list[Measured]:
    """Measure all classes together; the top label is the most probable class, and its event is being right."""
    probability = evidence.probability(stage)
    right = (probability.argmax(axis=1) == evidence.truth).astype(np.int64)
    top = calibration.smece(right, probability.max(axis=1), evidence.patients, seed=evidence.settings.seed)
    return [
        Measured("brier", None, stage, calibration.multiclass_brier(evidence.truth, probability, evidence.patients)),
        Measured("log_loss", None, stage, log_loss_of_all(evidence, evidence.logits[stage])),
        beside_null("top_label_smece", None, stage, top),
    ]


def log_loss_of_all(evidence: Evidence, logits: Floats) -> Estimate:
    """Return the log loss of more than two classes that exclude each other, from logits (n, class)."""
    impossible = int(np.isinf(logits[np.arange(evidence.n), evidence.truth]).sum())
    if impossible:
        units = make_units(evidence.patients, evidence.n)
        counts = Counts(evidence.n, evidence.n, units.n_patients)
        return not_estimable(f"infinite: {impossible} images have probability 0 for their class", counts)
    finite = np.maximum(logits, IMPOSSIBLE)
    return calibration.multiclass_log_loss(evidence.truth, finite, evidence.patients)


def decisions_of_all(evidence: Evidence) -> list[Measured]:
    """Return how many images are decided rightly, and of grades how far decisions are off."""
    if evidence.called is None:
        return []
    truth, called, patients = evidence.truth, evidence.called, evidence.patients
    estimates = {
        "accuracy": decisions.accuracy(truth, called, patients),
        "balanced_accuracy": decisions.balanced_accuracy(truth, called, patients),
    }
    if not evidence.is_binary and are_grades(evidence.classes):
        settings = evidence.settings
        estimates["kappa_quadratic"] = decisions.kappa_quadratic(
            truth,
            called,
            patients,
            n_classes=len(evidence.classes),
            replicates=settings.bootstrap_replicates,
            seed=settings.seed,
        )
        estimates["mae"] = decisions.mean_absolute_error(truth, called, patients)
    return [Measured(name, None, "calibrated", each) for name, each in estimates.items()]


def are_grades(classes: tuple[str, ...]) -> bool:
    """Whether the names of the classes end in numbers that rise by 1, such as 0, 1, 2 or grade-1, grade-2."""
    numbers = [re.search(r"\d+$", name) for name in classes]
    found = [int(number[0]) for number in numbers if number]
    return len(found) == len(classes) and all(np.diff(found) == 1)
