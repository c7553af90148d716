"""Estimates with their uncertainty: checked inputs, Wilson, means by patient, patient bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri, stdtrit

from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Patients: TypeAlias = NDArray[Any] | None
Interval: TypeAlias = tuple[float, float]
Statistic: TypeAlias = "Callable[[Integers], Floats]"

UPPER_TAIL = 0.975  # every interval is a two-sided 95 % interval
PERCENTILES = (2.5, 97.5)  # the same, as NumPy's percentiles
Z = float(ndtri(UPPER_TAIL))
MAX_FAILED_FRACTION = 0.01  # of bootstrap replicates; beyond it the percentiles describe a selection
N_ROWS_SHOWN = 10
N_REPLICATES = 2000  # of a bootstrap: its limits then move by about 2 % of the width between seeds


@dataclass(frozen=True)
class Estimate:
    """One number with its 95 % interval, or the reason why there is none.

    Attributes:
        value: The estimate; None where it is not estimable. Never NaN or infinite.
        low: Lower limit of the interval; None where there is no interval.
        high: Upper limit of the interval; None where there is no interval.
        method: How the interval was made.
        n: Images that the value rests on.
        n_events: Images with the event among them.
        n_patients: Patients among them; None where images were treated as independent.
        status: ``not_estimable`` and ``suppressed`` have no value.
        reason: Why value or interval is missing, or what to beware of; empty where nothing is.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n: int
    n_events: int
    n_patients: int | None
    status: Literal["ok", "not_estimable", "suppressed"] = "ok"
    reason: str = ""

    def __post_init__(self) -> None:
        if not all(number is None or math.isfinite(number) for number in (self.value, self.low, self.high)):
            message = f"an estimate must be finite or absent: {self}"
            raise ValueError(message)


@dataclass(frozen=True)
class Counts:
    """What an estimate rests on: images, events among them, patients (None: images are independent)."""

    n: int
    n_events: int
    n_patients: int | None


@dataclass(frozen=True)
class Units:
    """Which rows vary together: the images of one patient, or every image alone.

    Attributes:
        codes: Number of the unit of each row, (n,), 0 to count - 1.
        count: Number of units.
        n_patients: The same, or None where no patients were given.
        clustered: Whether any unit has several rows.
    """

    codes: Integers
    count: int
    n_patients: int | None
    clustered: bool

    def sums(self, values: Floats) -> Floats:
        """Add up the values (n,) of each unit, (count,)."""
        return np.bincount(self.codes, weights=values, minlength=self.count).astype(np.float64)


def make_units(patients: Patients, n: int) -> Units:
    """Number the patients of n rows; without patients every row is a unit.

    Raises:
        DataError: Another number of patients than of rows, or rows without a patient.
    """
    if patients is None:
        return Units(np.arange(n), n, None, clustered=False)
    check_length(patients, n, "patients")
    codes, distinct = pd.factorize(np.asarray(patients))
    if (codes < 0).any():
        problem = f"no patient is given for {row_text(codes < 0)}"
        raise DataError(problem, hint="fill the patient column, or leave it out for independent images")
    return Units(codes.astype(np.int64), len(distinct), len(distinct), clustered=len(distinct) < n)


def check_truth(truth: NDArray[Any]) -> Integers:
    """Return the truth as int64 (n,).

    Raises:
        DataError: Anything but 0 and 1; the message names the rows.
    """
    wrong = np.asarray(~np.isin(truth, (0, 1)))
    if wrong.any():
        problem = f"truth is neither 0 nor 1 in {row_text(wrong)}: {np.asarray(truth)[wrong][0]!r}"
        raise DataError(problem, hint="code each class as 0 and 1, and leave unlabelled images out")
    return np.asarray(truth).astype(np.int64)


def check_numbers(values: NDArray[Any], n: int, name: str, *, infinite: bool = False) -> Floats:
    """Return logits or probabilities as float64.

    Args:
        values: (n,) or (n, class), floating point; integers are refused, since a decision is no probability.
        n: Number of rows expected.
        name: ``logits`` or ``probabilities``, for the message.
        infinite: Whether infinite values are meaningful: the logits of probabilities that are exactly 0 or 1.

    Raises:
        DataError: Integers, NaN, infinite values or another number of rows; the message names the rows.
    """
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        problem = f"{name} are {values.dtype}, not floating point: decisions instead of {name}?"
        raise DataError(problem, hint="pass logits or probabilities as the network gives them")
    check_length(values, n, name)
    wrong = np.isnan(values) if infinite else ~np.isfinite(values)
    if wrong.any():
        problem = f"{name} are not finite in {row_text(wrong)}"
        raise DataError(problem, hint="predict these images again or leave them out")
    return values.astype(np.float64)


def check_probability(values: NDArray[Any], n: int) -> Floats:
    """Return probabilities as float64.

    Raises:
        DataError: As ``check_numbers``, and for values outside 0 to 1.
    """
    probability = check_numbers(values, n, "probabilities")
    wrong = np.asarray((probability < 0) | (probability > 1))
    if wrong.any():
        problem = f"probabilities lie outside 0 to 1 in {row_text(wrong)}"
        raise DataError(
            problem, hint="pass probabilities, not logits; a mere score is named by --set columns.score=COLUMN"
        )
    return probability


