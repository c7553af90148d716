"""Report → one self-contained page: no script, no network, plots inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from effmed.evaluate.render.checklist import make_checklist
from effmed.evaluate.render.parts import tables
from effmed.evaluate.render.parts.errors import error_lists
from effmed.evaluate.render.parts.groups import ABSENT, coverage_by_group, group_grids, heterogeneity_grid
from effmed.evaluate.render.parts.rows import further_names, main_numbers, methods, metric_rows, stages_of
from effmed.evaluate.render.plots import MAX_CLASSES, inline_svg, make_plots
from effmed.evaluate.render.text import cell_text, is_binary, judged
from effmed.evaluate.render.words import CHAPTERS
from effmed.evaluate.report.cautions import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.render.plots import Plot
    from effmed.evaluate.report import Report

TEMPLATES = Path(__file__).parent / "templates"
DRAWN = ("discrimination", "calibration", "decisions", "subgroups")  # the chapters that may hold plots


def render_html(report: Report) -> str:
    """Return the page of a report; everything that came from data is escaped."""
    return render_page(report, make_plots(report))


def render_page(report: Report, plots: list[Plot], thumbnails: Mapping[tuple[str, int], bytes] | None = None) -> str:
    """Return the page with plots that are drawn already, and pictures of the worst errors by image and frame."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(cell=cell_text, count=count_text)
    stages, errors = stages_of(report), error_lists(report, thumbnails)
    return environment.get_template("report.html.j2").render(
        report=report,
        data=report.data,
        tables=report.tables,
        several=not is_binary(report),
        is_scored="histogram" not in report.tables,
        main=main_numbers(report),
        measured={name: metric_rows(report, names, _stages(name, stages)) for name, names in CHAPTERS.items()},
        further=metric_rows(report, further_names(report), stages),
        stages=stages,
        grids=_grids(report),
        errors=errors,
        has_pictures=any(each.picture for listed in errors for each in listed.wrong),
        methods=methods(report),
        checklist=make_checklist(report),
        plots={part: [_figure(plot) for plot in plots if plot.section == part] for part in DRAWN},
        n_not_drawn=max(0, len(judged(report)) - MAX_CLASSES),
        no_subgroups=ABSENT,
    )


def _stages(chapter: str, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Only calibration is shown before and after; ranks and decisions come from calibrated probabilities."""
    return stages if chapter == "calibration" else ("calibrated",)


def _grids(report: Report) -> dict[str, Any]:
    """Return every table that is shown otherwise than it is written, by its name; None where there is none."""
    return {
        "flow": tables.flow_steps(report),
        "classes": tables.classes_grid(report),
        "policies": tables.policies_grid(report),
        "policy_words": {name: tables.POLICIES.get(each, each) for name, each in report.data.policies.items()},
        "points": tables.points_grid(report),
        "two_by_two": tables.two_by_two_grid(report),
        "confusion": tables.confusion_rows(report.tables.get("confusion")),
        "net_benefit": tables.net_benefit_grid(report),
        "limits": tables.limits_grid(report),
        "sets": tables.sets_grid(report),
        "set_coverage": coverage_by_group(report),
        "prior_shift": tables.prior_shift_grid(report),
        "assumption": tables.assumption(report),
        "subgroups": group_grids(report),
        "heterogeneity": heterogeneity_grid(report),
    }


def _figure(plot: Plot) -> dict[str, str | bool | Markup]:
    # Matplotlib escapes what it writes, and nothing else stands in the SVG.
    return {"name": plot.name, "caption": plot.caption, "is_wide": plot.is_wide, "svg": Markup(inline_svg(plot))}  # noqa: S704  see above
