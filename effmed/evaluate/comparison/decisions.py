"""Paired differences of decisions: sensitivity, specificity, accuracy; McNemar's test, or the variance by patient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate.comparison.contrast import Contrast, wald
from effmed.evaluate.decisions import mcnemar
from effmed.evaluate.intervals import Counts, Z, estimated, make_units, not_estimable, variance_of_total
from effmed.evaluate.predictions import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.evaluate.comparison.pairing import Pair
    from effmed.evaluate.decisions import McNemar
    from effmed.evaluate.intervals import Estimate, Integers, Interval, Units


def decision_differences(pair: Pair) -> list[Contrast]:
    """Return the differences of the share of right decisions: of two classes also within each of them.

    The decisions of two classes are the tables' own, each at its own operating point; of more classes the most
    probable one is called.
    """
    everything = np.ones(pair.truth.size, dtype=bool)
    chosen: list[tuple[str, str | None, NDArray[np.bool_]]] = [("accuracy", None, everything)]
    if pair.is_binary:
        positive = pair.truth == 1
        about = pair.classes[1]
        chosen = [("sensitivity", about, positive), ("specificity", about, ~positive), *chosen]
    return [_rate(pair, name, about, mask) for name, about, mask in chosen]


def _rate(pair: Pair, name: str, about: str | None, mask: NDArray[np.bool_]) -> Contrast:
    """Compare the shares of right decisions among the images of a mask."""
    truth, called = pair.truth[mask], [judged.called[mask] for judged in pair.both]
    units = make_units(None if pair.patients is None else pair.patients[mask], truth.size)
    missing = _undecided(pair) or ("" if truth.size else "there is no such image")
    if missing:
        return Contrast(name, about, (None, None), not_estimable(missing, Counts(truth.size, 0, units.n_patients)))
    test = mcnemar(truth, called[0], called[1])
    counts = Counts(truth.size, test.first_only + test.second_only, units.n_patients)
    values = float((called[0] == truth).mean()), float((called[1] == truth).mean())
    estimate, p_value = _by_patient(truth, called, units, counts) if units.clustered else _by_image(test, counts)
    return Contrast(name, about, values, estimate, p_value, only=(test.first_only, test.second_only))


def _undecided(pair: Pair) -> str:
    """Say in which table decisions are missing, or return the empty text."""
    n = [int((judged.called == UNKNOWN).sum()) for judged in pair.both]
    texts = [
        f"{count:,} of {pair.truth.size:,} in {each.name}" for count, each in zip(n, pair.both, strict=True) if count
    ]
    return f"images without a decision (no operating point): {', '.join(texts)}" if texts else ""


def _by_image(test: McNemar, counts: Counts) -> tuple[Estimate, float | None]:
    difference = (test.first_only - test.second_only) / counts.n
    interval = bonett_price_interval(test.first_only, test.second_only, counts.n)
    return estimated(difference, interval, "exact McNemar test, interval of Bonett and Price", counts), test.p_value


def _by_patient(truth: Integers, called: list[Integers], units: Units, counts: Counts) -> tuple[Estimate, float | None]:
    """Return the difference with the variance between patients, and Student's t test.

    McNemar's test takes images as independent, which those of one patient are not.
    """
    gain = (called[0] == truth).astype(np.float64) - (called[1] == truth)
    difference = float(gain.mean())
    if not gain.any():
        reason = "both decide alike, rightly or wrongly, on every image"
        interval = bonett_price_interval(0, 0, units.count)
        return estimated(0.0, interval, "interval of Bonett and Price on patients", counts, reason), 1.0
    if units.count < 2:
        return estimated(difference, None, "none", counts, "all images are of one patient: no interval"), None
    df = units.count - 1
    method = f"difference of proportions, variance by patient, t({df})"
    return wald(difference, variance_of_total((gain - difference) / gain.size, units), method, counts, df)


def bonett_price_interval(first_only: int, second_only: int, n: int) -> Interval:
    """Return the interval of a difference of paired proportions, (first_only - second_only) / n.

    Args:
        first_only: Images that only the first decides rightly.
        second_only: Images that only the second decides rightly.
        n: All images, at least 1.

    Source:
        Bonett and Price, Journal of Educational and Behavioral Statistics 2012, 37:479: Wald's with 1 added to both
        counts and 2 to n.
    """
    one, other = (first_only + 1) / (n + 2), (second_only + 1) / (n + 2)
    half = Z * math.sqrt((one + other - (one - other) ** 2) / (n + 2))
    return max(-1.0, one - other - half), min(1.0, one - other + half)
