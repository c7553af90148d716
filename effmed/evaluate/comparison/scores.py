"""Paired differences of what is a mean over images: Brier score, log loss, net benefit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate.comparison.contrast import SAME, Contrast, drawn
from effmed.evaluate.decisions.net_benefit import odds
from effmed.evaluate.intervals import (
    Counts,
    bootstrap_totals,
    make_units,
    not_estimable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.evaluate.comparison.pairing import Pair
    from effmed.evaluate.intervals import Estimate, Floats
    from effmed.recipe import ReportSettings

FEW_CHANGES = 10  # images: a bootstrap of fewer that count redraws the same handful (a rule of thumb)


@dataclass(frozen=True)
class Terms:
    """What each image adds to a measure that is a mean.

    Attributes:
        name: Of the measure.
        number: Of the class against the rest; None for all classes.
        first: By the first network, (n,).
        second: By the second, (n,).
        threshold: Of a net benefit.
    """

    name: str
    number: int | None
    first: Floats
    second: Floats
    threshold: float | None = None


def score_differences(pair: Pair, settings: ReportSettings) -> list[Contrast]:
    """Return the differences of Brier score, log loss and net benefit with the patient bootstrap.

    One draw of patients weighs both networks and all measures; a mean is the total of its terms over the number of
    images drawn.
    """
    measures = list(_measures(pair, settings))
    units = make_units(pair.patients, pair.truth.size)
    steps = [each.first - each.second if _is_finite(each) else np.zeros(pair.truth.size) for each in measures]
    columns = np.column_stack([*steps, np.ones(pair.truth.size)])
    totals = bootstrap_totals(columns, units, replicates=settings.bootstrap_replicates, seed=settings.seed)
    draws = totals[:, :-1] / totals[:, -1:]
    return [_contrast(each, draws[:, column], pair) for column, each in enumerate(measures)]


def _measures(pair: Pair, settings: ReportSettings) -> Iterator[Terms]:
    rows = np.arange(pair.truth.size)
    one, other = (each.probability for each in pair.both)
    if not pair.is_binary:
        table = np.eye(len(pair.classes))[pair.truth]
        yield Terms("brier", None, ((one - table) ** 2).sum(axis=1), ((other - table) ** 2).sum(axis=1))
    for number in pair.judged:
        happened = pair.truth == number
        yield Terms("brier", number, (one[:, number] - happened) ** 2, (other[:, number] - happened) ** 2)
    with np.errstate(divide="ignore"):
        losses = -np.log(one[rows, pair.truth]), -np.log(other[rows, pair.truth])
    yield Terms("log_loss", 1 if pair.is_binary else None, *losses)
    for threshold in settings.net_benefit_at:
        for number in pair.judged:
            worth = np.where(pair.truth == number, 1.0, -odds(threshold))
            gained = worth * (one[:, number] >= threshold), worth * (other[:, number] >= threshold)
            yield Terms("net_benefit", number, *gained, threshold)


def _is_finite(terms: Terms) -> bool:
    return bool(np.isfinite(terms.first).all() and np.isfinite(terms.second).all())


def _contrast(terms: Terms, draws: Floats, pair: Pair) -> Contrast:
    n, number = pair.truth.size, terms.number
    about = None if number is None else pair.classes[number]
    counts = Counts(n, n if number is None else int((pair.truth == number).sum()), _n_patients(pair))
    means = [float(each.mean()) if np.isfinite(each).all() else None for each in (terms.first, terms.second)]
    if means[0] is None or means[1] is None:
        estimate = not_estimable(_infinite(terms, pair), counts)
    else:
        step = terms.first - terms.second
        estimate = drawn(float(step.mean()), draws, counts, SAME if pair.is_same else "")
        estimate = _with_note(estimate, int(np.count_nonzero(step)))
    return Contrast(terms.name, about, (means[0], means[1]), estimate, threshold=terms.threshold)


def _with_note(estimate: Estimate, n_changed: int) -> Estimate:
    """Say where only a handful of images makes the difference."""
    if estimate.reason or not 0 < n_changed < FEW_CHANGES:
        return estimate
    return replace(estimate, reason=f"rests on only {n_changed} of {estimate.n:,} images: the interval is rough")


def _infinite(terms: Terms, pair: Pair) -> str:
    n = [int(np.isinf(each).sum()) for each in (terms.first, terms.second)]
    texts = [f"{count} images by {judged.name}" for count, judged in zip(n, pair.both, strict=True) if count]
    return f"infinite: probability 0 for the class of {' and '.join(texts)}"


def _n_patients(pair: Pair) -> int | None:
    return None if pair.patients is None else len(set(pair.patients))
