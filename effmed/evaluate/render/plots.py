"""Report → plots: drawn from the report's tables alone, the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from effmed.evaluate.render.text import interval_text, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matplotlib.axes import Axes

    from effmed.evaluate.report import Report, Table

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito, no yellow
DASHES = ("-", "--", "-.", ":")  # a second way to tell lines apart
GREY = "#595959"  # contrast 7:1 on white
BAND_OPACITY = 0.18
PANEL_INCHES = 4.2
WIDE_INCHES = 7.6
LOW_INCHES = 3.2
PNG_DPI = 150
MAX_CLASSES = 8  # drawn one by one; the tables hold the others
HEADROOM = 1.15  # above the highest net benefit
LEAST_BENEFIT = 0.02  # so that a curve around 0 is no line at the top
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


def make_plots(report: Report) -> list[Plot]:
    """Draw everything that the report's tables can show."""
    plots = [_roc(report), _precision_recall(report)]
    for number, name in enumerate(judged(report)[:MAX_CLASSES], start=1):
        plots += [_calibration(report, name, number), _histogram(report, name, number)]
        if len(report.data.classes) == 2:
            plots.append(_decision_curve(report, name))
    return [plot for plot in plots if plot is not None]


def judged(report: Report) -> list[str]:
    """Return the classes that stand against the rest: the positive one of two, else all."""
    return report.data.classes[1:] if len(report.data.classes) == 2 else report.data.classes


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
    names = [name for name in table.columns if name not in ("class", "stage", "outcome")]
    return {name: [_number(row[place[name]]) for row in rows] for name in names}


def _number(cell: str | float | None) -> float:
    return float("nan") if cell is None else float(cell)


