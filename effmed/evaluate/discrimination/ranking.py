"""Ranked images: average precision, partial AUROC, their patient bootstrap, ROC and precision-recall curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.discrimination.auroc import too_few
from effmed.evaluate.intervals import (
    Estimate,
    Floats,
    Integers,
    Patients,
    absent_class,
    bootstrap,
    checked,
    estimated,
    not_estimable,
    patients_per_class,
    percentile_estimate,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_MEASURES = 3
MAX_FPR = 0.1  # of the partial AUROC: the range in which a screening test works


@dataclass(frozen=True)
class Ranking:
    """Rows in falling order of the logits, seen from the distinct values that a positive has.

    Attributes:
        order: Row numbers in falling order of the logits, (n,).
        positives: Positions of the positive rows in ``order``, (m,).
        heads: Where in ``positives`` each distinct value begins, (distinct,).
        starts: Position in ``order`` of the first row with that value, (distinct,).
        ends: Position after the last one, (distinct,).
    """

    order: Integers
    positives: Integers
    heads: Integers
    starts: Integers
    ends: Integers


def make_ranking(truth: Integers, logits: Floats) -> Ranking:
    """Sort rows once; every weighted AUROC and average precision then costs one pass."""
    order = np.argsort(-logits, kind="stable")
    positives = np.flatnonzero(truth[order])
    falling = -logits[order]
    values, heads = np.unique(falling[positives], return_index=True)
    starts, ends = np.searchsorted(falling, values, "left"), np.searchsorted(falling, values, "right")
    return Ranking(order, positives, heads, starts, ends)


def ranking_measures(ranking: Ranking, ordered: Integers, max_fpr: float = MAX_FPR) -> Floats:
    """Return AUROC, average precision and standardised partial AUROC of weighted rows.

    Args:
        ranking: Of the rows; a class may be absent.
        ordered: Weight of each row in the ranking's order, (n,) whole numbers.
        max_fpr: False positive rate up to which the partial AUROC goes.

    Returns:
        (3,); NaN where a class has no weight.
    """
    called = np.concatenate(([0], np.cumsum(ordered)))
    steps = np.add.reduceat(ordered[ranking.positives], ranking.heads) if ranking.heads.size else np.zeros(0, int)
    true = np.cumsum(steps)
    n_positive = int(true[-1]) if true.size else 0
    n_negative = int(called[-1]) - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.full(N_MEASURES, np.nan)
    before, after = called[ranking.starts] - (true - steps), called[ranking.ends] - true
    area = 1 - (steps * (before + after)).sum() / (2 * n_positive * n_negative)
    partial = _partial_area(steps / n_positive, before / n_negative, after / n_negative, max_fpr)
    return np.array([area, _average_precision(steps, true, after), partial])


def _average_precision(steps: Integers, true: Integers, false: Integers) -> float:
    return float((steps * true / np.maximum(true + false, 1)).sum() / true[-1])  # 0/0 only where nothing is called


def _partial_area(steps: Floats, before: Floats, after: Floats, max_fpr: float) -> float:
    """Return McClish's standardised area up to ``max_fpr``: 0.5 without, 1 with perfect discrimination.

    Each rise of the sensitivity counts for the false positive rates that it precedes; where tied negatives
    make it a slope from ``before`` to ``after``, for their average.
    """
    inside = np.minimum(after, max_fpr) - np.minimum(before, max_fpr)
    width = np.where(after > before, after - before, 1.0)
    share = np.where(after > before, inside / width, before < max_fpr)
    area = (steps * share * (max_fpr - np.minimum(before, max_fpr) - inside / 2)).sum()
    least = max_fpr**2 / 2
    return float((1 + (area - least) / (max_fpr - least)) / 2)


def unweighted_measures(ranking: Ranking, max_fpr: float = MAX_FPR) -> Floats:
    """Return the measures of rows that all count once, (3,)."""
    return ranking_measures(ranking, np.ones(ranking.order.size, dtype=np.int64), max_fpr)


def average_precision(truth: NDArray[Any], logits: NDArray[Any]) -> float | None:
    """Return the step-wise area under the precision-recall curve; None without a positive.

    Sum over distinct values of (recall step) x precision, not the trapezoid, which is too high.
    """
    truth, logits, _, counts = checked(truth, logits, None)
    if counts.n_events in {0, counts.n}:
        return 1.0 if counts.n_events else None
    return float(unweighted_measures(make_ranking(truth, logits))[1])


def partial_auroc(truth: NDArray[Any], logits: NDArray[Any], *, max_fpr: float = MAX_FPR) -> float | None:
    """Return the partial AUROC up to a false positive rate, standardised by McClish; None where a class is absent."""
    truth, logits, _, counts = checked(truth, logits, None)
    if counts.n_events in {0, counts.n}:
        return None
    return float(unweighted_measures(make_ranking(truth, logits), max_fpr)[2])


def ranking_estimates(
    truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Return ``average_precision`` and ``partial_auroc`` (to 0.1) with the patient bootstrap's percentile interval."""
    truth, logits, units, counts = checked(truth, logits, patients)
    names = ("average_precision", "partial_auroc")
    if counts.n_events in {0, counts.n}:
        return dict.fromkeys(names, not_estimable(absent_class(counts), counts))
    ranking = make_ranking(truth, logits)
    values = unweighted_measures(ranking)[1:]
    if min(patients_per_class(truth, units)) < 2:
        alone = [estimated(value, None, "none", counts, too_few(units)) for value in values]
        return dict(zip(names, alone, strict=True))
    ordered = replace(units, codes=units.codes[ranking.order])  # once here, not in every replicate
    draws = bootstrap(lambda weights: ranking_measures(ranking, weights), ordered, replicates=replicates, seed=seed)
    return {name: percentile_estimate(values[i], draws[:, i + 1], counts) for i, name in enumerate(names)}


def roc_curve(truth: NDArray[Any], logits: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Return false positive rate, sensitivity and threshold, from (0, 0, infinity) to (1, 1, lowest).

    Raises:
        DataError: A class is absent.
    """
    true, false, thresholds = _cumulative(truth, logits)
    if 0 in {true[-1], false[-1]}:
        raise DataError("no ROC curve: a class is absent", hint="evaluate on images of both classes")
    fpr, tpr = (np.append([0.0], each / each[-1]) for each in (false, true))
    return fpr, tpr, np.append([np.inf], thresholds)


def pr_curve(truth: NDArray[Any], logits: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Return recall, precision and threshold at each distinct value, highest first.

    Raises:
        DataError: There is no positive.
    """
    true, false, thresholds = _cumulative(truth, logits)
    if true[-1] == 0:
        raise DataError("no precision-recall curve: no image is positive", hint="evaluate on positive images too")
    return true / true[-1], true / (true + false), thresholds


def _cumulative(truth: NDArray[Any], logits: NDArray[Any]) -> tuple[Integers, Integers, Floats]:
    """Return true and false positives at each distinct value, highest first, and the values."""
    truth, logits, *_ = checked(truth, logits, None)
    order = np.argsort(-logits, kind="stable")
    ends = np.flatnonzero(np.diff(logits[order], append=np.nan))
    true = np.cumsum(truth[order])[ends]
    return true, ends + 1 - true, logits[order][ends]
