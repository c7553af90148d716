"""Evidence: the images that can be judged, as arrays, each class against the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.calibrators import calibrate, probabilities
from effmed.evaluate.intervals import Estimate, Floats, Integers, Patients
from effmed.evaluate.predictions.reading import logits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.model import ReportContext, Stage
    from effmed.recipe import ReportSettings

SAME_PROBABILITY = 1e-6  # half a unit of the sixth decimal, in which tables are often rounded, and some slack


@dataclass(frozen=True)
class Evidence:
    """Readable images whose truth is known.

    Attributes:
        truth: Class numbers, (n,).
        logits: Per stage, (n, outputs).
        patients: (n,) or None.
        classes: In the order of the outputs.
        called: Number of the class that each image was decided to be, (n,); None without decisions.
        settings: Replicates and seed.
    """

    truth: Integers
    logits: dict[Stage, Floats]
    patients: Patients
    classes: tuple[str, ...]
    called: Integers | None
    settings: ReportSettings

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes, so that one is the event."""
        return len(self.classes) == 2

    @property
    def judged(self) -> tuple[int, ...]:
        """Numbers of the classes that are judged against the rest: the positive one of two, else all."""
        return (1,) if self.is_binary else tuple(range(len(self.classes)))

    @property
    def is_recalibrated(self) -> bool:
        """Whether the two stages differ."""
        return not np.array_equal(self.logits["raw"], self.logits["calibrated"])

    def probability(self, stage: Stage) -> Floats:
        """(n, class)."""
        return probabilities(self.logits[stage])

    def against_rest(self, number: int, stage: Stage) -> OneClass:
        """Return one class against the others."""
        return OneClass(
            self.classes[number],
            (self.truth == number).astype(np.int64),
            _log_odds(self.logits[stage], number),
            self.probability(stage)[:, number],
        )


@dataclass(frozen=True)
class OneClass:
    """One class against the rest.

    Attributes:
        name: Of the class.
        truth: 1 where it is true, (n,).
        logits: Log odds of the class, (n,); infinite where a table's probability is exactly 0 or 1.
        probability: (n,).
    """

    name: str
    truth: Integers
    logits: Floats
    probability: Floats

    @property
    def ranking(self) -> Floats:
        """Finite values in the order of the probabilities: the log odds, which no rounding ties, where they exist."""
        return self.logits if np.isfinite(self.logits).all() else self.probability


@dataclass(frozen=True)
class Measured:
    """A number before it is written down: what it is called, about which class, at which stage.

    Attributes:
        name: Of the metric.
        class_name: Or None for all classes.
        stage: Raw or calibrated.
        estimate: Value and interval.
        null: Mean and 95 % quantile for a perfectly calibrated network; None where that makes no sense.
    """

    name: str
    class_name: str | None
    stage: Stage
    estimate: Estimate
    null: tuple[float | None, float | None] = (None, None)


def make_evidence(predictions: Predictions, context: ReportContext, settings: ReportSettings) -> Evidence:
    """Take the readable and labelled rows.

    Raises:
        DataError: There is none, or the probabilities are not those of the context's calibrator.
    """
    readable = predictions.readable
    known = readable.labelled
    if len(known) == 0:
        problem = (
            f"no image has both a probability and a truth: of {len(predictions)} rows {len(readable)} are readable"
        )
        raise DataError(problem, hint="name the column of the true class: --set columns.truth=COLUMN")
    logits: dict[Stage, Floats] = {"raw": known.logits, "calibrated": _calibrated(known, context)}
    return Evidence(known.truth, logits, known.patients, known.classes, _called(known, context), settings)


def _calibrated(predictions: Predictions, context: ReportContext) -> Floats:
    """Return the logits behind the table's probabilities: exact from its logits, or else from the probabilities."""
    computed = calibrate(context.calibrator, predictions.logits)
    if np.abs(probabilities(computed) - predictions.probability).max() <= SAME_PROBABILITY:
        return computed
    if context.calibrator.method != "none":
        problem = "the table's probabilities are not those of the run's calibrator"
        raise DataError(problem, hint="predict these images again with this run, or use --predictions alone")
    return logits_of(predictions.probability)


def _called(predictions: Predictions, context: ReportContext) -> Integers | None:
    classes = predictions.classes
    if len(classes) > 2:
        return np.asarray(predictions.probability.argmax(axis=1), dtype=np.int64)
    if context.operating_points:
        point = context.operating_points[0]
        if point.class_name not in classes:
            problem = f"the operating point is for class {point.class_name!r}, the table has {', '.join(classes)}"
            raise DataError(problem, hint="evaluate with the run that made the table")
        positive = classes.index(point.class_name)
        return np.where(predictions.probability[:, positive] >= point.threshold, positive, 1 - positive)
    return _decided(predictions.frame["decision"].to_numpy(object), classes)


def _decided(decisions: NDArray[Any], classes: tuple[str, ...]) -> Integers | None:
    """Return the class numbers of the table's own decisions; None unless every image has one."""
    if not np.isin(decisions, classes).all():
        return None
    return np.asarray(decisions == classes[1], dtype=np.int64)


def _log_odds(logits: Floats, number: int) -> Floats:
    """Return log(p / (1 - p)) of a class without passing through p, which may round to 1; (n,)."""
    if logits.shape[1] == 1:
        return logits[:, 0] if number == 1 else -logits[:, 0]
    others = np.delete(logits, number, axis=1)
    return np.asarray(logits[:, number] - np.logaddexp.reduce(others, axis=1))
