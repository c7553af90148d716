"""Operating points: a threshold, the rule and the data that chose it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from effmed.errors import DataError
from effmed.evaluate.decisions.net_benefit import odds
from effmed.evaluate.intervals import Floats, Integers, absent_class, checked_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.recipe import DecisionSettings


STATED = "threshold = "  # begins the rule of a threshold that was not chosen


class OperatingPoint(BaseModel):
    """A threshold with the rule and the data that chose it; the decision is positive at or above it.

    Attributes:
        class_name: Class whose probability is compared.
        threshold: Of the calibrated probability.
        rule: For people, such as ``sensitivity >= 0.9``.
        chosen_on: Name of the split; empty where the threshold was stated.
        n: Images of that split; 0 where the threshold was stated.
        n_events: Images of the class among them.
        exploratory: Whether the rule optimises on the data (Youden), so that its rates there are too good.
        digest: SHA-256 of the truths and probabilities that chose it, independent of their order.
        sensitivity: On the data that chose it; None without positives.
        specificity: On the data that chose it; None without negatives.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_name: str
    threshold: float
    rule: str
    chosen_on: str
    n: int
    n_events: int
    exploratory: bool
    digest: str
    sensitivity: float | None
    specificity: float | None

    @property
    def is_stated(self) -> bool:
        """Whether somebody stated the threshold, so that no data chose it, wherever its rates were counted."""
        return self.rule.startswith(STATED)


def choose_operating_point(
    truth: NDArray[Any],
    probability: NDArray[Any],
    settings: DecisionSettings,
    *,
    class_name: str,
    chosen_on: str = "val",
) -> OperatingPoint:
    """Choose the threshold by the rule of the settings.

    ``sensitivity``: the highest threshold that reaches it; ``specificity``: the lowest; ``youden``: the largest
    sum of both; ``net-benefit``: the largest net benefit at that threshold probability; ``threshold``: as given.
    A chosen threshold lies midway between two probabilities that occur, so that rounding flips no decision.

    Raises:
        DataError: The rule needs images of a class that has none.
    """
    truth, probability, _, counts = checked_probability(truth, probability, None)
    if settings.rule != "threshold" and absent_class(counts):
        problem = f"no operating point for class {class_name!r} on {chosen_on}: {absent_class(counts)}"
        raise DataError(problem, hint="use a larger split, or --set decision.rule=threshold with decision.value")
    threshold = settings.value
    if settings.rule != "threshold":
        threshold = _chosen_threshold(_thresholds(truth, probability), settings)
    called = probability >= threshold
    n_negative = counts.n - counts.n_events
    return OperatingPoint(
        class_name=class_name,
        threshold=threshold,
        rule=_rule_text(settings),
        chosen_on=chosen_on,
        n=counts.n,
        n_events=counts.n_events,
        exploratory=settings.rule == "youden",
        digest=_digest(truth, probability),
        sensitivity=int(called[truth == 1].sum()) / counts.n_events if counts.n_events else None,
        specificity=int((~called)[truth == 0].sum()) / n_negative if n_negative else None,
    )


def state_operating_point(class_name: str, threshold: float) -> OperatingPoint:
    """Return a threshold that somebody states, and no data chose: ``n`` is 0."""
    return OperatingPoint(
        class_name=class_name,
        threshold=threshold,
        rule=f"{STATED}{threshold:g}",
        chosen_on="",
        n=0,
        n_events=0,
        exploratory=False,
        digest="",
        sensitivity=None,
        specificity=None,
    )


@dataclass(frozen=True)
class _Thresholds:
    """Every threshold that decides differently, highest first, with its true and false positives, all (t,)."""

    values: Floats
    true: Integers
    false: Integers

    @property
    def sensitivity(self) -> Floats:
        return np.asarray(self.true / self.true[-1])

    @property
    def specificity(self) -> Floats:
        return np.asarray((self.false[-1] - self.false) / self.false[-1])  # exact where it is a short decimal


def _thresholds(truth: Integers, probability: Floats) -> _Thresholds:
    distinct, group = np.unique(-probability, return_inverse=True)
    n_positive = np.bincount(group, weights=truth, minlength=distinct.size)
    n_negative = np.bincount(group, weights=1 - truth, minlength=distinct.size)
    values = -distinct
    below = np.append(values[1:], [0.0])
    middle = (values + below) / 2
    lowest = np.where(middle > below, middle, values)  # neighbours in float64 have no middle
    above_all = np.nextafter(values[0], np.inf)
    counts = (np.append([0], np.cumsum(each)).astype(np.int64) for each in (n_positive, n_negative))
    return _Thresholds(np.append([above_all], lowest), *counts)


def _chosen_threshold(options: _Thresholds, settings: DecisionSettings) -> float:
    if settings.rule == "sensitivity":
        chosen = int(np.argmax(options.sensitivity >= settings.value))
    elif settings.rule == "specificity":
        chosen = int(np.flatnonzero(options.specificity >= settings.value)[-1])
    elif settings.rule == "youden":
        chosen = int(np.argmax(options.sensitivity + options.specificity))
    else:
        chosen = int(np.argmax(options.true - options.false * odds(settings.value)))
    return float(options.values[chosen])


def _rule_text(settings: DecisionSettings) -> str:
    texts = {
        "threshold": f"{STATED}{settings.value:g}",
        "sensitivity": f"sensitivity >= {settings.value:g}",
        "specificity": f"specificity >= {settings.value:g}",
        "youden": "largest sensitivity + specificity (Youden)",
        "net-benefit": f"largest net benefit at {settings.value:g}",
    }
    return texts[settings.rule]


def _digest(truth: Integers, probability: Floats) -> str:
    order = np.lexsort((probability, truth))
    return hashlib.sha256(truth[order].tobytes() + probability[order].tobytes()).hexdigest()
