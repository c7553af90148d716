"""Numbers and names of a report as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effmed.evaluate.report import Metric, Report

MAX_NAME_LENGTH = 32
TAIL_LENGTH = 12  # of these, the characters that are the end of a longer name
DECIMALS = 3
RATIOS = ("lr_positive", "lr_negative")  # without an upper limit, so fewer decimals
SMALLEST_P = 0.001  # smaller ones are not printed in full: the approximation behind them does not reach so far
NOTHING = "–"


def short(name: str) -> str:
    """Return a class name that fits into a legend; of a long one both ends, since names often differ at the end."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[: MAX_NAME_LENGTH - TAIL_LENGTH - 1]}…{name[-TAIL_LENGTH:]}"


def is_binary(report: Report) -> bool:
    """Whether there are two classes, of which one is the event; two labels are not."""
    return report.data.task == "binary"


def judged(report: Report) -> list[str]:
    """Return the classes that stand against the rest: the positive one of two, else all classes or labels."""
    return report.data.classes[1:] if is_binary(report) else report.data.classes


def find_metric(report: Report, name: str, class_name: str | None, stage: str = "calibrated") -> Metric | None:
    """Return the metric over all images, or None where the report has none of this name."""
    for metric in report.metrics:
        if (metric.name, metric.class_name, metric.stage) == (name, class_name, stage) and metric.subgroup is None:
            return metric
    return None


def number_text(metric: Metric, number: float) -> str:
    """Return a number with the decimals of its metric; a rounded 0 has no sign."""
    return value_text(number, decimals=2 if metric.name in RATIOS else DECIMALS)


def value_text(value: float | None, *, decimals: int = DECIMALS) -> str:
    """Return a value with a true minus, a dash where there is none; a rounded 0 has no sign."""
    if value is None:
        return NOTHING
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def signed_text(value: float) -> str:
    """Return a difference with its sign."""
    text = value_text(value)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def p_text(p_value: float | None) -> str:
    """Return a p-value with three decimals, ``< 0.001``, or a dash where no test was made."""
    if p_value is None:
        return NOTHING
    return f"< {SMALLEST_P}" if p_value < SMALLEST_P else f"{p_value:.{DECIMALS}f}"


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


def cell_text(value: object) -> str:
    """Return a cell of a plain table: three decimals, counts with separators, a dash for nothing."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return value_text(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
