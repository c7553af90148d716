"""Answers about images and patients: how many, from which split, which were left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.render.answers.parts import (
    EXTERNAL,
    RUN_TEST,
    Answer,
    evaluated_text,
    fact,
    is_of_network,
    left_out_text,
    n_rows,
    patients_per_split,
    per_class_text,
    subgroup_columns,
)
from effmed.evaluate.report.cautions import count_text

if TYPE_CHECKING:
    from effmed.evaluate.report import Report

DEVELOPED_ON = ("training images", "validation images")
POLICIES = "uncertain and blank labels were read as stated there, and in other ways beside it"
STRANGERS = "patients with ids of the training or validation patients"


def sizes(report: Report) -> Answer:
    """Say how many images, patients and events the analyses rest on."""
    data = report.data
    said = [f"Evaluated: {evaluated_text(report)} ({per_class_text(report)})."]
    said += [f"{name.capitalize()}: {data.facts[name]}." for name in DEVELOPED_ON if name in data.facts]
    said += [
        f"Threshold chosen on {count_text(point.n, 'image')}, {point.n_events:,} of class {point.class_name}."
        for point in data.operating_points
        if point.n
    ]
    if data.calibrator.method != "none":
        said.append(f"Calibrator fitted on {count_text(data.calibrator.n, 'image')}.")
    return Answer(" ".join(said), "images")


def flow(report: Report) -> Answer | None:
    """Say how many images each step left."""
    if not n_rows(report, "flow"):
        return None
    steps = "; ".join(f"{step} {images:,}" for step, images, *_ in report.tables["flow"].rows)
    n_patients = report.data.n_patients_evaluated
    patients = "" if n_patients is None else f", of {count_text(n_patients, 'patient')}"
    return Answer(f"Images: {steps}{patients}. Evaluated by class: {per_class_text(report)}.", "images")


def missing(report: Report) -> Answer:
    """Say what happened to images without a result or a truth."""
    if n_rows(report, "policies"):
        return Answer(f"Images without a probability were left out ({left_out_text(report)}); {POLICIES}.", "images")
    text = f"Nothing was guessed: images without a probability or a truth were left out ({left_out_text(report)})."
    return Answer(text, "images")


def indeterminate(report: Report) -> Answer:
    """Say what happened to images that have no clear result or truth."""
    if n_rows(report, "policies"):
        return Answer(f"Images without a result were left out ({left_out_text(report)}); {POLICIES}.", "images")
    text = f"Images without a result or of unknown truth were left out of every number ({left_out_text(report)})."
    return Answer(text, "images")


def poor_input(report: Report) -> Answer | None:
    """Say what the program does with images that it cannot use; another program's ways are not known."""
    if not is_of_network(report):
        return None
    data = report.data
    text = "An image that cannot be read, or is refused, gets no probability but a reason"
    return Answer(f"{text}; here {data.n_unreadable:,} unreadable and {data.n_refused:,} refused.", "images")


def partitions(report: Report) -> Answer | None:
    """Say which images trained, tuned and tested the network."""
    facts = report.data.facts
    if not set(DEVELOPED_ON) <= facts.keys():
        return None
    train, val = (facts[name] for name in DEVELOPED_ON)
    patients = patients_per_split(report)
    several = f" ({facts['ensemble']})" if "ensemble" in facts else ""
    text = f"Trained on {train} images, tuned on {val}{several}, evaluated on "
    text += f"{evaluated_text(report)} ({report.data.split})."
    return Answer(f"{text} Patients of the run: {patients}." if patients else text, "network")


def disjoint(report: Report) -> Answer | None:
    """Say whether patients that trained or tuned the network are among the evaluated; None where nobody can tell."""
    patients = patients_per_split(report)
    if not patients:
        return None
    if report.data.split == RUN_TEST:
        return Answer(f"By patient id: none is in two splits of the run ({patients}).", "network")
    known = report.data.facts.get(STRANGERS, "")
    if not known.isdecimal():
        return None
    return Answer(f"By patient id: {known} of the patients have the id of a training or validation patient.", "network")


def internal(report: Report) -> Answer | None:
    """Say that the run's own test split was evaluated."""
    if report.data.split != RUN_TEST or not is_of_network(report):
        return None
    return Answer(f"Evaluated on the run's own test split: {evaluated_text(report)}.", "images")


def external(report: Report) -> Answer | None:
    """Say that other images than the run's were evaluated."""
    if not report.data.split.startswith(EXTERNAL):
        return None
    return Answer(
        f"Evaluated on other images than the run's ({report.data.split}): {evaluated_text(report)}.", "images"
    )


def quality(report: Report) -> Answer | None:
    """Say what the audit of the data found."""
    return fact(report, "audit of the data")


def characteristics(report: Report) -> Answer | None:
    """Say by which attributes the evaluated images are counted."""
    columns = subgroup_columns(report)
    if not n_rows(report, "subgroups") or not columns:
        return None
    text = (
        f"The evaluated images by {', '.join(columns)}, with patients and events; by class: {per_class_text(report)}."
    )
    return Answer(text, "subgroups")


def prevalence(report: Report) -> Answer | None:
    """Say the prevalence here, where the report also holds results for the one where the network will be used."""
    if not n_rows(report, "prior_shift"):
        return None
    data = report.data
    shares = ", ".join(f"{name} {n / data.n_evaluated:.1%}" for name, n in data.images_per_class.items())
    return Answer(f"Prevalence here: {shares}. Results for another prevalence stand beside it.", "decisions")
