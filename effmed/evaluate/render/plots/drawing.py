"""What every plot is made with: the style, colours that all can tell apart, a figure saved twice."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matplotlib.axes import Axes

    from effmed.evaluate.report import Table

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito, no yellow
DASHES = ("-", "--", "-.", ":")  # a second way to tell lines apart
GREY = "#595959"  # contrast 7:1 on white
GRID: dict[str, Any] = {"visible": True, "color": "#e4e4e4", "linewidth": 0.6}
BAND_OPACITY = 0.18
PANEL_INCHES = 4.2
WIDE_INCHES = 7.6
LOW_INCHES = 3.2
PNG_DPI = 150
N_INSIDE = 3  # entries of a legend that fit into a plot
TEXT_COLUMNS = ("class", "stage", "outcome")
STYLE: dict[Any, Any] = {  # keys typed loosely: matplotlib lists every one as a literal
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "effmed",  # otherwise the ids inside an SVG are random
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and is small
    "text.parse_math": False,  # a class may be called "$5"
}


@dataclass(frozen=True)
class Plot:
    """One picture.

    Attributes:
        name: Of its files.
        section: Part of the page where it stands.
        caption: What it shows, in words: the alternative text.
        is_wide: Whether it needs the width of the page.
        svg: The whole SVG file.
        png: The whole PNG file.
    """

    name: str
    section: str
    caption: str
    is_wide: bool
    svg: bytes
    png: bytes


def draw(name: str, section: str, caption: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> Plot:
    """Let ``paint`` fill a figure of so many inches and save it twice, laid out once."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A class name in letters that DejaVu lacks becomes boxes in the PNG; the page has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size)
        paint(figure)
        ConstrainedLayoutEngine().execute(figure)  # a figure that had one would be laid out and drawn twice per file
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Plot(name, section, caption, size[0] > PANEL_INCHES, svg.getvalue(), png.getvalue())


def inline_svg(plot: Plot) -> str:
    """Return the SVG element for a page that holds several: its ids made its own, its meaning in an aria-label."""
    text = plot.svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{plot.name}-', text)
    text = text.replace("url(#", f"url(#{plot.name}-").replace('href="#', f'href="#{plot.name}-')
    return text.replace("<svg ", f'<svg role="img" aria-labelledby="{plot.name}-caption" ', 1)


def columns_of(table: Table, **wanted: str) -> dict[str, list[float]]:
    """Return the number columns of the rows whose text columns have the wanted values."""
    place = {name: position for position, name in enumerate(table.columns)}
    rows = [row for row in table.rows if all(row[place[name]] == value for name, value in wanted.items())]
    names = [name for name in table.columns if name not in TEXT_COLUMNS]
    return {name: [_number(row[place[name]]) for row in rows] for name in names}


def _number(cell: str | float | None) -> float:
    return float("nan") if cell is None else float(cell)


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Make both axes run from 0 to 1, equally long, with these labels."""
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.grid(**GRID)
    axes.set_axisbelow(True)


def lines(axes: Axes, entries: Iterable[tuple[str, list[float], list[float]]], *, drawstyle: str = "default") -> None:
    """Draw a line per (label, x, y), which colour and dashes tell apart."""
    for number, (label, x, y) in enumerate(entries):
        colour, dashes = PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.7, label=label, drawstyle=drawstyle)


def legend(axes: Axes, n: int) -> None:
    """Place the legend inside for a few lines, else beside the plot."""
    if n > N_INSIDE:
        axes.set_anchor("W")  # a square in a wide figure leaves its room to the legend
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    else:
        axes.legend(loc="best")
