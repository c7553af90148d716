"""Whether probabilities mean what they say: reliability diagrams and histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from effmed.evaluate.render.plots.drawing import (
    BAND_OPACITY,
    GREY,
    LOW_INCHES,
    PALETTE,
    PANEL_INCHES,
    Plot,
    columns_of,
    draw,
    unit_square,
)
from effmed.evaluate.render.text import interval_text, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from effmed.evaluate.report import Report


def reliability(report: Report, class_name: str, number: int) -> Plot:
    """Draw observed shares against probabilities of a class, before and after calibration."""
    groups = report.tables["calibration_groups"]
    place = groups.columns.index("stage")
    stages = [stage for stage in ("raw", "calibrated") if any(row[place] == stage for row in groups.rows)]
    titles = {"raw": "before calibration", "calibrated": "after calibration" if "raw" in stages else "as evaluated"}

    def paint(figure: Figure) -> None:
        for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
            _panel(axes, report, class_name, stage)
            axes.set_title(titles[stage], fontsize=9)

    caption = (
        f"Reliability diagram for {short(class_name)}, {' and '.join(titles[stage] for stage in stages)}: share of "
        "images that are of the class against its probability. Dots are tenths of the images with 95 % intervals, "
        "the line is the flexible calibration curve with its 95 % band where one can be fitted; the dotted diagonal "
        f"is perfect calibration. Calibrated: slope {interval_text(report, 'slope', class_name)}, "
        f"calibration in the large {interval_text(report, 'citl', class_name)}."
    )
    size = (PANEL_INCHES * len(stages), PANEL_INCHES)
    return draw(f"calibration-{number}", "calibration", caption, size, paint)


def _panel(axes: Axes, report: Report, class_name: str, stage: str) -> None:
    wanted = {"class": class_name, "stage": stage}
    points = columns_of(report.tables["calibration_groups"], **wanted)
    curve = columns_of(report.tables["calibration_curve"], **wanted)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    if curve["predicted"]:
        axes.fill_between(curve["predicted"], curve["low"], curve["high"], color=PALETTE[0], alpha=BAND_OPACITY, lw=0)
        axes.plot(curve["predicted"], curve["observed"], color=PALETTE[0], linewidth=1.7)
    axes.vlines(points["predicted"], points["low"], points["high"], color=PALETTE[1], linewidth=1)
    axes.plot(points["predicted"], points["observed"], "o", color=PALETTE[1], markersize=4)
    unit_square(axes, f"probability of {short(class_name)}", "observed share")


def histogram(report: Report, class_name: str, number: int) -> Plot:
    """Draw how the probabilities of a class are spread, apart for images of it and others."""
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
    return draw(f"histogram-{number}", "calibration", caption, (PANEL_INCHES * 2, LOW_INCHES), paint)
