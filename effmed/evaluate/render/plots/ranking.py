"""How well images of a class are ranked above others: ROC and precision-recall curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.render.plots.drawing import (
    GREY,
    N_INSIDE,
    PANEL_INCHES,
    WIDE_INCHES,
    Plot,
    columns_of,
    draw,
    legend,
    lines,
    unit_square,
)
from effmed.evaluate.render.text import interval_text, is_binary, judged, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from effmed.evaluate.report import Report

Entry = tuple[str, list[float], list[float]]


def roc(report: Report) -> Plot | None:
    """Draw a ROC curve per class or label; None where no class has one."""
    entries = _labelled(report, "roc_curve", ("auroc", "AUROC"), ("false_positive_rate", "sensitivity"))
    if not entries:
        return None
    point = _point(report)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="chance")
        lines(axes, entries)
        if point is not None:
            axes.plot(1 - point[1], point[0], "o", color="black", markersize=6, label="operating point")
        unit_square(axes, "1 − specificity", "sensitivity")
        legend(axes, len(entries) + 1)

    caption = f"ROC curve: sensitivity against 1 − specificity at every threshold. {'; '.join(e[0] for e in entries)}."
    if point is not None:
        caption += f" The dot is the operating point: sensitivity {point[0]:.2f}, specificity {point[1]:.2f}."
    return draw("roc", "discrimination", caption, _size(len(entries)), paint)


def precision_recall(report: Report) -> Plot | None:
    """Draw a precision-recall curve per class or label; None where no class has one."""
    entries = _labelled(report, "pr_curve", ("average_precision", "AP"), ("sensitivity", "ppv"))
    if not entries:
        return None
    data = report.data
    prevalence = data.images_per_class[judged(report)[0]] / data.n_evaluated if is_binary(report) else None

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if prevalence is not None:
            axes.axhline(prevalence, color=GREY, linestyle=":", linewidth=1, label=f"prevalence {prevalence:.2f}")
        lines(axes, entries, drawstyle="steps-pre")
        unit_square(axes, "sensitivity (recall)", "PPV (precision)")
        legend(axes, len(entries) + 1)

    caption = f"Precision-recall curve: PPV against sensitivity. {'; '.join(e[0] for e in entries)}."
    if prevalence is not None:
        caption += f" A network that knows nothing has the PPV of the dotted line, the prevalence {prevalence:.2f}."
    return draw("precision-recall", "discrimination", caption, _size(len(entries)), paint)


def _labelled(report: Report, table: str, metric: tuple[str, str], axes: tuple[str, str]) -> list[Entry]:
    """Return the curve of every class that has one, with its metric (name and word) in the label."""
    name_of_metric, word = metric
    entries = []
    for name in judged(report):
        points = columns_of(report.tables[table], **{"class": name})
        if points[axes[0]]:
            label = f"{word} {interval_text(report, name_of_metric, name)}"
            if not is_binary(report):
                label = f"{word} {interval_text(report, name_of_metric, name, limits=False)}: {short(name)}"
            entries.append((label, points[axes[0]], points[axes[1]]))
    return entries


def _size(n: int) -> tuple[float, float]:
    """Leave room for the legend of ``n`` curves and a reference beside the plot, where it does not fit inside."""
    return (PANEL_INCHES if n < N_INSIDE else WIDE_INCHES), PANEL_INCHES


def _point(report: Report) -> tuple[float, float] | None:
    """Return sensitivity and specificity of the decisions between two classes."""
    if not is_binary(report):
        return None
    values = {each.name: each.value for each in report.metrics if each.stage == "calibrated" and each.subgroup is None}
    sensitivity, specificity = values.get("sensitivity"), values.get("specificity")
    return None if sensitivity is None or specificity is None else (sensitivity, specificity)