def _draw(name: str, section: str, caption: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> Plot:
    """Let ``paint`` fill a figure and save it twice."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A class name in letters that DejaVu lacks becomes boxes in the PNG; the page has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Plot(name, section, caption, size[0] > PANEL_INCHES, svg.getvalue(), png.getvalue())


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _lines(axes: Axes, entries: Iterable[tuple[str, list[float], list[float]]], *, drawstyle: str = "default") -> None:
    for number, (label, x, y) in enumerate(entries):
        colour, dashes = PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.7, label=label, drawstyle=drawstyle)


def _legend(axes: Axes, n: int) -> None:
    """Place the legend inside for a few lines, else beside the plot."""
    if n > 3:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    else:
        axes.legend(loc="best")


def _labelled(
    report: Report, table: str, metric: str, word: str, axes: tuple[str, str]
) -> list[tuple[str, list[float], list[float]]]:
    entries = []
    for name in judged(report):
        points = columns_of(report.tables[table], **{"class": name})
        if points[axes[0]]:
            label = f"{word} {interval_text(report, metric, name)}"
            if len(report.data.classes) > 2:
                label = f"{word} {interval_text(report, metric, name, limits=False)}: {short(name)}"
            entries.append((label, points[axes[0]], points[axes[1]]))
    return entries


def _curve_size(n: int) -> tuple[float, float]:
    return (PANEL_INCHES if n <= 3 else WIDE_INCHES), PANEL_INCHES


def _roc(report: Report) -> Plot | None:
    entries = _labelled(report, "roc_curve", "auroc", "AUROC", ("false_positive_rate", "sensitivity"))
    if not entries:
        return None
    point = _point(report)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="chance")
        _lines(axes, entries)
        if point is not None:
            axes.plot(1 - point[1], point[0], "o", color="black", markersize=6, label="operating point")
        _unit_square(axes, "1 − specificity", "sensitivity")
        _legend(axes, len(entries) + 1)

    caption = f"ROC curve: sensitivity against 1 − specificity at every threshold. {'; '.join(e[0] for e in entries)}."
    if point is not None:
        caption += f" The dot is the operating point: sensitivity {point[0]:.2f}, specificity {point[1]:.2f}."
    return _draw("roc", "discrimination", caption, _curve_size(len(entries)), paint)


def _point(report: Report) -> tuple[float, float] | None:
    """Return sensitivity and specificity of the decisions between two classes."""
    if len(report.data.classes) > 2:
        return None
    values = {each.name: each.value for each in report.metrics if each.stage == "calibrated" and each.subgroup is None}
    sensitivity, specificity = values.get("sensitivity"), values.get("specificity")
    return None if sensitivity is None or specificity is None else (sensitivity, specificity)


def _precision_recall(report: Report) -> Plot | None:
    entries = _labelled(report, "pr_curve", "average_precision", "AP", ("sensitivity", "ppv"))
    if not entries:
        return None
    data = report.data
    prevalence = data.images_per_class[judged(report)[0]] / data.n_evaluated if len(data.classes) == 2 else None

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if prevalence is not None:
            axes.axhline(prevalence, color=GREY, linestyle=":", linewidth=1, label=f"prevalence {prevalence:.2f}")
        _lines(axes, entries, drawstyle="steps-pre")
        _unit_square(axes, "sensitivity (recall)", "PPV (precision)")
        _legend(axes, len(entries) + 1)

    caption = f"Precision-recall curve: PPV against sensitivity. {'; '.join(e[0] for e in entries)}."
    if prevalence is not None:
        caption += f" A network that knows nothing has the PPV of the dotted line, the prevalence {prevalence:.2f}."
    return _draw("precision-recall", "discrimination", caption, _curve_size(len(entries)), paint)


def _calibration(report: Report, class_name: str, number: int) -> Plot | None:
    groups = report.tables["calibration_groups"]
    place = groups.columns.index("stage")
    stages = [stage for stage in ("raw", "calibrated") if any(row[place] == stage for row in groups.rows)]
    titles = {"raw": "before calibration", "calibrated": "after calibration" if "raw" in stages else "as evaluated"}

    def paint(figure: Figure) -> None:
        for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
            _reliability(axes, report, class_name, stage)
            axes.set_title(titles[stage], fontsize=9)

    caption = (
        f"Reliability diagram for {short(class_name)}, {' and '.join(titles[stage] for stage in stages)}: share of "
        "images that are of the class against its probability. Dots are tenths of the images with 95 % intervals, "
        "the line is the flexible calibration curve with its 95 % band where one can be fitted; the dotted diagonal "
        f"is perfect calibration. Calibrated: slope {interval_text(report, 'slope', class_name)}, "
        f"calibration in the large {interval_text(report, 'citl', class_name)}."
    )
    size = (PANEL_INCHES * len(stages), PANEL_INCHES)
    return _draw(f"calibration-{number}", "calibration", caption, size, paint)


def _reliability(axes: Axes, report: Report, class_name: str, stage: str) -> None:
    wanted = {"class": class_name, "stage": stage}
    points = columns_of(report.tables["calibration_groups"], **wanted)
    curve = columns_of(report.tables["calibration_curve"], **wanted)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    if curve["predicted"]:
        axes.fill_between(curve["predicted"], curve["low"], curve["high"], color=PALETTE[0], alpha=BAND_OPACITY, lw=0)
        axes.plot(curve["predicted"], curve["observed"], color=PALETTE[0], linewidth=1.7)
    axes.vlines(points["predicted"], points["low"], points["high"], color=PALETTE[1], linewidth=1)
    axes.plot(points["predicted"], points["observed"], "o", color=PALETTE[1], markersize=4)
    _unit_square(axes, f"probability of {short(class_name)}", "observed share")


def _histogram(report: Report, class_name: str, number: int) -> Plot:
    table = report.tables["histogram"]
    yes = columns_of(table, **{"class": class_name, "outcome": "this class"})
    no = columns_of(table, **{"class": class_name, "outcome": "other class"})
    threshold = next(
        (point.threshold for point in report.data.operating_points if point.class_name == class_name), None
    )

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, bins, colour, label in (
            (upper, yes, PALETTE[1], f"of class {short(class_name)}"),
            (lower, no, PALETTE[0], "of another class"),
        ):
            width = [high - low for low, high in zip(bins["low"], bins["high"], strict=True)]
            axes.bar(bins["low"], bins["images"], width, align="edge", color=colour, edgecolor="white", linewidth=0.5)
            axes.set_ylabel("images")
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            axes.set_title(f"{sum(bins['images']):.0f} images {label}", fontsize=9, loc="left")
            if threshold is not None:
                axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        lower.set(xlabel=f"probability of {short(class_name)}, calibrated", xlim=(0, 1))

    caption = (
        f"Calibrated probabilities of {short(class_name)} among {sum(yes['images']):.0f} images of the class (above) "
        f"and {sum(no['images']):.0f} others (below)."
    )
    if threshold is not None:
        caption += f" The dashed line is the threshold {threshold:.3f}."
    return _draw(f"histogram-{number}", "calibration", caption, (PANEL_INCHES * 2, LOW_INCHES), paint)


def _decision_curve(report: Report, class_name: str) -> Plot | None:
    curve = columns_of(report.tables["decision_curve"], **{"class": class_name})
    if not curve["threshold"] or report.data.images_per_class[class_name] == 0:
        return None
    top = max(LEAST_BENEFIT, *curve["net_benefit"], *curve["treat_all"]) * HEADROOM

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=GREY, linewidth=1, label="call no image positive")
        axes.plot(
            curve["threshold"], curve["treat_all"], color=PALETTE[1], linestyle="--", label="call every image positive"
        )
        axes.fill_between(curve["threshold"], curve["low"], curve["high"], color=PALETTE[0], alpha=BAND_OPACITY, lw=0)
        axes.plot(curve["threshold"], curve["net_benefit"], color=PALETTE[0], linewidth=1.7, label="network")
        axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-top / 4, top))
        axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
        axes.legend(loc="upper right")

    caption = (
        f"Decision curve for {short(class_name)}: net benefit over threshold probabilities, with its 95 % band. The "
        "network is worth using where its line lies above both others, at thresholds that make clinical sense."
    )
    return _draw("decision-curve", "decisions", caption, (PANEL_INCHES * 2, LOW_INCHES), paint)
