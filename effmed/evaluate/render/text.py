"""Numbers and names of a report as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effmed.evaluate.report import Metric, Report

MAX_NAME_LENGTH = 32
DECIMALS = 3
RATIOS = ("lr_positive", "lr_negative")  # without an upper limit, so fewer decimals


def short(name: str) -> str:
    """Return a class name that fits into a legend."""
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"


def find_metric(report: Report, name: str, class_name: str | None, stage: str = "calibrated") -> Metric | None:
    """Return the metric over all images, or None where the report has none of this name."""
    for metric in report.metrics:
        if (metric.name, metric.class_name, metric.stage) == (name, class_name, stage) and metric.subgroup is None:
            return metric
    return None


def number_text(metric: Metric, number: float) -> str:
    """Return a number with the decimals of its metric; a rounded 0 has no sign."""
    text = f"{number:.{2 if metric.name in RATIOS else DECIMALS}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def metric_text(metric: Metric, *, limits: bool = True) -> str:
    """Return value and interval, such as ``0.871 (0.802 to 0.923)``, or that there is none."""
    if metric.value is None:
        return "suppressed" if metric.status == "suppressed" else "not estimable"
    value, interval = number_text(metric, metric.value), limits_text(metric)
    return f"{value} ({interval})" if limits and interval else value


def limits_text(metric: Metric) -> str:
    """Return the interval, such as ``0.802 to 0.923``, or the empty text."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{number_text(metric, metric.low)} to {number_text(metric, metric.high)}"


def interval_text(report: Report, name: str, class_name: str | None, *, limits: bool = True) -> str:
    """Return a metric of the report as text; an unknown one is not reported."""
    metric = find_metric(report, name, class_name)
    return "not reported" if metric is None else metric_text(metric, limits=limits)
