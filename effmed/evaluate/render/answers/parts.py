"""What the answers are made of: counts, classes and metrics of a report in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effmed.evaluate.render.text import find_metric, is_binary, metric_text
from effmed.evaluate.render.words import word
from effmed.evaluate.report.cautions import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from effmed.evaluate.report import Report

RUN_TEST = "test"  # split of a run that neither weights, calibrator nor threshold were chosen on
EXTERNAL = "external"  # how the name of other images than the run's begins
MAX_CLASSES = 8  # whose counts stand in a sentence; the section's table holds the others
DIGEST_DIGITS = 12  # of a SHA-256 in a sentence; the section holds it whole


@dataclass(frozen=True)
class Answer:
    """What a report says about an item.

    Attributes:
        text: One or a few sentences.
        anchor: Id of the place on the page where it stands.
    """

    text: str
    anchor: str


def is_of_network(report: Report) -> bool:
    """Whether the report knows the network behind the predictions; another program's table has none."""
    return "network" in report.data.facts


def fact(report: Report, name: str, after: str = "") -> Answer | None:
    """Return a fact with its name, and a text after it; None where the report does not hold it."""
    value = report.data.facts.get(name)
    return Answer(f"{name[0].upper()}{name[1:]}: {value.rstrip('.')}.{after}", "network") if value else None


def weights_text(report: Report) -> str:
    """Return the beginning of the SHA-256 of the weights; empty where it is not known."""
    digest = report.data.facts.get("weights SHA-256", "")
    return f"{digest[:DIGEST_DIGITS]}…" if digest else ""


def evaluated_text(report: Report) -> str:
    """Return how many images, of how many patients, every metric rests on."""
    data = report.data
    patients = "" if data.n_patients_evaluated is None else f" of {count_text(data.n_patients_evaluated, 'patient')}"
    return f"{count_text(data.n_evaluated, 'image')}{patients}"


def per_class_text(report: Report) -> str:
    """Return the images of each class, or of the commonest of many."""
    counts = sorted(report.data.images_per_class.items(), key=lambda each: -each[1])
    more = len(counts) - MAX_CLASSES
    said = ", ".join(f"{name} {n:,}" for name, n in counts[:MAX_CLASSES])
    return said if more <= 0 else f"{said}, and {more} further classes"


def left_out_text(report: Report) -> str:
    """Return how many images were left out, by reason."""
    data = report.data
    return f"{data.n_unreadable:,} unreadable, {data.n_refused:,} refused, {data.n_without_truth:,} of unknown truth"


def patients_per_split(report: Report) -> str:
    """Return the patients of each split; empty where they, or some, are not known."""
    text = report.data.facts.get("patients", "")
    counts = [int(each) for each in re.findall(r"(\d+)(?=,|$)", text)]
    return text if counts and all(counts) and report.data.n_patients_evaluated is not None else ""


def calibrator_text(report: Report) -> str:
    """Return what made the calibrated probabilities, and on which images it was fitted."""
    calibrator = report.data.calibrator
    if calibrator.method == "none":
        return f"No calibrator was applied{': ' + calibrator.reason if calibrator.reason else ''}."
    basis = f"{count_text(calibrator.n, 'image')}, {calibrator.n_events:,} of the rarest class"
    return f"Calibrated by {calibrator.method}, fitted on {calibrator.fitted_on} ({basis})."


def main_class(report: Report) -> str | None:
    """Return the positive of two classes; None, which means all together, for more."""
    return report.data.classes[1] if is_binary(report) else None


def values_text(report: Report, names: Iterable[str], about: str | None) -> str:
    """Return the metrics with their 95 % intervals; empty unless at least one has an interval."""
    found = [metric for name in names if (metric := find_metric(report, name, about)) is not None]
    found += [metric for name in names if about is not None and (metric := find_metric(report, name, None)) is not None]
    if not any(metric.low is not None for metric in found):
        return ""
    return "; ".join(f"{word(metric.name).label} {metric_text(metric)}" for metric in found if metric.value is not None)


def subgroup_columns(report: Report) -> list[str]:
    """Return the attributes by whose values the report holds results."""
    columns = [each.subgroup.column for each in report.metrics if each.subgroup is not None and each.value is not None]
    return list(dict.fromkeys(columns))


def n_rows(report: Report, name: str) -> int:
    """Return the rows of a table; 0 where the report lacks it."""
    return len(report.tables[name].rows) if name in report.tables else 0
