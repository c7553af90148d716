"""Answers about results: measures, intervals, values, subgroups, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.render.answers.parts import MAX_CLASSES, Answer, main_class, n_rows, subgroup_columns, values_text
from effmed.evaluate.render.text import find_metric, metric_text
from effmed.evaluate.render.words import CALIBRATION, DECISIONS, DISCRIMINATION, MAIN, word
from effmed.evaluate.report.cautions import count_text

if TYPE_CHECKING:
    from effmed.evaluate.report import Report

CHAPTERS = {"Discrimination": DISCRIMINATION, "Calibration": CALIBRATION, "Decisions": DECISIONS}
CURVES = {
    "roc_curve": "ROC",
    "pr_curve": "precision-recall",
    "calibration_curve": "calibration",
    "histogram": "histograms of the probabilities",
    "decision_curve": "decision curve",
}
UPDATED = ("slope", "citl", "brier", "log_loss")
RATES = ("sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "accuracy", "balanced_accuracy")
ERRORS = {"worst_false_positives": "false positive", "worst_false_negatives": "false negative"}
VARIATIONS = {  # tables of further analyses: what they vary, and where they stand
    "heterogeneity": ("clusters", "subgroups"),
    "policies": ("the reading of uncertain and blank labels", "images"),
    "prior_shift": ("the prevalence", "decisions"),
}


def measures(report: Report) -> Answer:
    """Name the measures and curves that the report holds."""
    held = {metric.name for metric in report.metrics}
    labels = {title: [word(name).label for name in names if name in held] for title, names in CHAPTERS.items()}
    said = [f"{title}: {'; '.join(found)}." for title, found in labels.items() if found]
    curves = [text for name, text in CURVES.items() if n_rows(report, name)]
    return Answer(" ".join(said) + (f" Curves: {', '.join(curves)}." if curves else ""), "discrimination")


def intervals(report: Report) -> Answer:
    """Name the unit of inference and the methods."""
    data = report.data
    methods = dict.fromkeys(metric.method.split(",")[0] for metric in report.metrics if metric.low is not None)
    band = " Calibration errors: null band." if any(metric.null_high is not None for metric in report.metrics) else ""
    unit = "images, taken as independent" if data.n_patients_evaluated is None else "patients"
    text = f"Two-sided 95 % intervals: {'; '.join(methods)}.{band} Unit of inference: {unit}. Bootstrap: "
    return Answer(f"{text}{data.bootstrap_replicates:,} replicates, seed {data.seed}.", "methods")


def accuracy(report: Report) -> Answer | None:
    """Say the main values; None where none has an interval."""
    about = main_class(report)
    text = values_text(report, MAIN, about)
    return Answer(f"{f'Class {about}' if about else 'All classes'}: {text}.", "discrimination") if text else None


def performance(report: Report) -> Answer | None:
    """Say the main values, and by which attributes they also stand."""
    main, columns = accuracy(report), subgroup_columns(report)
    if main is None or not columns:
        return main
    return Answer(f"{main.text} Also by {', '.join(columns)}.", main.anchor)


def rates(report: Report) -> Answer | None:
    """Say how often decisions were right; None without decisions."""
    about = main_class(report)
    text = values_text(report, RATES, about)
    if about is None:
        of_each = [(name, values_text(report, RATES[:2], name)) for name in report.data.classes[:MAX_CLASSES]]
        text = ". ".join([text, *(f"Class {name}: {values}" for name, values in of_each if values)])
    return Answer(f"{f'Class {about}' if about else 'All classes'}: {text}.", "decisions") if text else None


def crosstab(report: Report) -> Answer | None:
    """Say how often truth and decision met."""
    if not n_rows(report, "confusion"):
        return None
    rows = [[int(cell or 0) for cell in counts] for _, *counts in report.tables["confusion"].rows]
    n_right = sum(counts[number] for number, counts in enumerate(rows))
    text = f"Truth by decision: {n_right:,} of {count_text(sum(map(sum, rows)), 'image')} decided rightly"
    if len(rows) == 2:
        (tn, fp), (fn, tp) = rows
        text += f" (true positives {tp:,}, false positives {fp:,}, false negatives {fn:,}, true negatives {tn:,})"
    return Answer(f"{text}.", "decisions")


def updated(report: Report) -> Answer | None:
    """Say what calibration changed; None where it changed nothing."""
    about, said = main_class(report), []
    for name in UPDATED:
        raw, after = (find_metric(report, name, about, stage) for stage in ("raw", "calibrated"))
        if raw is None or after is None or None in (raw.value, after.value) or raw.value == after.value:
            continue
        said.append(f"{word(name).label} {metric_text(raw)} before, {metric_text(after)} after")
    return Answer(f"Calibration changed: {'; '.join(said)}.", "calibration") if said else None


def heterogeneity(report: Report) -> Answer | None:
    """Say that differences between clusters were measured."""
    if not n_rows(report, "heterogeneity"):
        return None
    return Answer("Differences of performance between clusters are measured and tabulated.", "subgroups")


def subgroups(report: Report) -> Answer | None:
    """Say for how many subgroups results stand apart."""
    columns = subgroup_columns(report)
    if not columns:
        return None
    held = [each.subgroup for each in report.metrics if each.subgroup is not None and each.value is not None]
    n = len({(each.column, each.value) for each in held})
    text = f"Performance stands apart for {count_text(n, 'subgroup')}, by {', '.join(columns)}."
    return Answer(text, "subgroups")


def errors(report: Report) -> Answer | None:
    """Say how many of the worst errors are listed."""
    listed = [count_text(n, text) for name, text in ERRORS.items() if (n := n_rows(report, name))]
    return Answer(f"The worst errors are listed: {', '.join(listed)}.", "errors") if listed else None


def fairness(report: Report) -> Answer | None:
    """Say what was examined of errors and of subgroups."""
    found = [answer for answer in (subgroups(report), errors(report)) if answer is not None]
    return Answer(" ".join(answer.text for answer in found), found[0].anchor) if found else None


def variability(report: Report) -> Answer | None:
    """Say what was varied to see how far the results hold."""
    columns = subgroup_columns(report)
    varied = [(f"the subgroup ({', '.join(columns)})", "subgroups")] if columns else []
    varied += [variation for name, variation in VARIATIONS.items() if n_rows(report, name)]
    if not varied:
        return None
    return Answer(f"Performance was examined over {', '.join(text for text, _ in varied)}.", varied[0][1])


def limits(report: Report) -> Answer | None:
    """Say what the report itself warns of."""
    warnings = report.data.warnings
    return Answer(f"The report warns: {' '.join(warnings)}", "warnings") if warnings else None
