"""Tables of the report → tables of the page: intervals joined, codes in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effmed.evaluate.render.parts.rows import Cell
from effmed.evaluate.render.text import NOTHING, cell_text, find_metric, judged, limits_text, signed_text, value_text

if TYPE_CHECKING:
    from effmed.evaluate.report import Report, Table

POLICIES = {"ignore": "are left out", "zeros": "count as absent", "ones": "count as present"}
TREATED = "left out", "used for"  # how a step of the flow begins that is part of the one before
DETAIL = "unreadable: "  # likewise of a reason
NO_BREAK = "\u00a0"
COUNTS = ("images", "patients", "events", "known", "uncertain", "blank", "groups", "df")


@dataclass(frozen=True)
class Grid:
    """A table: every row begins with its heading."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Step:
    """One line of the participant flow; ``depth`` 0 is a total, 1 part of it, 2 a reason."""

    name: str
    n_images: int
    n_patients: int | None
    depth: int


def records(table: Table | None) -> list[dict[str, Any]]:
    """Return the rows of a table by column name, counts as whole numbers; none where there is no table."""
    if table is None:
        return []
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return [{name: _whole(name, value) for name, value in row.items()} for row in rows]


def _whole(name: str, value: float | str | None) -> int | float | str | None:
    """Return a count as a whole number: beside an empty cell, tables hold it as a float."""
    return int(value) if name in COUNTS and isinstance(value, float) else value


def interval_cell(value: float | None, low: float | None, high: float | None, *, note: str = "") -> Cell:
    """Return a value with its interval below it, or with the reason why there is none."""
    limits = unbroken(f"{value_text(low)} to {value_text(high)}") if low is not None and high is not None else ""
    if value is None and limits:
        return Cell(limits)
    return Cell(value_text(value), limits or note)


def unbroken(text: str) -> str:
    """Return a text that stays on one line."""
    return text.replace(" ", NO_BREAK)


def flow_steps(report: Report) -> list[Step]:
    """Return the participant flow: what is part of a step stands below it."""
    return [
        Step(str(row["step"]), row["images"], row["patients"], _depth(str(row["step"])))
        for row in records(report.tables.get("flow"))
    ]


def _depth(name: str) -> int:
    return 2 if name.startswith(DETAIL) else int(name.startswith(TREATED))


def classes_grid(report: Report) -> Grid:
    """Return the evaluated images of every class or label; of labels also those whose truth is not known."""
    found = records(report.tables.get("classes"))
    several = bool(found) and "known" in found[0]
    has_patients = any(row["patients"] is not None for row in found)
    heads = ["label", "present"] if several else ["class", "images"]
    heads += ["patients"] if has_patients else []
    heads += ["share of the known", "known", "uncertain", "blank"] if several else ["share"]
    names = ["images", *(["patients"] if has_patients else []), "fraction"]
    names += ["known", "uncertain", "blank"] if several else []
    rows = []
    for row in found:
        prevalence = find_metric(report, "prevalence", str(row["class"]))
        below = "" if prevalence is None else limits_text(prevalence) or prevalence.reason
        cells = (Cell(cell_text(row[name]), below if name == "fraction" else "") for name in names)
        rows.append((Cell(str(row["class"])), *cells))
    caption = f"Evaluated images by {'label' if several else 'class'}, shares with 95 % intervals"
    return Grid(caption, tuple(heads), tuple(rows))


def policies_grid(report: Report) -> Grid | None:
    """Return the AUROC of every label under every policy for uncertain labels; None where labels exclude each other."""
    found = records(report.tables.get("policies"))
    if not found:
        return None
    policies = list(dict.fromkeys(str(row["uncertain"]) for row in found))
    declared = report.data.policies.get("uncertain")
    heads = [f"they {POLICIES.get(name, name)}{' (used here)' if name == declared else ''}" for name in policies]
    cells: dict[str, list[Cell]] = {}
    for row in found:
        interval = interval_cell(row["auroc"], row["low"], row["high"])
        basis = f"{row['events']:,} of {row['images']:,}"
        cells.setdefault(str(row["class"]), []).append(
            Cell(interval.value, f"{interval.below}; {basis}" if interval.below else basis)
        )
    rows = tuple((Cell(name), *each) for name, each in cells.items())
    return Grid("AUROC under each policy for uncertain labels, with 95 % intervals", ("label", *heads), rows)


def points_grid(report: Report) -> Grid | None:
    """Return the operating points where there are several, one per label; None for one, which is a sentence."""
    points = report.data.operating_points
    if len(points) <= 1:
        return None
    rows = tuple(
        (
            Cell(point.class_name),
            Cell(value_text(point.threshold)),
            Cell(point.rule, "exploratory" if point.exploratory else ""),
            Cell(point.chosen_on, f"{point.n_events:,} of {point.n:,} images")
            if not point.is_stated
            else Cell("stated"),
            Cell(value_text(point.sensitivity)),
            Cell(value_text(point.specificity)),
        )
        for point in points
    )
    heads = ("label", "called from probability", "rule", "chosen on", "sensitivity there", "specificity there")
    return Grid("Operating points: where a probability becomes a call", heads, rows)


