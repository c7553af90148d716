"""Curves over epochs as the coordinates of an SVG drawing: fast enough to be drawn after every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effmed.evaluate.render.plots.drawing import PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 440.0, 250.0  # of the drawing, in its own units; on a phone about 0.8 px each
LEFT, RIGHT, TOP, BOTTOM = 58.0, 424.0, 36.0, 208.0  # of the plane inside it
N_TICKS = 5  # of the vertical axis, about
N_EPOCH_TICKS = 8  # of the horizontal axis, at most
ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)  # steps between ticks, times a power of ten
ROUND_EPOCHS = (1, 2, 5, 10)
MANY_EPOCHS = 40  # from which on points would touch each other
FLAT = 0.1  # of a value: how far the axis reaches beyond curves that do not move
SMALL = 0.01  # below it numbers of an axis are told in powers of ten
LEGEND_STEP = 7.2  # width of a letter of the legend, about
LEGEND_LINE, LEGEND_GAP = 24.0, 40.0  # the piece of line before a name; that and the gap after it
DASHES = ("", "6 4")
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Curve:
    """Values of one name, an entry per epoch; None where an epoch has none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One curve as it is drawn: ``path`` of SVG, single points, and where its name stands in the legend."""

    name: str
    path: str
    dots: list[tuple[float, float]]
    colour: str
    dash: str
    legend_x: float


@dataclass(frozen=True)
class Drawing:
    """All that a template needs.

    Attributes:
        name: Of the figure; its id.
        caption: What is seen, in words.
        lines: The curves.
        band: Path of the interval of the first curve, "" where there is none.
        bars: Path of its intervals in epochs that stand alone.
        x_ticks: Places and texts.
        y_ticks: Places and texts.
        best_x: Where the best epoch is; None where there is none.
        best_anchor: How its name stands to it: "start" or "end".
    """

    name: str
    caption: str
    lines: list[Line]
    band: str
    bars: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    best_x: float | None
    best_anchor: str


@dataclass(frozen=True)
class Plane:
    """Where epochs and values stand in the drawing.

    Attributes:
        n_epochs: At the right end; the left one is epoch 1.
        ticks: Values with a line; the first is at the bottom, the last at the top.
    """

    n_epochs: int
    ticks: list[float]

    def x(self, epoch: int) -> float:
        """Return the place of an epoch; a single one stands in the middle."""
        share = 0.5 if self.n_epochs == 1 else (epoch - 1) / (self.n_epochs - 1)
        return round(LEFT + share * (RIGHT - LEFT), 1)

    def y(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(BOTTOM - share * (BOTTOM - TOP), 1)


@dataclass(frozen=True)
class Panel:
    """What one figure shows.

    Attributes:
        name: Of the figure; its id.
        caption: What is seen, in words.
        curves: One or two.
        epochs: Numbers of the entries of every curve.
        low: Lower limits of the first curve's interval; empty for none.
        high: Upper limits.
        from_zero: Whether the axis begins at 0.
        at_least: Value that the axis reaches, so that little does not look like much.
    """

    name: str
    caption: str
    curves: Sequence[Curve]
    epochs: Sequence[int]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    from_zero: bool = False
    at_least: float | None = None


def draw(panel: Panel, n_epochs: int, best: int | None) -> Drawing | None:
    """Return a panel as coordinates; None where no epoch has a value.

    Args:
        panel: What is drawn.
        n_epochs: At the right end of the axis.
        best: Number of the best epoch.
    """
    every = [value for curve in panel.curves for value in curve.values] + [*panel.low, *panel.high]
    known = [value for value in every if value is not None]
    if not known:
        return None
    low, high = 0.0 if panel.from_zero else min(known), max([*known, *([panel.at_least] if panel.at_least else [])])
    plane = Plane(n_epochs, round_ticks(low, high))
    unit, y_ticks = _y_ticks(plane)
    limits = _limits(panel, plane)
    best_x = None if best is None else plane.x(best)
    return Drawing(
        name=panel.name,
        caption=panel.caption,
        lines=_lines(panel, plane, unit),
        band="".join(f"{_path([*above, *reversed(below)])}Z" for below, above in limits if len(below) > 1),
        bars="".join(_path([*below, *above]) for below, above in limits if len(below) == 1),
        x_ticks=[(plane.x(epoch), str(epoch)) for epoch in epoch_ticks(n_epochs)],
        y_ticks=y_ticks,
        best_x=best_x,
        best_anchor="end" if best_x is not None and best_x > (LEFT + RIGHT) / 2 else "start",
    )


def round_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers around all values; the first is at most ``low``, the last at least ``high``."""
    if high <= low:
        reach = abs(low) * FLAT or 1.0
        low, high = (low, low + reach) if low == 0 else (low - reach, high + reach)
    rough = (high - low) / (N_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in ROUND if each * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def epoch_ticks(n_epochs: int) -> list[int]:
    """Return 1 and round numbers up to the last epoch, eight or a few more."""
    power = 1
    while ROUND_EPOCHS[-1] * power * N_EPOCH_TICKS < n_epochs:
        power *= 10
    step = next(each * power for each in ROUND_EPOCHS if each * power * N_EPOCH_TICKS >= n_epochs)
    return sorted({1, *range(step, n_epochs + 1, step)})


def _y_ticks(plane: Plane) -> tuple[str, list[tuple[float, str]]]:
    """Return the power of ten that the numbers of the axis are told in, "" for none, and these with their places."""
    largest, step = max(map(abs, plane.ticks)), plane.ticks[1] - plane.ticks[0]
    exponent = math.floor(math.log10(largest)) if largest < SMALL else 0
    scale = 10.0**exponent
    decimals = max(0, -math.floor(math.log10(step / scale) + 1e-9))
    if not math.isclose(step / scale * 10**decimals, round(step / scale * 10**decimals), rel_tol=1e-6):
        decimals += 1  # steps of 2.5
    texts = [(plane.y(tick), f"{tick / scale:,.{decimals}f}".replace("-", "−")) for tick in plane.ticks]
    return (f", in 10{str(exponent).translate(SUPERSCRIPTS)}" if exponent else ""), texts


def _lines(panel: Panel, plane: Plane, unit: str) -> list[Line]:
    made, x = [], LEFT
    for index, curve in enumerate(panel.curves):
        parts = _parts(panel, plane, curve.values)
        few = plane.n_epochs <= MANY_EPOCHS
        dots = [point for part in parts for point in part if few or len(part) == 1]
        path = "".join(_path(part) for part in parts if len(part) > 1)
        name = f"{curve.name}{unit}"
        made.append(Line(name, path, dots, PALETTE[index], DASHES[index], x))
        x += LEGEND_GAP + LEGEND_STEP * len(name)
    return made


def _limits(panel: Panel, plane: Plane) -> list[tuple[list[tuple[float, float]], list[tuple[float, float]]]]:
    """Return the lower and upper ends of the intervals, apart where epochs without one lie between them."""
    if not panel.low or not panel.high:
        return []
    both = list(zip(panel.low, panel.high, strict=True))
    lows = _parts(panel, plane, [None if high is None else low for low, high in both])
    highs = _parts(panel, plane, [None if low is None else high for low, high in both])
    return list(zip(lows, highs, strict=True))


def _parts(panel: Panel, plane: Plane, values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """Return the points of a curve, apart where epochs without a value lie between them."""
    parts: list[list[tuple[float, float]]] = [[]]
    for epoch, value in zip(panel.epochs, values, strict=True):
        if value is None:
            parts.append([])
        else:
            parts[-1].append((plane.x(epoch), plane.y(value)))
    return [part for part in parts if part]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
