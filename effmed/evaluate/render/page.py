"""Report → one self-contained page: no script, no network, plots inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from effmed.evaluate.render.checklist import make_checklist
from effmed.evaluate.render.plots import MAX_CLASSES, inline_svg, judged, make_plots
from effmed.evaluate.render.text import find_metric, limits_text, metric_text, number_text
from effmed.evaluate.render.words import CALIBRATION, DECISIONS, DISCRIMINATION, MAIN, Word, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from effmed.evaluate.render.plots import Plot
    from effmed.evaluate.report import Metric, Report, Table

TEMPLATES = Path(__file__).parent / "templates"
CELL_DECIMALS = 3


@dataclass(frozen=True)
class Cell:
    """A value, and below it its interval or null band; either may be empty."""

    value: str
    below: str


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


def render_html(report: Report) -> str:
    """Return the page of a report; everything that came from data is escaped."""
    return render_page(report, make_plots(report))


def render_page(report: Report, plots: list[Plot]) -> str:
    """Return the page with plots that are drawn already."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(cell=cell_text, count=count_text)
    return environment.get_template("report.html.j2").render(
        report=report,
        data=report.data,
        tables=report.tables,
        main=main_numbers(report),
        discrimination=metric_rows(report, DISCRIMINATION, ("calibrated",)),
        calibration=metric_rows(report, CALIBRATION, stages_of(report)),
        decisions=metric_rows(report, DECISIONS, ("calibrated",)),
        further=metric_rows(report, further_names(report), stages_of(report)),
        stages=stages_of(report),
        confusion=confusion_rows(report.tables.get("confusion")),
        methods=methods(report),
        checklist=make_checklist(report),
        plots={part: [_figure(plot) for plot in plots if plot.section == part] for part in _sections(plots)},
        n_not_drawn=max(0, len(judged(report)) - MAX_CLASSES),
    )


def _sections(plots: list[Plot]) -> list[str]:
    return sorted({"discrimination", "calibration", "decisions", *(plot.section for plot in plots)})


def _figure(plot: Plot) -> dict[str, str | bool | Markup]:
    # Matplotlib escapes what it writes, and nothing else stands in the SVG.
    return {"name": plot.name, "caption": plot.caption, "is_wide": plot.is_wide, "svg": Markup(inline_svg(plot))}  # noqa: S704  see above


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
    """Return what a reader looks for first, with its interval."""
    about = judged(report)[0] if len(report.data.classes) == 2 else None
    found = [find_metric(report, name, about) for name in MAIN]
    return [(word(metric.name), _cell_of(metric)) for metric in found if metric is not None]


def further_names(report: Report) -> tuple[str, ...]:
    """Return the metrics that no chapter names, so that none is lost."""
    known = {*DISCRIMINATION, *CALIBRATION, *DECISIONS}
    return tuple(dict.fromkeys(metric.name for metric in report.metrics if metric.name not in known))


def metric_rows(report: Report, names: Iterable[str], stages: tuple[str, ...]) -> list[Row]:
    """Return one row per metric and class, with a cell per stage; all classes together come first."""
    abouts = [None, *report.data.classes]
    rows = []
    for name in names:
        for about in abouts:
            found = [find_metric(report, name, about, stage) for stage in stages]
            known = [metric for metric in found if metric is not None]
            if known:
                cells = tuple(_cell_of(metric) for metric in found)
                notes = tuple(dict.fromkeys(metric.reason for metric in known if metric.reason))
                rows.append(Row(word(name), about or "", cells, _basis(known[-1]), notes))
    return rows


def _cell_of(metric: Metric | None) -> Cell:
    if metric is None:
        return Cell("", "")
    value = metric_text(metric, limits=False)
    if metric.null_high is not None:
        return Cell(value, f"if perfectly calibrated below {number_text(metric, metric.null_high)}")
    return Cell(value, limits_text(metric))


def _basis(metric: Metric) -> str:
    patients = "" if metric.n_patients is None else f", {count_text(metric.n_patients, 'patient')}"
    return f"{metric.n_events:,} of {count_text(metric.n, 'image')}{patients}"


def confusion_rows(table: Table | None) -> list[tuple[str, list[tuple[int, str]]]]:
    """Return per true class the images decided for each class, with their share of the row."""
    if table is None:
        return []
    rows = []
    for name, *counts in table.rows:
        n = [int(count or 0) for count in counts]
        shares = [f"{each / sum(n):.0%}" if sum(n) else "–" for each in n]
        rows.append((str(name), list(zip(n, shares, strict=True))))
    return rows


def methods(report: Report) -> list[tuple[str, str]]:
    """Return how intervals were made: each method once, with the metrics that it served."""
    served: dict[str, list[str]] = {}
    for metric in report.metrics:
        label = word(metric.name).label
        if metric.status == "ok" and label not in served.setdefault(metric.method, []):
            served[metric.method].append(label)
    return [(method, ", ".join(labels)) for method, labels in served.items() if labels]


def cell_text(value: object) -> str:
    """Return a cell of a plain table: three decimals, counts with separators, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{CELL_DECIMALS}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def count_text(n: int, noun: str) -> str:
    """Return a number with its noun: ``1 image``, ``1,200 images``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
