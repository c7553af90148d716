"""Report → plots: drawn from the report's tables alone, the same bytes every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.render.plots.calibration import histogram, reliability
from effmed.evaluate.render.plots.decisions import decision_curve, risk_coverage
from effmed.evaluate.render.plots.drawing import Plot, columns_of, inline_svg
from effmed.evaluate.render.plots.groups import forest
from effmed.evaluate.render.plots.ranking import precision_recall, roc
from effmed.evaluate.render.text import judged

if TYPE_CHECKING:
    from effmed.evaluate.report import Report

__all__ = ["MAX_CLASSES", "Plot", "columns_of", "inline_svg", "make_plots"]

MAX_CLASSES = 8  # drawn one by one; the tables hold the others


def make_plots(report: Report) -> list[Plot]:
    """Draw everything that the report's tables can show; of mere scores, how they rank."""
    plots = [roc(report), precision_recall(report)]
    if "histogram" in report.tables:
        for number, name in enumerate(judged(report)[:MAX_CLASSES], start=1):
            plots += [reliability(report, name, number), histogram(report, name, number)]
            if report.data.task != "multiclass":
                plots.append(decision_curve(report, name, number))
            plots.append(forest(report, name, number))
        plots.append(risk_coverage(report))
    return [plot for plot in plots if plot is not None]
