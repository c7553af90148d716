"""Discrimination over several classes: Hand and Till, macro and micro AUROC."""

from __future__ import annotations

import math
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.evaluate.discrimination.auroc import auroc, place
from effmed.evaluate.discrimination.ranking import make_ranking, ranking_measures
from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Floats,
    Integers,
    Patients,
    Z,
    bootstrap,
    check_length,
    check_numbers,
    check_truth,
    estimated,
    make_units,
    not_estimable,
    percentile_estimate,
    variance_of_total,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_EVENTS_IN_AVERAGE = 10  # a class with fewer is listed, not averaged
UNKNOWN = -1  # truth of an image whose label is blank or uncertain


def hand_till_auroc(
    truth: NDArray[Any], probability: NDArray[Any], patients: Patients = None, *, replicates: int = 0, seed: int = 0
) -> Estimate:
    """Return Hand and Till's M: the AUROC averaged over ordered pairs of classes, insensitive to prevalence.

    Args:
        truth: (n,) class index.
        probability: (n, class).
        patients: (n,) or None.
        replicates: Of the patient bootstrap; 0 for no interval.
        seed: Of the bootstrap.

    Source:
        Hand and Till, Machine Learning 2001, 45:171.
    """
    probability = check_numbers(probability, len(truth), "probabilities")
    units = make_units(patients, len(truth))
    counts = Counts(len(truth), len(truth), units.n_patients)
    absent = sorted(set(range(probability.shape[1])) - set(np.unique(truth).tolist()))
    if absent:
        return not_estimable(f"no image of class number {', '.join(map(str, absent))}", counts)
    pairs = []
    for one, other in permutations(range(probability.shape[1]), 2):
        rows = np.flatnonzero((truth == one) | (truth == other))
        ranking = make_ranking((truth[rows] == one).astype(np.int64), probability[rows, one])
        pairs.append((rows[ranking.order], ranking))

    def average(weights: Integers) -> Floats:
        return np.array([np.mean([ranking_measures(ranking, weights[rows])[0] for rows, ranking in pairs])])

    value = float(average(np.ones(len(truth), dtype=np.int64))[0])
    if replicates == 0:
        return estimated(value, None, "none", counts, "no bootstrap was asked for")
    return percentile_estimate(value, bootstrap(average, units, replicates=replicates, seed=seed)[:, 0], counts)


def macro_auroc(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the AUROC averaged over columns, with the variance from each patient's influence on all of them.

    Columns without 10 images of each kind are left out and named by number in ``reason``.

    Args:
        truth: (n, class) 0 or 1, and -1 where unknown; one column per class against the rest, or per finding.
        logits: (n, class).
        patients: (n,) or None.
    """
    logits = check_numbers(logits, len(truth), "logits")
    units = make_units(patients, len(truth))
    events = [min(int((column == 1).sum()), int((column == 0).sum())) for column in truth.T]
    used = [number for number, n in enumerate(events) if n >= MIN_EVENTS_IN_AVERAGE]
    counts = Counts(len(truth), int((truth == 1).sum()), units.n_patients)
    left_out = [str(number) for number in range(truth.shape[1]) if number not in used]
    if not used:
        return not_estimable(f"no class has {MIN_EVENTS_IN_AVERAGE} images of each kind", counts)
    influence, values = np.zeros(len(truth)), []
    for number in used:
        value, column = _auroc_influence(truth[:, number], logits[:, number])
        values.append(value)
        influence += column / len(used)
    value, method = float(np.mean(values)), f"influence, Wald, {len(used)} classes"
    reasons = [f"left out for want of images: class number {', '.join(left_out)}"] if left_out else []
    variance = variance_of_total(influence, units) if units.count > 1 else 0.0
    if variance <= 0:
        why = "the variance between placements is 0" if units.count > 1 else "all images are of one patient"
        return estimated(value, None, "none", counts, "; ".join([*reasons, f"{why}: no interval"]))
    half = Z * math.sqrt(variance)
    return estimated(value, (max(0.0, value - half), min(1.0, value + half)), method, counts, "; ".join(reasons))


def _auroc_influence(truth: NDArray[Any], logits: Floats) -> tuple[float, Floats]:
    known = truth != UNKNOWN
    column = check_truth(truth[known])
    placements = place(column, logits[known])
    influence = np.zeros(truth.size)
    influence[known] = placements.excess / np.where(column == 1, (column == 1).sum(), (column == 0).sum())
    return placements.value, influence


def micro_auroc(truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None) -> Estimate:
    """Return the AUROC of all (image, class) cells pooled; the cells of a patient, or an image, vary together.

    Args:
        truth: (n, class) 0 or 1, and -1 where unknown.
        logits: (n, class).
        patients: (n,) or None.
    """
    together = np.arange(len(truth)) if patients is None else patients
    check_length(together, len(truth), "patients")
    known = (truth != UNKNOWN).ravel()
    cells = np.repeat(np.asarray(together), truth.shape[1])[known]
    return auroc(truth.ravel()[known], np.asarray(logits).ravel()[known], cells)
