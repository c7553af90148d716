"""Subgroups beside each other: a forest plot per class or label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effmed.evaluate.render.parts.groups import Group, Measure, groups_of
from effmed.evaluate.render.plots.drawing import BAND_OPACITY, GREY, PALETTE, WIDE_INCHES, Plot, draw
from effmed.evaluate.render.text import find_metric, is_binary, short
from effmed.evaluate.render.words import word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from effmed.evaluate.report import Report

SHOWN = ("auroc", "sensitivity", "specificity")  # all between 0 and 1, so that panels read alike
MAX_GROUPS = 40  # in one plot; the tables hold the others
LINE_INCHES, FRAME_INCHES = 0.22, 0.9  # of one group; of the axis, its label and the titles
STEP = 20  # an axis begins at a multiple of 1/20
ROOM = 0.2  # steps between the axis and the lowest limit, at least
EDGE = 1.02  # where it ends, so that a dot at 1 is whole


@dataclass(frozen=True)
class _Line:
    """One line of the plot: a heading (no group), or a group."""

    text: str
    group: Group | None


def forest(report: Report, class_name: str, number: int) -> Plot | None:
    """Draw AUROC, and with decisions sensitivity and specificity, of every subgroup; None without subgroups."""
    groups = groups_of(report, class_name)
    shown = groups[:MAX_GROUPS]
    names = [name for name in SHOWN if any(name in group.measures for group in shown)]
    if not names:
        return None
    lines = _lines(shown)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, report, class_name, name, lines)
        panels[0].set_yticks(range(len(lines)), [line.text for line in lines])
        for label, line in zip(panels[0].get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if line.group is None else "normal")
        panels[0].set_ylim(len(lines) - 0.4, -0.6)

    size = (WIDE_INCHES, FRAME_INCHES + LINE_INCHES * len(lines))
    name = "subgroups" if is_binary(report) else f"subgroups-{number}"
    return draw(name, "subgroups", _caption(class_name, names, len(groups)), size, paint)


def _caption(class_name: str, names: list[str], n_groups: int) -> str:
    measures = ", ".join(word(name).label for name in names)
    caption = (
        f"{measures} of {short(class_name)} by subgroup, with 95 % intervals. The dotted line with its band is that of "
        "all images; what was too small to be shown is named as such."
    )
    left = n_groups - MAX_GROUPS
    return caption + (f" {left} further subgroups are in the tables only." if left > 0 else "")


def _lines(groups: list[Group]) -> list[_Line]:
    lines: list[_Line] = []
    for before, group in zip([None, *groups], groups, strict=False):
        if before is None or before.column != group.column:
            lines.append(_Line(short(group.column), None))
        lines.append(_Line(f"{short(group.value)} ({group.n_events:,} of {group.n_images:,})", group))
    return lines


def _panel(axes: Axes, report: Report, class_name: str, name: str, lines: list[_Line]) -> None:
    whole = find_metric(report, name, class_name)
    least = [] if whole is None else [each for each in (whole.value, whole.low) if each is not None]
    if whole is not None and whole.value is not None:
        axes.axvline(whole.value, color=GREY, linestyle=":", linewidth=1)
        if whole.low is not None and whole.high is not None:
            axes.axvspan(whole.low, whole.high, color=GREY, alpha=BAND_OPACITY, lw=0)
    for place, line in enumerate(lines):
        measure = None if line.group is None else line.group.measures.get(name)
        if measure is not None:
            _draw_measure(axes, place, measure)
            least += [each for each in (measure.value, measure.low) if each is not None]
    axes.set_xlim(math.floor(min(least, default=0.0) * STEP - ROOM) / STEP, EDGE)
    axes.set_title(word(name).label, fontsize=9, loc="left")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_measure(axes: Axes, place: int, measure: Measure) -> None:
    if measure.value is None:
        said = "suppressed" if measure.status == "suppressed" else "not estimable"
        at_left = axes.get_yaxis_transform()
        axes.text(0.02, place, said, transform=at_left, va="center", fontsize=7.5, color=GREY, fontstyle="italic")
        return
    if measure.low is not None and measure.high is not None:
        axes.hlines(place, measure.low, measure.high, color=PALETTE[0], linewidth=1.4)
    axes.plot(measure.value, place, "s", color=PALETTE[0], markersize=4.5)
