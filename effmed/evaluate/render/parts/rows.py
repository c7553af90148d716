"""Metrics → the rows of the page's tables of measures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effmed.evaluate.render.text import (
    find_metric,
    is_binary,
    judged,
    limits_text,
    metric_text,
    number_text,
    short,
)
from effmed.evaluate.render.words import CHAPTERS, MAIN, Word, word
from effmed.evaluate.report.cautions import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from effmed.evaluate.report import Metric, Report

MAX_MAIN = 8  # labels whose AUROC stands at the top; the chapters hold the others


@dataclass(frozen=True)
class Cell:
    """A value, and below it its interval or null band; either may be empty."""

    value: str
    below: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table of metrics.

    Attributes:
        label: What is measured, with its meaning.
        about: The class, or empty for all.
        cells: One per stage.
        basis: Images, events and patients.
        notes: What to beware of.
    """

    label: Word
    about: str
    cells: tuple[Cell, ...]
    basis: str
    notes: tuple[str, ...]


def stages_of(report: Report) -> tuple[str, ...]:
    """Return the stages that the report tells apart: one where calibration changed nothing."""
    raw = [metric for metric in report.metrics if metric.stage == "raw"]
    same = all(_same(metric, find_metric(report, metric.name, metric.class_name)) for metric in raw)
    return ("calibrated",) if same else ("raw", "calibrated")


def _same(raw: Metric, calibrated: Metric | None) -> bool:
    return calibrated is not None and (raw.value, raw.low, raw.high) == (
        calibrated.value,
        calibrated.low,
        calibrated.high,
    )


def main_numbers(report: Report) -> list[tuple[Word, Cell]]:
    """Return what a reader looks for first, with its interval; of several labels the AUROC of each as well."""
    about = judged(report)[0] if is_binary(report) else None
    found = [(word(name), find_metric(report, name, about)) for name in MAIN]
    if report.data.task == "multilabel":
        labels = judged(report)[:MAX_MAIN]
        found += [(Word(f"AUROC {short(name)}", ""), find_metric(report, "auroc", name)) for name in labels]
    return [(label, _cell_of(metric)) for label, metric in found if metric is not None]


def further_names(report: Report) -> tuple[str, ...]:
    """Return the metrics of all images that no chapter names, so that none is lost."""
    known = {name for names in CHAPTERS.values() for name in names}
    whole = (metric.name for metric in report.metrics if metric.subgroup is None)
    return tuple(dict.fromkeys(name for name in whole if name not in known))


def metric_rows(report: Report, names: Iterable[str], stages: tuple[str, ...]) -> list[Row]:
    """Return one row per metric and class, with a cell per stage; all classes together come first."""
    abouts = [None, *report.data.classes]
    whole: dict[tuple[str, str | None, str], Metric] = {}
    for metric in report.metrics:
        if metric.subgroup is None:
            whole.setdefault((metric.name, metric.class_name, metric.stage), metric)
    rows = []
    for name in names:
        for about in abouts:
            found = [whole.get((name, about, stage)) for stage in stages]
            known = [metric for metric in found if metric is not None]
            if known:
                cells = tuple(_cell_of(metric) for metric in found)
                notes = tuple(dict.fromkeys(metric.reason for metric in known if metric.reason))
                rows.append(Row(word(name), about or "", cells, basis_of(known[-1]), notes))
    return rows


def _cell_of(metric: Metric | None) -> Cell:
    if metric is None:
        return Cell("")
    value = metric_text(metric, limits=False)
    if metric.null_high is not None:
        return Cell(value, f"if perfectly calibrated below {number_text(metric, metric.null_high)}")
    return Cell(value, limits_text(metric))


def basis_of(metric: Metric) -> str:
    """Return the events, images and patients that a metric rests on."""
    patients = "" if metric.n_patients is None else f", {count_text(metric.n_patients, 'patient')}"
    return f"{metric.n_events:,} of {count_text(metric.n, 'image')}{patients}"


def methods(report: Report) -> list[tuple[str, str]]:
    """Return how intervals were made: each method once, with the metrics of all images that it served.

    Effective numbers and degrees of freedom, which differ from metric to metric, are left out.
    """
    served: dict[str, list[str]] = {}
    for metric in report.metrics:
        if metric.subgroup is None and metric.status == "ok":
            labels = served.setdefault(method_text(metric.method), [])
            label = word(metric.name).label
            labels += [label] if label not in labels else []
    return [(method, ", ".join(labels)) for method, labels in served.items()]


def method_text(method: str) -> str:
    """Return a method without the numbers of one metric: ``Wilson, effective n, t`` for all of them."""
    return re.sub(r"\b(effective n) [\d.]+", r"\1", re.sub(r"\bt\([\d.]+\)", "t", method))
