"""Subgroups beside each other: each measure in each group, and its difference from everybody else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr

from effmed.evaluate.calibration import citl, slope
from effmed.evaluate.decisions import sensitivity, specificity
from effmed.evaluate.discrimination import auroc
from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Floats,
    Interval,
    check_length,
    estimated,
    not_estimable,
    t_quantile,
)
from effmed.evaluate.subgroups.measures import (
    Judged,
    Part,
    Spread,
    auroc_part,
    citl_part,
    correlation,
    sensitivity_part,
    slope_part,
    specificity_part,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from effmed.evaluate.subgroups.groups import Groups

MIN_EVENTS = 10  # in a group; below it no number is worth reading, and persons may be recognised
MIN_PATIENTS = 10  # the same; images where patients are not known
PARTS: Mapping[str, Callable[[Judged], Part]] = {
    "auroc": auroc_part,
    "citl": citl_part,
    "slope": slope_part,
    "sensitivity": sensitivity_part,
    "specificity": specificity_part,
}
RATES = ("sensitivity", "specificity")
FARTHEST = 2.0**30  # quantile; even Student's t with 1 degree of freedom then has p < 1e-9
ROOT_TOLERANCE = 1e-12  # of a quantile


@dataclass(frozen=True)
class GroupDifference:
    """A group minus all other images of the column whose value is known.

    Attributes:
        estimate: With an interval (``difference_limits``); ``suppressed`` where the others are too few.
        se: Standard error by the variances alone: value / se is DeLong's z for the AUROC; None where there is none.
        df: Degrees of freedom (Welch and Satterthwaite); infinite for the normal distribution; None without ``se``.
        p_value: Two-sided, of no difference, below 0.05 where the interval leaves out 0; None where
            ``estimate.reason`` tells why.
        p_adjusted: By Holm's method over all differences of the same measure; None without ``p_value``.
    """

    estimate: Estimate
    se: float | None = None
    df: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class SubgroupEstimate:
    """One measure in one group.

    Attributes:
        column: Such as ``sex``.
        value: Name of the group.
        name: Of the measure, as in the report.
        counts: Images, events and patients of the group; known where the estimate is suppressed, too.
        estimate: What a report on the group alone says.
        difference: From all others; None where the estimate is suppressed.
    """

    column: str
    value: str
    name: str
    counts: Counts
    estimate: Estimate
    difference: GroupDifference | None


def subgroup_estimates(judged: Judged, columns: Mapping[str, Groups]) -> tuple[SubgroupEstimate, ...]:
    """Return every measure of every group: AUROC, CITL, slope, and with a threshold sensitivity and specificity.

    Groups with fewer than 10 events or 10 patients (images, where patients are not known) are suppressed.

    A difference is the group minus all other images of the column whose value is known, suppressed groups among
    them. Interval and p-value are recovered from the intervals of the two (``difference_limits``). Where patients are
    in both, as with views, the two are correlated as their influences are, summed by patient. Student's t has Welch
    and Satterthwaite's degrees of freedom, at most patients - 1 where patients have several images.

    Simulated without any difference (43 settings of up to 600 seeded data sets; 20 to 200 patients in the smaller
    group, with one or several images, in one or both groups; logits right or too extreme), p was below 0.05 in 3.1 %
    on average for the AUROC, 0.0 to 7.2 % in a setting; 4.4 % (1.4 to 7.3 %) for CITL, 5.2 % (2.7 to 8.8 %) for the
    slope, 3.9 % (0.0 to 6.8 %) for sensitivity and specificity. Least often where few images are ranked or called
    wrongly, most often where a patient's images are alike. Plain Wald's test of the AUROC reached 10.7 %.

    The p-values of one measure are adjusted over all columns by Holm's method. A column of two groups makes one
    comparison, told from both sides.

    Raises:
        DataError: A column has another number of rows than ``judged``.
    """
    found: list[SubgroupEstimate] = []
    for column, groups in columns.items():
        check_length(groups.codes, judged.truth.size, f"values of {column}")
        found += _column_estimates(judged, column, groups)
    return _adjusted(found, columns)


def _column_estimates(judged: Judged, column: str, groups: Groups) -> list[SubgroupEstimate]:
    known = judged.take(groups.codes >= 0)
    codes = groups.codes[groups.codes >= 0]
    names = [name for name in PARTS if name not in RATES or judged.called is not None]
    found: list[SubgroupEstimate] = []
    for number, value in enumerate(groups.names):
        group = known.take(codes == number)
        too_few = why_suppressed(group.counts)
        if too_few:
            counts = group.counts
            nothing = Estimate(None, None, None, "none", *_as_tuple(counts), "suppressed", too_few)
            found += [SubgroupEstimate(column, value, name, counts, nothing, None) for name in names]
            continue
        others = known.take(codes != number)
        both = _union(group, others)
        for name in names:
            difference = _difference(name, group, others, both)
            found.append(SubgroupEstimate(column, value, name, group.counts, _estimate(name, group), difference))
    return found


def why_suppressed(counts: Counts) -> str:
    """Say why a group is too small to be shown, or return the empty text."""
    if counts.n_events < MIN_EVENTS:
        return f"fewer than {MIN_EVENTS} events"
    if counts.n_patients is not None and counts.n_patients < MIN_PATIENTS:
        return f"fewer than {MIN_PATIENTS} patients"
    return ""


def _as_tuple(counts: Counts) -> tuple[int, int, int | None]:
    return counts.n, counts.n_events, counts.n_patients


def _estimate(name: str, group: Judged) -> Estimate:
    """Return what the report of this group alone says."""
    if name == "auroc":
        return auroc(group.truth, group.ranks.astype(np.float64), group.patients)
    if name in RATES:
        called = group.called if group.called is not None else np.zeros(0, dtype=bool)
        return (sensitivity if name == "sensitivity" else specificity)(group.truth, called, group.patients)
    return (citl if name == "citl" else slope)(group.truth, group.logits, group.patients)


def _difference(name: str, group: Judged, others: Judged, counts: Counts) -> GroupDifference:
    too_few = why_suppressed(others.counts)
    if too_few:
        reason = f"the other images have {too_few}"
        return GroupDifference(Estimate(None, None, None, "none", *_as_tuple(counts), "suppressed", reason))
    one, other = PARTS[name](group), PARTS[name](others)
    if one.value is None or other.value is None:
        reason = one.reason if one.value is None else f"of the other images: {other.reason}"
        return GroupDifference(not_estimable(reason, counts))
    value = one.value - other.value
    if one.spread is None or other.spread is None:
        reason = one.reason if one.spread is None else f"of the other images: {other.reason}"
        return GroupDifference(estimated(value, None, "none", counts, reason))
    return _tested(one.spread, other.spread, counts)


def _union(group: Judged, others: Judged) -> Counts:
    n_patients = None
    if group.patients is not None and others.patients is not None:
        n_patients = int(np.count_nonzero(np.bincount(np.append(group.patients, others.patients))))
    return Counts(group.truth.size + others.truth.size, int(group.truth.sum() + others.truth.sum()), n_patients)


def _tested(one: Spread, other: Spread, counts: Counts) -> GroupDifference:
    value, shared, apart = one.value - other.value, correlation(one, other), one.variance + other.variance
    variance = apart - 2 * shared * math.sqrt(one.variance * other.variance)
    if shared != 0 and variance <= np.finfo(np.float64).eps * apart:
        return GroupDifference(estimated(value, None, "none", counts, "the variance of the difference is 0"))
    narrowing = math.sqrt(variance / apart) if shared != 0 else 1.0
    se, df = math.sqrt(variance), _degrees_of_freedom(one, other, counts)
    method = f"group minus others, MOVER, {'normal' if math.isinf(df) else f't({df:.1f})'}"
    method += f", correlation by patient {shared:.2f}" if shared != 0 else ""
    estimate = estimated(value, difference_limits(one, other, t_quantile(df), narrowing), method, counts)
    return GroupDifference(estimate, se, df, 2 * float(stdtr(df, -quantile_at_0(one, other, narrowing))))


def difference_limits(one: Spread, other: Spread, quantile: float, narrowing: float = 1.0) -> Interval:
    """Return the interval of a difference from those of its two parts: the method of variance estimates recovery.

    Where both are symmetrical this is Wald's interval, for proportions Newcombe's method 10. Of correlated parts it
    is narrower by the same factor as Wald's; in the method's own way opposite limits do not cancel, and a difference
    between alike views of the same patients is hardly ever found (simulated: p < 0.05 in 0.1 % without any).

    Args:
        one: First part.
        other: What is taken from it.
        quantile: Of the normal or of Student's t.
        narrowing: Standard error of the difference / that of independent parts.

    Source:
        Zou and Donner, Statistics in Medicine 2008, 27:1693; Newcombe, Statistics in Medicine 1998, 17:873.
    """
    (low, high), (other_low, other_high) = one.limits(quantile), other.limits(quantile)
    value = one.value - other.value
    below = narrowing * math.hypot(one.value - low, other_high - other.value)
    above = narrowing * math.hypot(high - one.value, other.value - other_low)
    return value - below, value + above


def quantile_at_0(one: Spread, other: Spread, narrowing: float = 1.0) -> float:
    """Return the quantile with which ``difference_limits`` just reaches 0: a p-value made of it agrees with them.

    Where no quantile does, since the two are tied together by their patients, Wald's: difference / ``se``.
    """
    value = one.value - other.value

    def short_of_0(quantile: float) -> float:
        low, high = difference_limits(one, other, quantile, narrowing)
        return low if value > 0 else -high

    if value == 0:
        return 0.0
    beyond = 1.0
    while short_of_0(beyond) > 0 and beyond < FARTHEST:
        beyond *= 2
    if beyond < FARTHEST:
        return float(brentq(short_of_0, 0.0, beyond, xtol=ROOT_TOLERANCE))
    return abs(value) / (narrowing * math.sqrt(one.variance + other.variance))


def _degrees_of_freedom(one: Spread, other: Spread, counts: Counts) -> float:
    """Return Welch and Satterthwaite's degrees of freedom, at most patients - 1 where patients have several images.

    The variances are those of the intervals, which a proportion of 0 or 1 has, too.
    """
    widths = [high - low for low, high in (one.limits(1.0), other.limits(1.0))]
    unknown = sum(width**4 / each.df for width, each in zip(widths, (one, other), strict=True))
    df = sum(width**2 for width in widths) ** 2 / unknown if unknown > 0 else math.inf
    if counts.n_patients is not None and counts.n_patients < counts.n:
        return min(df, counts.n_patients - 1)
    return df


def _adjusted(found: Sequence[SubgroupEstimate], columns: Mapping[str, Groups]) -> tuple[SubgroupEstimate, ...]:
    """Fill in the p-values adjusted by Holm's method over the comparisons of each measure."""
    p_values: dict[str, dict[tuple[str, str], float]] = {name: {} for name in PARTS}
    for each in found:
        if each.difference is not None and each.difference.p_value is not None:
            p_values[each.name][_comparison(each, columns)] = each.difference.p_value
    adjusted = {
        name: dict(zip(known, holm(np.array(list(known.values()))).tolist(), strict=True))
        for name, known in p_values.items()
    }
    return tuple(_with_adjusted(each, adjusted[each.name].get(_comparison(each, columns))) for each in found)


def _with_adjusted(each: SubgroupEstimate, p_adjusted: float | None) -> SubgroupEstimate:
    if each.difference is None or each.difference.p_value is None:
        return each
    return replace(each, difference=replace(each.difference, p_adjusted=p_adjusted))


def _comparison(each: SubgroupEstimate, columns: Mapping[str, Groups]) -> tuple[str, str]:
    """Name the comparison: two groups have one, both sides of which count once."""
    names = columns[each.column].names
    return each.column, names[0] if len(names) == 2 else each.value


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for their number: the chance of any false finding stays below the level.

    Args:
        p_values: (n,) 0 to 1.

    Source:
        Holm, Scandinavian Journal of Statistics 1979, 6:65.
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(p_values.size, 0, -1)
    adjusted = np.empty(p_values.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