def two_by_two_grid(report: Report) -> Grid | None:
    """Return the counts behind the rates of every class; None without decisions."""
    found = records(report.tables.get("two_by_two"))
    if not found:
        return None
    names = ("true_positive", "false_positive", "false_negative", "true_negative")
    rows = tuple((Cell(str(row["class"])), *(Cell(cell_text(row[name])) for name in names)) for row in found)
    heads = ("class", *(name.replace("_", " ") + "s" for name in names))
    return Grid("Two by two: decisions of each class against the rest, in images", heads, rows)


def net_benefit_grid(report: Report) -> Grid | None:
    """Return the net benefit at the stated thresholds, and its gain over treating everyone; None without any."""
    found = records(report.tables.get("net_benefit"))
    if not found:
        return None
    several, stated = len(judged(report)) > 1, "stated_prevalence" in found[0]
    heads = ("threshold", *(("class",) if several else ()), "net benefit", "of treating everyone", "gain over that")
    heads += ("at the stated prevalence",) if stated else ()
    rows = []
    for row in found:
        gain = Cell(NOTHING)
        if row["gain_over_all"] is not None:
            limits = [each for each in (row["gain_low"], row["gain_high"]) if each is not None]
            gain = Cell(signed_text(row["gain_over_all"]), unbroken(" to ".join(map(signed_text, limits))))
        rows.append(
            (
                Cell(f"{row['threshold']:g}"),
                *((Cell(str(row["class"])),) if several else ()),
                interval_cell(row["net_benefit"], row["low"], row["high"]),
                Cell(value_text(row["treat_all"])),
                gain,
                *((_at_stated(row),) if stated else ()),
            )
        )
    return Grid("Net benefit at the stated thresholds, with 95 % intervals", heads, tuple(rows))


def _at_stated(row: dict[str, Any]) -> Cell:
    return Cell(value_text(row["at_stated_prevalence"]), f"prevalence {row['stated_prevalence']:g}")


def limits_grid(report: Report) -> Grid | None:
    """Return from which probability each class is in the prediction set; None without sets."""
    rule = report.data.sets
    if rule is None:
        return None
    rows = tuple(
        (Cell(name), Cell("always" if limit >= 1 else value_text(1 - limit)), Cell(cell_text(n)))
        for name, limit, n in zip(report.data.classes, rule.limits, rule.n_per_class, strict=True)
    )
    return Grid("Limits of the prediction sets", ("class", "in the set from probability", "images that set it"), rows)


def sets_grid(report: Report) -> Grid | None:
    """Return the images by the size of their prediction set; None without sets."""
    found = records(report.tables.get("prediction_sets"))
    if not found:
        return None
    rows = tuple(
        (
            Cell(cell_text(row["classes_in_the_set"])),
            Cell(cell_text(row["images"]), f"{row['fraction']:.1%}"),
            Cell(NOTHING if row["coverage"] is None else f"{row['coverage']:.1%}"),
        )
        for row in found
    )
    return Grid("Prediction sets by size", ("classes in the set", "images", "hold the true class"), rows)


def prior_shift_grid(report: Report) -> Grid | None:
    """Return calibration as evaluated and at the estimated prevalence; None where none was estimated."""
    found = records(report.tables.get("prior_shift"))
    if not found:
        return None
    several = len(judged(report)) > 1
    heads = (
        "numbers",
        *(("class",) if several else ()),
        "prevalence",
        "observed / expected",
        "Brier score",
        "log loss",
    )
    rows = tuple(
        (
            Cell(str(row["numbers"])),
            *((Cell(str(row["class"])),) if several else ()),
            interval_cell(row["prevalence"], row["low"], row["high"]),
            *(Cell(value_text(row[name])) for name in ("observed_expected", "brier", "log_loss")),
        )
        for row in found
    )
    return Grid("Calibration as evaluated and at the estimated prevalence", heads, rows)


def assumption(report: Report) -> str:
    """Return what the estimated prevalence rests on; empty without one."""
    return next((str(row["assumption"]) for row in records(report.tables.get("prior_shift")) if row["assumption"]), "")


def confusion_rows(table: Table | None) -> list[tuple[str, list[tuple[int, str]]]]:
    """Return per true class the images decided for each class, with their share of the row."""
    if table is None:
        return []
    rows = []
    for name, *counts in table.rows:
        n = [int(count or 0) for count in counts]
        shares = [f"{each / sum(n):.0%}" if sum(n) else NOTHING for each in n]
        rows.append((str(name), list(zip(n, shares, strict=True))))
    return rows
