"""A comparison for people: one self-contained page, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from effmed.evaluate.render.files import csv_text
from effmed.evaluate.render.page import TEMPLATES
from effmed.evaluate.render.text import cell_text, p_text, signed_text, value_text
from effmed.evaluate.render.words import word
from effmed.evaluate.report.cautions import count_text
from effmed.run import write_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.comparison import Comparison, PairedDifference

UNBOUNDED = ("log_loss",)  # one wild image would shrink all other drawings to a dot
CENTRE, HALF_WIDTH = 50.0, 48.0  # of the drawing of an interval, in its own units


@dataclass(frozen=True)
class DifferenceRow:
    """One difference in words.

    Attributes:
        label: What is measured.
        meaning: What it says, with the value that is best.
        about: The class, or empty for all.
        first: Of the first network.
        second: Of the second.
        difference: First minus second.
        limits: Its interval, or the empty text.
        p_value: As text.
        basis: Images, events and patients.
        notes: What to beware of.
        bar: Where the interval begins and ends and where the difference lies in the drawing; None without interval.
    """

    label: str
    meaning: str
    about: str
    first: str
    second: str
    difference: str
    limits: str
    p_value: str
    basis: str
    notes: str
    bar: tuple[float, float, float] | None


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write ``comparison.html``, ``tables/differences.csv`` and last ``comparison.json``.

    Every file is written whole or not at all.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    rows = [each.model_dump(mode="json", by_alias=True) for each in comparison.differences]
    write_text(folder / "tables" / "differences.csv", csv_text(list(rows[0]), [list(row.values()) for row in rows]))
    write_text(folder / "comparison.html", render_comparison(comparison))
    write_json(folder / "comparison.json", comparison)


def render_comparison(comparison: Comparison) -> str:
    """Return the page of a comparison; everything that came from data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(cell=cell_text, count=count_text)
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        summary=summary(comparison),
        rows=difference_rows(comparison),
        scale=signed_text(_scale(comparison)),
        methods=_methods(comparison),
    )


def summary(comparison: Comparison) -> str:
    """Say the main result in one sentence."""
    main = comparison.differences[0]
    what = word(main.name).label + (f" for {main.class_name!r}" if main.class_name is not None else "")
    basis = f"on {count_text(comparison.n_images, 'image')}"
    basis += "" if comparison.n_patients is None else f" of {count_text(comparison.n_patients, 'patient')}"
    if main.difference is None:
        return f"The difference of {what} could not be estimated {basis}: {main.reason}."
    first, second = (value_text(value) for value in (main.first, main.second))
    values = f"{what} {first} for {comparison.names[0]} and {second} for {comparison.names[1]} {basis}"
    limits, p_value = limits_text(main), p_text(main.p_value)
    interval = f"95 % interval {limits}" if limits else f"without an interval, {main.reason}"
    test = "" if main.p_value is None else f", p {p_value if p_value.startswith('<') else f'= {p_value}'}"
    return f"{values}: difference {signed_text(main.difference)} ({interval}{test})."


def difference_rows(comparison: Comparison) -> list[DifferenceRow]:
    """Return one row per difference, in the order of the comparison."""
    scale = _scale(comparison)
    return [_row(each, scale) for each in comparison.differences]


def _row(each: PairedDifference, scale: float) -> DifferenceRow:
    known = word(each.name)
    at = "" if each.threshold is None else f" at {each.threshold:g}"
    patients = "" if each.n_patients is None else f", {count_text(each.n_patients, 'patient')}"
    only = f"only the first right {each.first_only}, only the second {each.second_only}"
    return DifferenceRow(
        label=known.label + at,
        meaning=known.meaning,
        about=each.class_name or "",
        first=value_text(each.first),
        second=value_text(each.second),
        difference="not estimable" if each.difference is None else signed_text(each.difference),
        limits=limits_text(each),
        p_value=p_text(each.p_value),
        basis=f"{each.n_events:,} of {count_text(each.n, 'image')}{patients}",
        notes="; ".join(filter(None, (each.reason, only if each.first_only or each.second_only else ""))),
        bar=_bar(each, scale),
    )


def limits_text(each: PairedDifference) -> str:
    """Return the interval of a difference, such as ``−0.012 to +0.034``, or the empty text."""
    return "" if each.low is None or each.high is None else f"{signed_text(each.low)} to {signed_text(each.high)}"


def _scale(comparison: Comparison) -> float:
    """Return the largest limit: all intervals are drawn on one scale, but for those that have no bounds."""
    drawn = [each for each in comparison.differences if each.name not in UNBOUNDED]
    limits = [abs(limit) for each in drawn for limit in (each.low, each.high) if limit is not None]
    return max(limits, default=0.0)


def _bar(each: PairedDifference, scale: float) -> tuple[float, float, float] | None:
    if each.name in UNBOUNDED or each.low is None or each.high is None or each.difference is None:
        return None
    low, middle, high = (
        round(CENTRE + HALF_WIDTH * value / (scale or 1), 1) for value in (each.low, each.difference, each.high)
    )
    return low, middle, high


def _methods(comparison: Comparison) -> list[tuple[str, str]]:
    """Return how intervals were made: each method once, with the measures that it served."""
    served: dict[str, list[str]] = {}
    for each in comparison.differences:
        labels = served.setdefault(each.method, [])
        if each.low is not None and word(each.name).label not in labels:
            labels.append(word(each.name).label)
    return [(method, ", ".join(labels)) for method, labels in served.items() if labels]
