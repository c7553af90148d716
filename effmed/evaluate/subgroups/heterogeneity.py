"""How much an AUROC varies between sites, scanners, or other groups, and what to expect at the next one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, expit, logit

from effmed.evaluate.intervals import Floats, Interval, check_length, t_quantile
from effmed.evaluate.subgroups.compare import why_suppressed
from effmed.evaluate.subgroups.measures import Judged, auroc_part

if TYPE_CHECKING:
    from effmed.evaluate.subgroups.groups import Groups

MIN_FOR_PREDICTION = 3  # groups: the prediction interval has k - 2 degrees of freedom


@dataclass(frozen=True)
class RandomEffects:
    """A meta-analysis of k independent estimates; on their scale.

    Attributes:
        q: Cochran's Q.
        df: Its degrees of freedom, k - 1.
        p_value: Of no heterogeneity, by chi-squared; low power with few groups.
        i_squared: Share of the variation that is not by chance, 0 to 1.
        tau_squared: Variance between groups by DerSimonian and Laird; 0 where Q is at most its degrees of freedom.
        mean: Of the distribution of true values.
        se: Its standard error by DerSimonian and Laird.
        interval: Of the mean by Hartung and Knapp, t(k - 1), never narrower than with ``se``.
        prediction: Where the true value of another group is expected with 95 %, t(k - 2); None for k < 3.
    """

    q: float
    df: int
    p_value: float
    i_squared: float
    tau_squared: float
    mean: float
    se: float
    interval: Interval
    prediction: Interval | None


@dataclass(frozen=True)
class Heterogeneity:
    """How the AUROC of a column's groups varies.

    Attributes:
        column: Such as ``site``.
        used: Names of the groups with an AUROC and its variance.
        left_out: Why each other group is not used, by its name.
        lowest: Name and AUROC of the worst of the used groups; None without any.
        highest: Of the best.
        effects: On the scale of the logit of the AUROC; None where ``reason`` tells why.
        pooled: Mean AUROC over groups; None without ``effects``.
        interval: Of the mean.
        prediction: Where the AUROC of another group is expected; None for fewer than 3 groups.
        reason: Why there are no ``effects``; empty where there are.
    """

    column: str
    used: tuple[str, ...]
    left_out: dict[str, str]
    lowest: tuple[str, float] | None
    highest: tuple[str, float] | None
    effects: RandomEffects | None
    pooled: float | None
    interval: Interval | None
    prediction: Interval | None
    reason: str


def random_effects(values: Floats, variances: Floats) -> RandomEffects:
    """Combine independent estimates whose true values differ.

    Args:
        values: (k,) estimates, two or more.
        variances: (k,) of each, above 0.

    Source:
        Cochran, Biometrics 1954, 10:101; DerSimonian and Laird, Controlled Clinical Trials 1986, 7:177; Higgins and
        Thompson, Statistics in Medicine 2002, 21:1539 (I squared); Hartung and Knapp, Statistics in Medicine 2001,
        20:3875, not below DerSimonian and Laird's as Rover, Knapp and Friede, BMC Medical Research Methodology 2015,
        15:99 advise; Higgins, Thompson and Spiegelhalter, JRSS A 2009, 172:137 (prediction interval).
    """
    weights, df = 1 / variances, values.size - 1
    fixed = (weights * values).sum() / weights.sum()
    q = float((weights * (values - fixed) ** 2).sum())
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    tau_squared = max(0.0, float((q - df) / scale))
    weights = 1 / (variances + tau_squared)
    mean, se = float((weights * values).sum() / weights.sum()), float(1 / np.sqrt(weights.sum()))
    excess = float((weights * (values - mean) ** 2).sum() / df)
    half = t_quantile(df) * se * math.sqrt(max(1.0, excess))
    prediction = None
    if values.size >= MIN_FOR_PREDICTION:
        reach = t_quantile(df - 1) * math.sqrt(tau_squared + se**2)
        prediction = mean - reach, mean + reach
    i_squared = max(0.0, (q - df) / q) if q > 0 else 0.0
    p_value = float(chdtrc(df, q))
    return RandomEffects(q, df, p_value, i_squared, tau_squared, mean, se, (mean - half, mean + half), prediction)


def heterogeneity(judged: Judged, column: str, groups: Groups) -> Heterogeneity:
    """Combine the AUROCs of a column's groups on the logit scale, with variance V / (AUROC (1 - AUROC))^2.

    Left out are groups with fewer than 10 events or patients, and those whose AUROC or variance cannot be estimated.
    Where a patient is in several groups they are not independent: only the range is told.

    Raises:
        DataError: Another number of rows in ``groups`` than in ``judged``.
    """
    check_length(groups.codes, judged.truth.size, f"values of {column}")
    found: dict[str, tuple[float, float]] = {}
    left_out: dict[str, str] = {}
    for number, name in enumerate(groups.names):
        group = judged.take(groups.codes == number)
        part = auroc_part(group)
        why = why_suppressed(group.counts) or part.reason
        if why or part.spread is None:
            left_out[name] = why
        else:
            found[name] = part.spread.value, part.spread.variance
    reason = "fewer than 2 groups can be used" if len(found) < 2 else _why_dependent(judged, groups, tuple(found))
    return _summary(column, found, left_out, reason)


def _why_dependent(judged: Judged, groups: Groups, used: tuple[str, ...]) -> str:
    if judged.patients is None:
        return ""
    chosen = np.isin(groups.codes, [groups.names.index(name) for name in used])
    pairs = np.unique(judged.patients[chosen] * len(groups.names) + groups.codes[chosen])
    several = int((np.bincount(pairs // len(groups.names)) > 1).sum())
    return f"{several} patients are in several groups, which are not independent" if several else ""


def _summary(
    column: str, found: dict[str, tuple[float, float]], left_out: dict[str, str], reason: str
) -> Heterogeneity:
    ordered = sorted(((name, value) for name, (value, _) in found.items()), key=lambda each: each[1])
    lowest, highest = (ordered[0], ordered[-1]) if ordered else (None, None)
    if reason:
        return Heterogeneity(column, tuple(found), left_out, lowest, highest, None, None, None, None, reason)
    value, variance = np.array(list(found.values())).T
    effects = random_effects(logit(value), variance / (value * (1 - value)) ** 2)
    pooled = float(expit(effects.mean))
    interval, prediction = _as_auroc(effects.interval), effects.prediction and _as_auroc(effects.prediction)
    return Heterogeneity(column, tuple(found), left_out, lowest, highest, effects, pooled, interval, prediction, "")


def _as_auroc(interval: Interval) -> Interval:
    return float(expit(interval[0])), float(expit(interval[1]))
