"""Differences with their intervals and p-values, before they are written down."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erfc, stdtr

from effmed.evaluate.comparison.model import PairedDifference
from effmed.evaluate.intervals import Z, estimated, percentile_estimate, t_quantile

if TYPE_CHECKING:
    from effmed.evaluate.intervals import Counts, Estimate, Floats

SAME = "both give every image the same probabilities"
SAME_RANKS = "identical rankings"


@dataclass(frozen=True)
class Contrast:
    """A difference of two values on the same images.

    Attributes:
        name: Of the measure.
        about: The class, or None for all.
        values: Of the first and the second network.
        estimate: The difference, first minus second.
        p_value: Of no difference; None where no test was made.
        threshold: Of a net benefit.
        only: Of decisions: images that only the first, only the second decides rightly.
    """

    name: str
    about: str | None
    values: tuple[float | None, float | None]
    estimate: Estimate
    p_value: float | None = None
    threshold: float | None = None
    only: tuple[int | None, int | None] = (None, None)

    def written(self) -> PairedDifference:
        """Return it as part of a comparison."""
        estimate = self.estimate
        return PairedDifference(
            name=self.name,
            class_name=self.about,
            threshold=self.threshold,
            first=self.values[0],
            second=self.values[1],
            difference=estimate.value,
            low=estimate.low,
            high=estimate.high,
            p_value=self.p_value,
            first_only=self.only[0],
            second_only=self.only[1],
            method=estimate.method,
            unit="image" if estimate.n_patients is None else "patient",
            n=estimate.n,
            n_events=estimate.n_events,
            n_patients=estimate.n_patients,
            status="ok" if estimate.value is not None else "not_estimable",
            reason=estimate.reason,
        )


def wald(
    difference: float, variance: float, method: str, counts: Counts, df: float = math.inf
) -> tuple[Estimate, float | None]:
    """Return a difference with Wald's interval and its two-sided p-value.

    Args:
        difference: First minus second.
        variance: Of the difference.
        method: How the variance was made.
        counts: What the difference rests on.
        df: Degrees of freedom of Student's t; infinite for the normal.
    """
    if variance <= np.finfo(np.float64).eps:
        return estimated(difference, None, "none", counts, "the variance of the difference is 0: no interval"), None
    se = math.sqrt(variance)
    half = (Z if math.isinf(df) else t_quantile(df)) * se
    statistic = abs(difference) / se
    p_value = float(erfc(statistic / math.sqrt(2)) if math.isinf(df) else 2 * stdtr(df, -statistic))
    return estimated(difference, (difference - half, difference + half), method, counts), p_value


def drawn(difference: float, draws: Floats, counts: Counts, alike: str) -> Estimate:
    """Return a difference with the percentile interval of its bootstrap draws (replicates,).

    Args:
        difference: First minus second.
        draws: The same in every replicate.
        counts: What the difference rests on.
        alike: Why the difference is 0 whatever is drawn, or the empty text. Without such a reason there is no
            interval without width.
    """
    estimate = percentile_estimate(difference, draws, counts)
    return replace(estimate, low=difference, high=difference, reason=alike) if alike else estimate