def checked(
    truth: NDArray[Any], logits: NDArray[Any], patients: Patients, *, infinite: bool = False
) -> tuple[Integers, Floats, Units, Counts]:
    """Return truth, logits, units and counts of images that can be evaluated.

    Raises:
        DataError: As ``check_truth``, ``check_numbers`` and ``make_units``.
    """
    zero_one = check_truth(truth)
    values = check_numbers(logits, zero_one.size, "logits", infinite=infinite)
    units = make_units(patients, zero_one.size)
    return zero_one, values, units, Counts(zero_one.size, int(zero_one.sum()), units.n_patients)


def checked_probability(
    truth: NDArray[Any], probability: NDArray[Any], patients: Patients
) -> tuple[Integers, Floats, Units, Counts]:
    """Return the same with probabilities, 0 to 1, in the place of logits."""
    zero_one = check_truth(truth)
    values = check_probability(probability, zero_one.size)
    units = make_units(patients, zero_one.size)
    return zero_one, values, units, Counts(zero_one.size, int(zero_one.sum()), units.n_patients)


def absent_class(counts: Counts) -> str:
    """Say which class has no image, or return the empty text."""
    if counts.n_events == 0:
        return "there is no positive image"
    return "there is no negative image" if counts.n_events == counts.n else ""


def check_length(values: NDArray[Any], n: int, name: str) -> None:
    """Raise ``DataError`` where there are not n values."""
    if len(values) != n:
        problem = f"there are {len(values)} {name} for {n} images"
        raise DataError(problem, hint="take all columns from the same table")


def row_text(wrong: NDArray[np.bool_]) -> str:
    """Name the rows of (n,) or (n, k) that hold a wrong value, the first ten at most, counted from 0."""
    rows = np.flatnonzero(np.atleast_2d(wrong.T).any(axis=0))
    shown = ", ".join(str(row) for row in rows[:N_ROWS_SHOWN])
    more = f" ... ({rows.size} in all)" if rows.size > N_ROWS_SHOWN else ""
    return f"row{'s' if rows.size > 1 else ''} {shown}{more}"


def estimated(value: float, interval: Interval | None, method: str, counts: Counts, reason: str = "") -> Estimate:
    """Make an estimate that has a value; ``interval`` None says that ``reason`` tells why there is none."""
    low, high = interval or (None, None)
    return Estimate(float(value), low, high, method, counts.n, counts.n_events, counts.n_patients, "ok", reason)


def not_estimable(reason: str, counts: Counts) -> Estimate:
    """Make an estimate that has no value, with the reason."""
    return Estimate(None, None, None, "none", counts.n, counts.n_events, counts.n_patients, "not_estimable", reason)


def t_quantile(df: float) -> float:
    """Return the 97.5 % quantile of Student's t with ``df`` degrees of freedom."""
    return float(stdtrit(df, UPPER_TAIL))


def wilson_interval(fraction: float, n: float, quantile: float = Z) -> Interval:
    """Return Wilson's interval of a proportion.

    Args:
        fraction: The proportion, 0 to 1.
        n: Its denominator; need not be whole (effective number).
        quantile: Of the normal, or of Student's t where n is an effective number.
    """
    centre = fraction + quantile**2 / (2 * n)
    half = quantile * math.sqrt(fraction * (1 - fraction) / n + (quantile / (2 * n)) ** 2)
    denominator = 1 + quantile**2 / n
    return max(0.0, (centre - half) / denominator), min(1.0, (centre + half) / denominator)


def clopper_pearson_interval(successes: int, n: int) -> Interval:
    """Return the exact interval of a binomial proportion."""
    low = float(betaincinv(successes, n - successes + 1, 1 - UPPER_TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, UPPER_TAIL)) if successes < n else 1.0
    return low, high


def proportion(successes: NDArray[np.bool_], mask: NDArray[np.bool_], patients: Patients = None) -> Estimate:
    """Return the share of successes among the rows of a mask.

    Wilson's interval where images are independent; where a patient of the mask has several of them, Wilson's
    with the effective number of images and the t quantile of the patients.

    Args:
        successes: (n,) bool.
        mask: (n,) bool, the denominator: the truly positive for a sensitivity.
        patients: (n,) patient of each image, or None.
    """
    chosen = np.asarray(mask, dtype=bool)
    hits = np.asarray(successes, dtype=bool)[chosen]
    units = make_units(None if patients is None else np.asarray(patients)[chosen], hits.size)
    counts = Counts(hits.size, int(hits.sum()), units.n_patients)
    if hits.size == 0:
        return not_estimable("the denominator is empty", counts)
    value = counts.n_events / counts.n
    if not units.clustered:
        return estimated(value, wilson_interval(value, counts.n), "Wilson", counts)
    if units.count < 2:
        return estimated(value, None, "none", counts, "all images are of one patient: no interval")
    n_effective = effective_number(hits, units)
    interval = wilson_interval(value, n_effective, t_quantile(units.count - 1))
    return estimated(value, interval, f"Wilson, effective n {n_effective:.1f}, t({units.count - 1})", counts)


