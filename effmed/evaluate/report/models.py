"""The report as closed models: what ``report.json`` holds and the page shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from effmed.evaluate.calibrators import Calibrator
from effmed.evaluate.decisions import OperatingPoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.calibration import AgainstNull
    from effmed.evaluate.intervals import Estimate

Cell: TypeAlias = str | int | float | None
Stage: TypeAlias = Literal["raw", "calibrated"]


class Subgroup(BaseModel):
    """The images with one value of an attribute."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    value: str


class Metric(BaseModel):
    """One number with its 95 % interval, or the reason why there is none.

    Attributes:
        name: Such as ``auroc``.
        class_name: ``class`` in JSON: the class against the rest; None for all classes together.
        level: What is counted.
        stage: Before (raw) or after calibration; ranks and decisions are those after it.
        subgroup: Which images; None for all.
        value: None where not estimable; never NaN or infinite.
        low: Lower limit; None where there is no interval.
        high: Upper limit; None where there is no interval.
        null_mean: Of a calibration error: its mean for a network that is perfectly calibrated; else None.
        null_high: 95 % quantile of the same.
        method: How the interval was made.
        unit: What varies independently of each other.
        n: Images that the value rests on.
        n_events: Images with the event among them.
        n_patients: Patients among them; None where images were treated as independent.
        status: ``not_estimable`` and ``suppressed`` have no value.
        reason: Why value or interval is missing, or what to beware of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    name: str
    class_name: str | None = Field(alias="class")
    level: Literal["image", "study", "patient"] = "image"
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
    status: Literal["ok", "not_estimable", "suppressed"]
    reason: str


class Table(BaseModel):
    """Rows of cells below named columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows as mappings from column to cell."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class ReportData(BaseModel):
    """Which images and which network the numbers are about; holds no patient id and no path.

    Attributes:
        variant: Of the network.
        split: Which images were evaluated.
        classes: In the order of the outputs; two classes are (negative, positive).
        n_images: Rows of the predictions table.
        n_unreadable: Of them, not decoded.
        n_refused: Of them, refused by an input check.
        n_unlabelled: Of the others, without truth.
        n_evaluated: What is left, and what every number rests on.
        n_patients: Patients among these; None where images were treated as independent.
        decision_rule: In words.
        calibrator: What made probabilities of logits.
        operating_points: Thresholds with the data that chose them.
        facts: About network, training and machine.
        warnings: Sentences that belong beside the main result.
        predictions_digest: SHA-256 of the rows behind the report.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str
    split: str
    classes: tuple[str, ...]
    n_images: int
    n_unreadable: int
    n_refused: int
    n_unlabelled: int
    n_evaluated: int
    n_patients: int | None
    decision_rule: str
    calibrator: Calibrator
    operating_points: tuple[OperatingPoint, ...]
    facts: dict[str, str]
    warnings: tuple[str, ...]
    predictions_digest: str


class Report(BaseModel):
    """Everything that is known about the worth of some predictions.

    Attributes:
        version: Of this form.
        run: Name of the run or table.
        data: Which images and which network.
        metrics: Every number.
        tables: Counts and curves, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    run: str
    data: ReportData
    metrics: tuple[Metric, ...]
    tables: dict[str, Table]

    def find(self, name: str, class_name: str | None, stage: Stage = "calibrated") -> Metric | None:
        """Return the metric over all images, or None where the report has none of this name."""
        for metric in self.metrics:
            if (metric.name, metric.class_name, metric.stage) == (name, class_name, stage) and metric.subgroup is None:
                return metric
        return None


@dataclass(frozen=True)
class ReportContext:
    """What a report says about the origin of the predictions.

    Attributes:
        run: Name of the run or table.
        variant: Of the network.
        split: Which images these are.
        calibrator: What made probabilities of logits.
        operating_points: Where decisions flip; empty where nobody chose.
        facts: Shown in the header of the report.
    """

    run: str
    variant: str
    split: str
    calibrator: Calibrator
    operating_points: tuple[OperatingPoint, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


def make_metric(name: str, estimate: Estimate, class_name: str | None, stage: Stage = "calibrated") -> Metric:
    """Turn an estimate into a metric over all images."""
    return Metric(
        name=name,
        class_name=class_name,
        stage=stage,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        method=estimate.method,
        unit="image" if estimate.n_patients is None else "patient",
        n=estimate.n,
        n_events=estimate.n_events,
        n_patients=estimate.n_patients,
        status=estimate.status,
        reason=estimate.reason,
    )


def make_null_metric(name: str, error: AgainstNull, class_name: str | None, stage: Stage = "calibrated") -> Metric:
    """Turn a calibration error beside its null band into a metric."""
    plain = make_metric(name, error.estimate, class_name, stage)
    return plain.model_copy(update={"null_mean": error.null_mean, "null_high": error.null_high})
