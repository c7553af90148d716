"""Measures by subgroup, how groups differ, and how much sites do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from effmed.errors import DataError
from effmed.evaluate.predictions import ATTRIBUTES
from effmed.evaluate.predictions.table import IDENTITY
from effmed.evaluate.report.evidence import Measured
from effmed.evaluate.subgroups import Groups, age_bands, heterogeneity, make_groups, make_judged, subgroup_estimates
from effmed.recipe import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.intervals import Integers
    from effmed.evaluate.report.evidence import Evidence
    from effmed.evaluate.subgroups import Heterogeneity, SubgroupEstimate

USUAL = ("sex", "age", "site", "scanner", "view")
MAX_VALUES = 20  # of a column that is looked at without being asked for; more would be a list, not subgroups


def subgroup_columns(evidence: Evidence) -> dict[str, Groups]:
    """Return the columns of subgroups: those that the recipe names, or the usual ones of two to twenty values.

    Raises:
        DataError: A column that the recipe names is not in the table, or names patients or images one by one.
    """
    frame, wanted = evidence.predictions.frame, evidence.settings.subgroups
    if wanted == "auto":
        found = {name: _groups(evidence, name) for name in USUAL if name in frame}
        return {name: groups for name, groups in found.items() if 1 < len(groups.names) <= MAX_VALUES}
    for name in wanted:
        if name in IDENTITY:
            problem = f"report.subgroups names {name!r}, which is no attribute that images share"
            raise DataError(problem, hint="a report names no patient: choose columns such as sex, site or scanner")
        if name not in frame:
            known = [each for each in frame.columns if each in ATTRIBUTES]
            raise DataError(f"report.subgroups names {name!r}, which the table lacks", hint=nearest(name, known))
    return {name: _groups(evidence, name) for name in wanted}


def _groups(evidence: Evidence, name: str) -> Groups:
    column = evidence.predictions.frame[name]
    if name == "age":
        return age_bands(column.to_numpy(object), evidence.settings.age_bands)
    return make_groups(column.to_numpy(object))


def among(columns: Mapping[str, Groups], rows: Integers) -> dict[str, Groups]:
    """Return the groups of some images only."""
    return {name: Groups(groups.codes[rows], groups.names) for name, groups in columns.items()}


def measure_groups(evidence: Evidence, columns: Mapping[str, Groups]) -> tuple[list[Measured], dict[str, pd.DataFrame]]:
    """Return the metrics of every subgroup, and the tables of differences and heterogeneity."""
    measured, differences, spreads = [], [], []
    for number in evidence.judged:
        one = evidence.against_rest(number, "calibrated")
        judged = make_judged(one.truth, one.ranking, one.logits, called=one.called, patients=one.patients)
        own = among(columns, one.rows)
        estimates = subgroup_estimates(judged, own)
        measured += [
            Measured(each.name, one.name, "calibrated", each.estimate, subgroup=(each.column, each.value))
            for each in estimates
        ]
        differences += [_difference_row(one.name, each) for each in estimates]
        spreads += [_spread_row(one.name, heterogeneity(judged, column, groups)) for column, groups in own.items()]
    frames = {"subgroups": pd.DataFrame(differences), "heterogeneity": pd.DataFrame(spreads)}
    return measured, {name: frame for name, frame in frames.items() if len(frame)}


def _difference_row(class_name: str, each: SubgroupEstimate) -> dict[str, object]:
    estimate, difference = each.estimate, each.difference
    gap = None if difference is None else difference.estimate
    return {
        "class": class_name,
        "column": each.column,
        "value": each.value,
        "images": each.counts.n,
        "events": each.counts.n_events,
        "patients": each.counts.n_patients,
        "metric": each.name,
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "difference": None if gap is None else gap.value,
        "difference_low": None if gap is None else gap.low,
        "difference_high": None if gap is None else gap.high,
        "p_holm": None if difference is None else difference.p_adjusted,
        "status": estimate.status,
        "reason": estimate.reason or ("" if gap is None else gap.reason),
    }


def _spread_row(class_name: str, found: Heterogeneity) -> dict[str, object]:
    effects, interval, prediction = found.effects, found.interval or (None, None), found.prediction or (None, None)
    return {
        "class": class_name,
        "column": found.column,
        "groups": len(found.used),
        "left_out": ", ".join(found.left_out),
        "lowest_auroc": None if found.lowest is None else found.lowest[1],
        "lowest": None if found.lowest is None else found.lowest[0],
        "highest_auroc": None if found.highest is None else found.highest[1],
        "highest": None if found.highest is None else found.highest[0],
        "q": None if effects is None else effects.q,
        "df": None if effects is None else effects.df,
        "p": None if effects is None else effects.p_value,
        "i_squared": None if effects is None else effects.i_squared,
        "pooled_auroc": found.pooled,
        "pooled_low": interval[0],
        "pooled_high": interval[1],
        "next_group_low": prediction[0],
        "next_group_high": prediction[1],
        "reason": found.reason,
    }
