"""The table of subgroups, by class and group: what the forest plots and the page's tables show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from effmed.evaluate.render.parts.rows import Cell
from effmed.evaluate.render.parts.tables import Grid, interval_cell, records, unbroken
from effmed.evaluate.render.text import NOTHING, cell_text, judged, p_text, signed_text, value_text
from effmed.evaluate.render.words import word
from effmed.evaluate.report.groups import MAX_VALUES, USUAL

if TYPE_CHECKING:
    from effmed.evaluate.report import Metric, Report

ABSENT = (
    f"No subgroups were evaluated. Of themselves the columns {', '.join(USUAL)} are used, where the table has them "
    f"with two to {MAX_VALUES} values; report.subgroups names others."
)


@dataclass(frozen=True)
class Measure:
    """One measure in one group, and its difference from all other images of the column.

    Attributes:
        value: None where it is suppressed or not estimable.
        low: None without interval.
        high: None without interval.
        difference: Group minus others; None where there is none.
        difference_low: None without interval.
        difference_high: None without interval.
        p_holm: Adjusted by Holm's method; None where no test was made.
        status: As of a metric.
        reason: Why something is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_holm: float | None
    status: str
    reason: str


@dataclass(frozen=True)
class Group:
    """The images whose attribute has one value.

    Attributes:
        column: Such as ``sex``.
        value: Such as ``F``.
        n_images: Images.
        n_events: Of the class among them.
        n_patients: None where images were taken as independent.
        measures: By the name of the metric.
    """

    column: str
    value: str
    n_images: int
    n_events: int
    n_patients: int | None
    measures: dict[str, Measure] = field(default_factory=dict)


def groups_of(report: Report, class_name: str) -> list[Group]:
    """Return the subgroups of one class or label in the order of the report; empty where there are none."""
    found: dict[tuple[str, str], Group] = {}
    for row in records(report.tables.get("subgroups")):
        if row["class"] != class_name:
            continue
        place = (str(row["column"]), str(row["value"]))
        counts = (row["images"], row["events"], row["patients"])
        group = found.setdefault(place, Group(*place, *counts))
        group.measures[str(row["metric"])] = _measure(row)
    return list(found.values())


def _measure(row: dict[str, Any]) -> Measure:
    return Measure(
        value=row["estimate"],
        low=row["low"],
        high=row["high"],
        difference=row["difference"],
        difference_low=row["difference_low"],
        difference_high=row["difference_high"],
        p_holm=row["p_holm"],
        status=str(row["status"]),
        reason=str(row["reason"] or ""),
    )


def group_grids(report: Report) -> list[Grid]:
    """Return per class a table of the measures of every subgroup, and one of their differences."""
    several = len(judged(report)) > 1
    grids = []
    for name in judged(report):
        groups = groups_of(report, name)
        if groups:
            names = list(dict.fromkeys(metric for group in groups for metric in group.measures))
            about = f" of {name}" if several else ""
            grids += [_estimates(groups, names, about), _differences(groups, names, about)]
    return grids


def _estimates(groups: list[Group], names: list[str], about: str) -> Grid:
    rows = [
        (Cell(group.value, group.column), _basis(group), *(_estimate(group.measures.get(name)) for name in names))
        for group in groups
    ]
    heads = ("subgroup", "events of images", *(word(name).label for name in names))
    return Grid(f"Subgroups{about}: estimates with 95 % intervals", heads, tuple(rows))


def _differences(groups: list[Group], names: list[str], about: str) -> Grid:
    rows = [
        (Cell(group.value, group.column), *(_difference(group.measures.get(name)) for name in names))
        for group in groups
    ]
    heads = ("subgroup", *(word(name).label for name in names))
    caption = f"Subgroups{about}: difference from all other images, with 95 % interval and p adjusted by Holm's method"
    return Grid(caption, heads, tuple(rows))


def _basis(group: Group) -> Cell:
    patients = "" if group.n_patients is None else f"{group.n_patients:,} patients"
    return Cell(f"{group.n_events:,} of {group.n_images:,}", patients)


def _estimate(measure: Measure | None) -> Cell:
    if measure is None:
        return Cell(NOTHING)
    if measure.value is None:
        return Cell("suppressed" if measure.status == "suppressed" else "not estimable", measure.reason)
    return interval_cell(measure.value, measure.low, measure.high, note=measure.reason)


def _difference(measure: Measure | None) -> Cell:
    if measure is None or measure.difference is None:
        return Cell(NOTHING, "" if measure is None else measure.reason)
    if measure.difference_low is None or measure.difference_high is None:
        return Cell(signed_text(measure.difference), measure.reason)
    limits = unbroken(f"{signed_text(measure.difference_low)} to {signed_text(measure.difference_high)}")
    p_value = p_text(measure.p_holm)
    test = "" if measure.p_holm is None else unbroken(f"p {p_value if p_value.startswith('<') else f'= {p_value}'}")
    return Cell(signed_text(measure.difference), f"{limits}; {test}" if test else limits)


def heterogeneity_grid(report: Report) -> Grid | None:
    """Return how much the AUROC differs between the groups of each column; None without subgroups."""
    found = records(report.tables.get("heterogeneity"))
    if not found:
        return None
    several = len(judged(report)) > 1
    auroc = ("pooled AUROC", "AUROC of a next group")
    heads = ("column", "groups", "lowest", "highest", "Q (df), p", "I²", *auroc, "notes")
    rows = [
        (
            Cell(str(row["column"]), str(row["class"]) if several else ""),
            Cell(cell_text(row["groups"]), f"without {row['left_out']}" if row["left_out"] else ""),
            Cell(value_text(row["lowest_auroc"]), str(row["lowest"] or "")),
            Cell(value_text(row["highest_auroc"]), str(row["highest"] or "")),
            Cell(NOTHING) if row["q"] is None else Cell(f"{row['q']:.1f} ({row['df']})", f"p {p_text(row['p'])}"),
            Cell(NOTHING if row["i_squared"] is None else f"{row['i_squared']:.0%}"),
            interval_cell(row["pooled_auroc"], row["pooled_low"], row["pooled_high"]),
            interval_cell(None, row["next_group_low"], row["next_group_high"]),
            Cell(str(row["reason"] or "")),
        )
        for row in found
    ]
    return Grid("Heterogeneity: how much the AUROC differs between groups", heads, tuple(rows))


def coverage_by_group(report: Report) -> Grid | None:
    """Return how often prediction sets hold the true class in each subgroup; None where that was not looked at."""
    found = [each for each in report.metrics if each.name == "set_coverage" and each.subgroup is not None]
    if not found:
        return None
    rows = tuple(
        (
            Cell(each.subgroup.value, each.subgroup.column),
            _coverage(each),
            Cell(f"{each.n:,}", "" if each.n_patients is None else f"{each.n_patients:,} patients"),
        )
        for each in found
        if each.subgroup is not None
    )
    return Grid("Coverage by subgroup, which is not promised", ("subgroup", "coverage, 95 % interval", "images"), rows)


def _coverage(metric: Metric) -> Cell:
    if metric.status == "suppressed":
        return Cell("suppressed", metric.reason)
    return interval_cell(metric.value, metric.low, metric.high, note=metric.reason)