def effective_number(successes: NDArray[np.bool_], units: Units) -> float:
    """Return how many independent images would be as informative.

    The number of patients where all images agree; at most that where a single patient has the rarer outcome, whose
    variance says too little then (benchmarks/coverage.py).
    """
    value = float(successes.mean())
    variance = variance_of_total((successes - value) / successes.size, units)
    if variance <= 0:
        return float(units.count)
    alone = min(patients_per_class(successes.astype(np.int64), units)) == 1
    return min(units.count if alone else successes.size, value * (1 - value) / variance)


def variance_of_total(influence: Floats, units: Units) -> float:
    """Return the variance of a sum of influences (n,) that add up to 0, by patient: G/(G-1) sum (total)^2."""
    return float((units.sums(influence) ** 2).sum() * units.count / (units.count - 1))


def patients_per_class(truth: Integers, units: Units) -> tuple[int, int]:
    """Return how many units have a positive, and how many have a negative image."""
    with_positive, with_negative = (np.bincount(units.codes[truth == value]) for value in (1, 0))
    return int(np.count_nonzero(with_positive)), int(np.count_nonzero(with_negative))


def rarer_df(truth: Integers, units: Units) -> int:
    """Return the degrees of freedom of what depends on events: units of the rarer kind less one.

    With all units instead, intervals with few events hold the truth in 75 to 90 % (benchmarks/coverage.py). Where one
    kind is absent there are only the others.
    """
    return (min(patients_per_class(truth, units)) or units.count) - 1


def mean_estimate(terms: Floats, counts: Counts, units: Units, df: int | None = None) -> Estimate:
    """Return the mean of per-image terms (n,) with its standard error by patient and the t quantile.

    Args:
        terms: (n,).
        counts: What the mean rests on.
        units: Patients, or rows where images are independent.
        df: Degrees of freedom; None for the number of units less one.
    """
    value, df = float(terms.mean()), units.count - 1 if df is None else df
    if df < 1:
        who = "patient" if units.clustered else "image"
        why = f"one {who}: no interval" if units.count < 2 else f"a class has only one {who}: no interval"
        return estimated(value, None, "none", counts, why)
    half = t_quantile(df) * math.sqrt(variance_of_total((terms - value) / terms.size, units))
    kind = "by patient" if units.clustered else "by image"
    return estimated(value, (value - half, value + half), f"mean {kind}, t({df})", counts)


def bootstrap(statistic: Statistic, units: Units, *, replicates: int, seed: int) -> Floats:
    """Draw patients with replacement and evaluate a weighted statistic each time.

    Every replicate has its own child of the seed, so the result does not depend on order or threads.

    Args:
        statistic: Takes the weight of each row, (n,) whole numbers, and returns (k,) values, NaN where undefined.
        units: Patients, or rows where images are independent.
        replicates: How many draws.
        seed: Of the draws.

    Returns:
        Values, (replicates, k).
    """
    draws = []
    for child in np.random.SeedSequence(seed).spawn(replicates):
        drawn = np.random.default_rng(child).integers(0, units.count, units.count)
        draws.append(statistic(np.bincount(drawn, minlength=units.count)[units.codes]))
    return np.asarray(draws, dtype=np.float64)


def bootstrap_totals(terms: Floats, units: Units, *, replicates: int, seed: int) -> Floats:
    """Bootstrap the totals of per-row terms (n, k): the same draws as ``bootstrap``, but only patients are visited."""
    totals = np.array([units.sums(column) for column in terms.T])  # a row per term: several times faster to add up
    alone = Units(np.arange(units.count), units.count, units.n_patients, clustered=False)

    def add_up(weights: Integers) -> Floats:
        return np.asarray(np.einsum("g,kg->k", weights.astype(np.float64), totals))

    return bootstrap(add_up, alone, replicates=replicates, seed=seed)


def percentile_estimate(value: float, draws: Floats, counts: Counts) -> Estimate:
    """Return a value with the percentile interval of its bootstrap draws (replicates,).

    An interval without width only says that the bootstrap cannot tell, as where a ranking is perfect: then there is
    none.
    """
    failed = int((~np.isfinite(draws)).sum())
    drawn = "images" if counts.n_patients is None else "patients"
    method = f"bootstrap of {drawn}, percentile, {draws.size} replicates"
    if failed > MAX_FAILED_FRACTION * draws.size:
        reason = f"the statistic is undefined in {failed} of {draws.size} bootstrap replicates: no interval"
        return estimated(value, None, method, counts, reason)
    low, high = np.percentile(draws[np.isfinite(draws)], PERCENTILES)
    if low == high:
        return estimated(value, None, method, counts, "the value is the same in all bootstrap replicates: no interval")
    return estimated(
        value, (float(low), float(high)), method, counts, f"{failed} replicates left out" if failed else ""
    )
