"""Saying less than one class: prediction sets, and images referred to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.evaluate import decisions
from effmed.evaluate.intervals import Counts, Estimate, make_units, mean_estimate, proportion
from effmed.evaluate.report.evidence import Measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from effmed.evaluate.decisions import Referral, SetRule
    from effmed.evaluate.report.evidence import Evidence
    from effmed.evaluate.subgroups import Groups

N_CURVE_POINTS = 200  # of the risk-coverage curve: finer than a plot can show
MIN_PATIENTS = 10  # of a subgroup whose coverage is shown


def measure_sets(evidence: Evidence, rule: SetRule, columns: Mapping[str, Groups]) -> list[Measured]:
    """Return how often prediction sets hold the true class, over all images, by class and by subgroup; and their size.

    Coverage is promised for images like those that set the limits, one per patient; it is not by subgroup.
    """
    sets = decisions.prediction_sets(rule, evidence.probability("calibrated"))
    truth, patients = evidence.truth, evidence.patients
    held = sets[np.arange(evidence.n), truth]
    units = make_units(patients, evidence.n)
    size = mean_estimate(
        sets.sum(axis=1).astype(np.float64), Counts(evidence.n, int(held.sum()), units.n_patients), units
    )
    measured = [
        Measured("set_coverage", None, "calibrated", decisions.coverage(truth, sets, patients)),
        Measured("set_size", None, "calibrated", size),
    ]
    for number, name in enumerate(evidence.classes):
        of_class = decisions.coverage(truth, sets, patients, class_number=number)
        measured.append(Measured("set_coverage", name, "calibrated", of_class))
    for column, groups in columns.items():
        for number, value in enumerate(groups.names):
            estimate = proportion(held, groups.codes == number, patients)
            n_units = estimate.n if estimate.n_patients is None else estimate.n_patients
            if n_units < MIN_PATIENTS:
                why = f"fewer than {MIN_PATIENTS} {'images' if estimate.n_patients is None else 'patients'}"
                why += ": nor is it told how many sets held their class"  # which would tell the coverage
                counts = estimate.n, 0, estimate.n_patients
                estimate = Estimate(None, None, None, "none", *counts, "suppressed", why)
            measured.append(Measured("set_coverage", None, "calibrated", estimate, subgroup=(column, value)))
    return measured


def set_frame(evidence: Evidence, rule: SetRule) -> pd.DataFrame:
    """Count images by the size of their prediction set, and how many of these sets hold the true class."""
    sets = decisions.prediction_sets(rule, evidence.probability("calibrated"))
    size, held = sets.sum(axis=1), sets[np.arange(evidence.n), evidence.truth]
    rows = []
    for classes in range(len(evidence.classes) + 1):
        chosen = size == classes
        share = float(held[chosen].mean()) if chosen.any() else None
        rows.append((classes, int(chosen.sum()), float(chosen.mean()), share))
    return pd.DataFrame(rows, columns=["classes_in_the_set", "images", "fraction", "coverage"])


def certainty_of(evidence: Evidence, called: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probability of the class that each image was decided to be, (n,)."""
    return np.asarray(evidence.probability("calibrated")[np.arange(evidence.n), called])


def risk_frame(evidence: Evidence) -> pd.DataFrame:
    """Return the share of wrong decisions against the share of images decided, the most certain first."""
    if evidence.called is None:
        return pd.DataFrame(columns=["certainty", "decided_fraction", "error_fraction"])
    curve = decisions.risk_coverage(evidence.truth, evidence.called, certainty_of(evidence, evidence.called))
    kept = np.unique(np.linspace(0, curve.risk.size - 1, N_CURVE_POINTS).round().astype(np.int64))
    columns = {"certainty": curve.certainty, "decided_fraction": curve.coverage, "error_fraction": curve.risk}
    return pd.DataFrame(columns).iloc[kept].reset_index(drop=True)


def measure_referral(evidence: Evidence, referral: Referral) -> list[Measured]:
    """Return the share of images that are decided and not referred, and the share of these decisions that are wrong."""
    if evidence.called is None:
        return []
    certainty = certainty_of(evidence, evidence.called)
    decided = np.zeros(evidence.n, dtype=bool) if referral.certainty is None else certainty >= referral.certainty
    wrong = evidence.called != evidence.truth
    return [
        Measured("decided_fraction", None, "calibrated", proportion(decided, decided | ~decided, evidence.patients)),
        Measured("decided_error_fraction", None, "calibrated", proportion(wrong, decided, evidence.patients)),
    ]
