"""What a report holds, as closed models: ``report.json`` is exactly this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from effmed.evaluate.calibrators import Calibrator
from effmed.evaluate.decisions import OperatingPoint, Referral, SetRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.predictions import Predictions

Level = Literal["image", "study", "patient"]
Stage = Literal["raw", "calibrated"]
Status = Literal["ok", "not_estimable", "suppressed"]


class Section(BaseModel):
    """A closed, frozen part of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Subgroup(Section):
    """The images whose attribute has one value."""

    column: str
    value: str


class Metric(Section):
    """One number with its 95 % interval, or the reason why there is none.

    Attributes:
        name: Such as ``auroc``.
        class_name: Class against the rest; None for a number about all classes. ``class`` in JSON.
        level: What is counted.
        stage: Whether the network's own or the calibrated probabilities are judged.
        subgroup: None for all images.
        value: None unless the status is ok.
        low: Lower limit; None where there is no interval.
        high: Upper limit; None where there is no interval.
        null_mean: Of a calibration error: its mean were the network perfectly calibrated; else None.
        null_high: Of a calibration error: what a perfectly calibrated network exceeds in 5 % of draws; else None.
        method: How the interval was made.
        unit: What was taken as independent.
        n: Images.
        n_events: Events among them.
        n_patients: Patients; None where images were taken as independent.
        status: ``not_estimable`` and ``suppressed`` have no value.
        reason: Why value or interval is missing, or what to beware of.
    """

    name: str
    class_name: str | None = Field(alias="class")
    level: Level = "image"
    stage: Stage
    subgroup: Subgroup | None = None
    value: float | None
    low: float | None
    high: float | None
    null_mean: float | None = None
    null_high: float | None = None
    method: str
    unit: Literal["image", "patient"]
    n: int
    n_events: int
    n_patients: int | None
    status: Status
    reason: str


class Table(Section):
    """A table: column names, and rows of as many cells; None where a cell is empty."""

    columns: list[str]
    rows: list[list[int | float | str | None]]


class ReportData(Section):
    """What was evaluated, and what stands before the numbers.

    Attributes:
        summary: The main result as one sentence.
        warnings: What to know before believing the numbers, one sentence each.
        variant: Of the network.
        split: Which images.
        level: What one prediction is about.
        level_rule: How the images of a study or patient became one prediction; empty for images.
        classes: In the order of the outputs; two classes are (negative, positive).
        task: Two classes, more of which one is true, or several labels that do not exclude each other.
        n_images: Rows of the predictions table.
        n_patients: Patients among them; None where none is known.
        n_unreadable: Rows that could not be read.
        n_refused: Rows that were refused.
        n_without_truth: Readable rows whose truth is not known.
        n_evaluated: The rest: what every metric rests on.
        n_patients_evaluated: Patients among those; None where none is known.
        images_per_class: Of the evaluated.
        digest: SHA-256 of the predictions table.
        bootstrap_replicates: Of every bootstrap interval.
        seed: Of bootstrap and null bands.
        calibrator: What made the calibrated probabilities.
        operating_points: Where probabilities became decisions; empty for more than two classes.
        sets: What made prediction sets; None without.
        referral: Below which certainty images are referred to a person; None without.
        policies: What uncertain and blank labels counted as; empty where labels exclude each other.
        facts: What else is known about the network, for the reader.
    """

    summary: str
    warnings: list[str]
    variant: str
    split: str
    level: Level
    level_rule: str
    classes: list[str]
    task: Literal["binary", "multiclass", "multilabel"]
    n_images: int
    n_patients: int | None
    n_unreadable: int
    n_refused: int
    n_without_truth: int
    n_evaluated: int
    n_patients_evaluated: int | None
    images_per_class: dict[str, int]
    digest: str
    bootstrap_replicates: int
    seed: int
    calibrator: Calibrator
    operating_points: list[OperatingPoint]
    sets: SetRule | None = None
    referral: Referral | None = None
    policies: dict[str, str]
    facts: dict[str, str]


class Report(Section):
    """Everything about one predictions table.

    Attributes:
        version: Of this format.
        run: Which run or table.
        data: What was evaluated.
        metrics: Every number.
        tables: What the plots show, and counts.
    """

    version: Literal[1] = 1
    run: str
    data: ReportData
    metrics: list[Metric]
    tables: dict[str, Table]


@dataclass(frozen=True)
class FlowStep:
    """What became of images and patients before the predictions table was made.

    Attributes:
        name: Of the step, such as ``in the data`` or ``training``.
        n_images: Images.
        n_patients: Patients; None where none is known.
    """

    name: str
    n_images: int
    n_patients: int | None


@dataclass(frozen=True)
class ReportContext:
    """What the predictions table itself does not say.

    Attributes:
        run: Name of the run or table.
        variant: Of the network.
        split: Which images these are.
        calibrator: What made the table's probabilities from its logits; method ``none`` takes them as they are.
        operating_points: At most one, or one per label; without it the table's own decisions are judged, where it has
            any.
        facts: Shown in the report.
        sets: What makes prediction sets; None for none.
        referral: Below which certainty images are referred; None where nothing is.
        level: What one prediction is about.
        level_rule: How the images of a study or patient became one prediction; empty for images.
        flow: What happened before the table was made.
        cautions: What else a reader must know before believing the numbers, one sentence each.
        val: Predictions on the images that calibrated the network, for estimates of the prevalence; None if unknown.
    """

    run: str
    variant: str
    split: str
    calibrator: Calibrator
    operating_points: tuple[OperatingPoint, ...]
    facts: Mapping[str, str]
    sets: SetRule | None = None
    referral: Referral | None = None
    level: Level = "image"
    level_rule: str = ""
    flow: tuple[FlowStep, ...] = ()
    cautions: tuple[str, ...] = ()
    val: Predictions | None = None
