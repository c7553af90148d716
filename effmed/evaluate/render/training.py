"""The history of a training → one self-contained page with curves, written again after every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from effmed.evaluate.render import curves
from effmed.evaluate.render.curves import Curve, Panel, draw
from effmed.evaluate.render.page import TEMPLATES
from effmed.evaluate.render.text import value_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REFRESH_S = 30  # a browser reads the page of a running training again so often
LOSS_DECIMALS = 4
MB_PER_GB = 1000.0
SECONDS_PER_MINUTE = 60.0
MANY = 1000.0  # images per second, from which on no decimals are shown
SOME_WAIT_PERCENT = 10.0  # the axis of the loader wait goes so far at least: little shall not look like much
WORDS = {"auroc": "AUROC", "log_loss": "log loss"}
HEADS = ("epoch", "train loss", "val loss", "val metric", "learning rate", "images/s", "loader wait", "memory", "time")
History = list[dict[str, float | None]]


@dataclass(frozen=True)
class Course:
    """What is known about a training besides its history.

    Attributes:
        run: Name of its run.
        metric: "auroc" or "log_loss": what chooses the epoch.
        n_epochs: Planned.
        facts: What was decided, by name; texts.
        is_over: Whether training has ended, early or not.
        written: When the page was, in words.
    """

    run: str
    metric: str
    n_epochs: int
    facts: Mapping[str, str]
    is_over: bool
    written: str


def render_training(history: Sequence[Mapping[str, Any]], course: Course) -> str:
    """Return the page; it holds no script, no path, and nothing about a patient.

    Args:
        history: The lines of ``history.jsonl``; those of earlier versions lack some of the numbers.
        course: What else is known.
    """
    rows: History = [{name: _number(value) for name, value in row.items()} for row in history]
    numbers = [int(row["number"] or 0) for row in rows]
    best = max((k for k, row in zip(numbers, rows, strict=True) if row.get("is_best")), default=None)
    last = max(numbers, default=0)
    n_shown = max(1, last) if course.is_over else max(1, last, course.n_epochs)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    drawn = [draw(panel, n_shown, best) for panel in _panels(rows, numbers, course.metric)]
    return environment.get_template("training.html.j2").render(
        course=course,
        geometry=curves,
        refresh_s=REFRESH_S,
        summary=_summary(rows, course, best),
        state=_state(rows, course, last),
        drawings=[drawing for drawing in drawn if drawing is not None],
        heads=HEADS,
        rows=[(k, _cells(row, course.metric), k == best) for k, row in zip(numbers, rows, strict=True)],
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _values(rows: History, name: str, factor: float = 1.0) -> list[float | None]:
    found = [row.get(name) for row in rows]
    return [None if value is None else factor * value for value in found]


def _panels(rows: History, epochs: list[int], metric: str) -> list[Panel]:
    def panel(name: str, caption: str, *shown: Curve, from_zero: bool = True, at_least: float | None = None) -> Panel:
        return Panel(name, caption, shown, epochs, from_zero=from_zero, at_least=at_least)

    loss = "Loss: train with what is done for rare classes, val without, as cross entropy; less is better."
    panels = [
        panel(
            "loss",
            loss if metric != "log_loss" else f"{loss} That of val chooses the epoch.",
            Curve("train loss", _values(rows, "train_loss")),
            Curve("val loss", _values(rows, "val_loss")),
            from_zero=False,
        ),
        panel(
            "learning-rate",
            "Learning rate at the end of the epoch.",
            Curve("learning rate", _values(rows, "learning_rate")),
        ),
        panel("speed", "Training images per second, all processes.", Curve("images/s", _values(rows, "images_per_s"))),
        panel(
            "wait",
            "Share of the training time that was spent waiting for images; much of it: the device is idle.",
            Curve("loader wait in %", _values(rows, "loader_wait_fraction", 100.0)),
            at_least=SOME_WAIT_PERCENT,
        ),
        panel("memory", "Largest memory so far.", Curve("memory in GB", _values(rows, "memory_mb", 1 / MB_PER_GB))),
    ]
    if metric == "log_loss":  # which the val loss is
        return panels
    caption = f"{WORDS[metric]} on val, which chooses the epoch, with its 95 % interval."
    curve = Curve(f"val {WORDS[metric]}", _values(rows, "val_score"))
    limits = (_values(rows, "val_low"), _values(rows, "val_high"))
    return [panels[0], Panel("metric", caption, (curve,), epochs, *limits), *panels[1:]]


def _summary(rows: History, course: Course, best: int | None) -> str:
    if best is None:
        return "No epoch is done yet."
    row = next(row for row in rows if row["number"] == best)
    return f"Best epoch: {best}, with val {WORDS[course.metric]} {_score(row, course.metric)}."


def _state(rows: History, course: Course, last: int) -> str:
    done = f"{last} of {course.n_epochs} epochs done"
    if course.is_over:
        return f"{done}; training is over{' early' if last < course.n_epochs else ''}."
    durations = [value for value in _values(rows, "duration_s") if value is not None]
    if not durations:
        return f"{done}."
    left_min = sum(durations) / len(durations) * (course.n_epochs - last) / SECONDS_PER_MINUTE
    return f"{done}; the others take {left_min:.0f} min at most, if they are as long."


def _score(row: Mapping[str, float | None], metric: str) -> str:
    score, low, high = (row.get(name) for name in ("val_score", "val_low", "val_high"))
    text = value_text(None if score is None else abs(score) if metric == "log_loss" else score)
    return text if low is None or high is None else f"{text} ({value_text(low)} to {value_text(high)})"


def _cells(row: Mapping[str, float | None], metric: str) -> list[str]:
    rate, wait = row.get("learning_rate"), row.get("loader_wait_fraction")
    speed, memory, seconds = (row.get(name) for name in ("images_per_s", "memory_mb", "duration_s"))
    return [
        value_text(row.get("train_loss"), decimals=LOSS_DECIMALS),
        value_text(row.get("val_loss"), decimals=LOSS_DECIMALS),
        _score(row, metric),
        "–" if rate is None else f"{rate:.3g}",
        "–" if not speed else f"{speed:,.3g}" if speed < MANY else f"{speed:,.0f}",
        "–" if wait is None else f"{wait:.1%}",
        "–" if memory is None else f"{memory / MB_PER_GB:.2f} GB",
        "–" if seconds is None else f"{seconds:,.1f} s",
    ]
