"""Paired differences of what ranks: AUROC by class, their average, average precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate.comparison.contrast import SAME_RANKS, Contrast, drawn, wald
from effmed.evaluate.discrimination import auroc, auroc_difference
from effmed.evaluate.discrimination.auroc import place, too_few
from effmed.evaluate.discrimination.averages import MIN_EVENTS_IN_AVERAGE
from effmed.evaluate.discrimination.ranking import make_ranking, ranking_measures, unweighted_measures
from effmed.evaluate.intervals import (
    Counts,
    absent_class,
    bootstrap,
    estimated,
    make_units,
    not_estimable,
    patients_per_class,
    variance_of_total,
)

if TYPE_CHECKING:
    from effmed.evaluate.comparison.pairing import Judged, Pair
    from effmed.evaluate.intervals import Floats, Integers
    from effmed.recipe import ReportSettings

PRECISION = 1  # place of the average precision among the ranking's measures


def ranking_differences(pair: Pair, settings: ReportSettings) -> list[Contrast]:
    """Return the differences of the averaged AUROC of several classes, then of AUROC and average precision by class."""
    average = [] if pair.is_binary else [_macro_auroc(pair)]
    areas = [_auroc(pair, number) for number in pair.judged]
    return [*average, *areas, *(_average_precision(pair, number, settings) for number in pair.judged)]


def _auroc(pair: Pair, number: int) -> Contrast:
    """Return DeLong's or Obuchowski's paired difference; without variance it is a finding only for equal ranks."""
    truth = _against_rest(pair, number)
    ranks = pair.first.ranks(number), pair.second.ranks(number)
    values = [auroc(truth, each, pair.patients).value for each in ranks]
    result = auroc_difference(truth, ranks[0], ranks[1], pair.patients)
    estimate, p_value = result.estimate, result.p_value
    if result.se == 0 and not np.array_equal(*ranks):
        reason = "the variance of the difference is 0, although the rankings are not the same: no interval"
        estimate, p_value = replace(estimate, low=None, high=None, method="none", reason=reason), None
    return Contrast("auroc", pair.classes[number], (values[0], values[1]), estimate, p_value)


def _average_precision(pair: Pair, number: int, settings: ReportSettings) -> Contrast:
    """Return the difference of average precision with the patient bootstrap; a draw weighs both networks alike."""
    truth, about = _against_rest(pair, number), pair.classes[number]
    units = make_units(pair.patients, truth.size)
    counts = Counts(truth.size, int(truth.sum()), units.n_patients)
    if absent_class(counts):
        return Contrast("average_precision", about, (None, None), not_estimable(absent_class(counts), counts))
    ranks = pair.first.ranks(number), pair.second.ranks(number)
    rankings = [make_ranking(truth, each) for each in ranks]
    first, second = (float(unweighted_measures(ranking)[PRECISION]) for ranking in rankings)
    if min(patients_per_class(truth, units)) < 2:
        alone = estimated(first - second, None, "none", counts, too_few(units))
        return Contrast("average_precision", about, (first, second), alone)

    def difference(weights: Integers) -> Floats:
        one, other = (ranking_measures(ranking, weights[ranking.order])[PRECISION] for ranking in rankings)
        return np.array([one - other])

    alike = SAME_RANKS if np.array_equal(*ranks) else ""
    draws = bootstrap(difference, units, replicates=settings.bootstrap_replicates, seed=settings.seed)[:, 0]
    return Contrast("average_precision", about, (first, second), drawn(first - second, draws, counts, alike))


def _macro_auroc(pair: Pair) -> Contrast:
    """Return the difference of the AUROCs' averages, with each patient's influence on all of them at once.

    As ``discrimination.macro_auroc``, of which it is the difference: classes without 10 images of each kind are
    left out.
    """
    units = make_units(pair.patients, pair.truth.size)
    counts = Counts(pair.truth.size, pair.truth.size, units.n_patients)
    n = np.bincount(pair.truth, minlength=len(pair.classes))
    used = np.flatnonzero(np.minimum(n, pair.truth.size - n) >= MIN_EVENTS_IN_AVERAGE)
    if used.size == 0:
        reason = f"no class has {MIN_EVENTS_IN_AVERAGE} images of each kind"
        return Contrast("macro_auroc", None, (None, None), not_estimable(reason, counts))
    (first, one), (second, other) = (_influence(pair, judged, used) for judged in pair.both)
    missing = [name for number, name in enumerate(pair.classes) if number not in used]
    note = f"left out for want of images: class {', '.join(missing)}" if missing else ""
    method = f"influence, paired, Wald, {used.size} classes"
    if all(np.array_equal(pair.first.ranks(number), pair.second.ranks(number)) for number in used.tolist()):
        estimate, p_value = estimated(0.0, (0.0, 0.0), method, counts, SAME_RANKS), 1.0
    elif units.count < 2:
        estimate, p_value = estimated(first - second, None, "none", counts, too_few(units)), None
    else:
        estimate, p_value = wald(first - second, variance_of_total(one - other, units), method, counts)
    noted = replace(estimate, reason="; ".join(filter(None, (estimate.reason, note))))
    return Contrast("macro_auroc", None, (first, second), noted, p_value)


def _influence(pair: Pair, judged: Judged, used: Integers) -> tuple[float, Floats]:
    """Return the average AUROC of some classes, and what each image adds to it, (n,), in all 0."""
    value, influence = 0.0, np.zeros(pair.truth.size)
    for number in used.tolist():
        truth = _against_rest(pair, number)
        placements = place(truth, judged.ranks(number))
        value += placements.value / used.size
        influence += placements.excess / np.where(truth == 1, truth.sum(), truth.size - truth.sum()) / used.size
    return value, influence


def _against_rest(pair: Pair, number: int) -> Integers:
    return np.asarray(pair.truth == number, dtype=np.int64)
