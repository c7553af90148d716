"""Evidence: the images that can be judged, as arrays, each class against the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logit

from effmed.errors import DataError
from effmed.evaluate.calibrators import calibrate
from effmed.evaluate.intervals import Estimate, Floats, Integers, Patients
from effmed.evaluate.predictions import UNKNOWN, apply_policy
from effmed.evaluate.predictions.reading import logits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from effmed.evaluate.calibration import AgainstNull
    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.model import ReportContext, Stage
    from effmed.recipe import ReportSettings

SAME_PROBABILITY = 1e-6  # half a unit of the sixth decimal, in which tables are often rounded, and some slack


@dataclass(frozen=True)
class Evidence:
    """Readable images whose truth is known.

    Attributes:
        predictions: The table's rows of these images.
        truth: Class numbers, (n,); of several labels (n, class): 1, 0, or -1 where a label is not known.
        logits: Per stage, (n, outputs).
        called: Number of the class that each image was decided to be, (n,); of several labels (n, class) whether each
            was called, -1 for labels without an operating point; None without decisions.
        settings: Replicates, seed and policies.
    """

    predictions: Predictions
    truth: Integers
    logits: Mapping[Stage, Floats]
    called: Integers | None
    settings: ReportSettings

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.predictions)

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        return self.predictions.classes

    @cached_property
    def patients(self) -> Patients:
        """(n,) or None."""
        return self.predictions.patients

    @property
    def is_multilabel(self) -> bool:
        """Whether labels do not exclude each other."""
        return self.truth.ndim > 1

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes, of which one is the event."""
        return len(self.classes) == 2 and not self.is_multilabel

    @property
    def has_events(self) -> bool:
        """Whether each judged class is an event of its own, and not one of several that share the images."""
        return self.is_binary or self.is_multilabel

    @property
    def judged(self) -> tuple[int, ...]:
        """Numbers of the classes that are judged against the rest: the positive one of two, else all."""
        return (1,) if self.is_binary else tuple(range(len(self.classes)))

    @property
    def is_recalibrated(self) -> bool:
        """Whether the two stages differ."""
        return not np.array_equal(self.logits["raw"], self.logits["calibrated"])

    @cached_property
    def happened(self) -> Integers:
        """Whether each class is true of each image, (n, class): 1, 0, or -1 where not known."""
        return self.truth if self.is_multilabel else np.eye(len(self.classes), dtype=np.int64)[self.truth]

    def probability(self, stage: Stage) -> Floats:
        """(n, class)."""
        return self._probabilities[stage]

    @cached_property
    def _probabilities(self) -> dict[Stage, Floats]:
        """Those of the table itself, digit by digit, where the logits say the same."""
        given = self.predictions.probability
        found = {stage: self.predictions.to_probability(logits) for stage, logits in self.logits.items()}
        return {stage: given if is_same(given, each) else each for stage, each in found.items()}

    @cached_property
    def label_ranking(self) -> Floats:
        """Of several labels, finite values in the order of the probabilities, (n, class)."""
        logits = self.logits["calibrated"]
        is_exact = self.has_own_logits and bool(np.isfinite(logits).all())
        return logits if is_exact else self.probability("calibrated")

    @cached_property
    def has_own_logits(self) -> bool:
        """Whether the table's logits say more than its probabilities: logits made from these may break ties."""
        made = _logits_behind(self.predictions)
        return self.predictions.is_scored or not np.array_equal(self.logits["calibrated"], made)

    def against_rest(self, number: int, stage: Stage) -> OneClass:
        """Return one class against the others, on the images whose truth is known for it."""
        logits = self.logits[stage]
        log_odds = logits[:, number] if self.is_multilabel else _log_odds(logits, number)
        truth = self.happened[:, number]
        rows = np.flatnonzero(truth != UNKNOWN)
        called = None
        if self.called is not None and self.is_multilabel:
            own = self.called[rows, number]
            called = None if (own == UNKNOWN).any() else own == 1
        elif self.called is not None:
            called = self.called[rows] == number
        probability = self.probability(stage)[rows, number]
        is_exact = self.has_own_logits and bool(np.isfinite(log_odds).all())
        return OneClass(
            self.classes[number],
            rows,
            truth[rows],
            log_odds[rows],
            probability,
            log_odds[rows] if is_exact else probability,
            None if self.patients is None else self.patients[rows],
            called,
        )


@dataclass(frozen=True)
class OneClass:
    """One class against the rest.

    Attributes:
        name: Of the class.
        rows: Which images of the evidence these are, (n,).
        truth: 1 where it is true, (n,).
        logits: Log odds of the class, (n,); infinite where a table's probability is exactly 0 or 1.
        probability: (n,).
        ranking: (n,) finite: the log odds, which no rounding ties, or the probabilities where there is nothing more.
        patients: (n,) or None.
        called: Whether each image was decided to be of the class, (n,); None without decisions.
    """

    name: str
    rows: Integers
    truth: Integers
    logits: Floats
    probability: Floats
    ranking: Floats
    patients: Patients
    called: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Measured:
    """A number before it is written down: what it is called, about which class, at which stage.

    Attributes:
        name: Of the metric.
        class_name: Or None for all classes.
        stage: Raw or calibrated.
        estimate: Value and interval.
        null: Mean and 95 % quantile for a perfectly calibrated network; None where that makes no sense.
        subgroup: Column and value; None for all images.
    """

    name: str
    class_name: str | None
    stage: Stage
    estimate: Estimate
    null: tuple[float | None, float | None] = (None, None)
    subgroup: tuple[str, str] | None = None


def beside_null(name: str, class_name: str | None, stage: Stage, error: AgainstNull) -> Measured:
    """Make a measured calibration error with the null band that belongs beside it."""
    return Measured(name, class_name, stage, error.estimate, (error.null_mean, error.null_high))


def known_rows(predictions: Predictions, settings: ReportSettings) -> NDArray[np.bool_]:
    """Whether something is known of each image, (n,); where a blank label counts as absent, of every one."""
    if predictions.is_multilabel and settings.blank == "zeros":
        return np.ones(len(predictions), dtype=bool)
    return predictions.is_labelled


def make_evidence(predictions: Predictions, context: ReportContext, settings: ReportSettings) -> Evidence:
    """Take the readable and labelled rows.

    Raises:
        DataError: There is none, or the probabilities are not those of the context's calibrator.
    """
    readable = predictions.readable
    known = readable.chosen(known_rows(readable, settings))
    if len(known) == 0:
        problem = (
            f"no image has both a probability and a truth: of {len(predictions)} rows {len(readable)} are readable"
        )
        raise DataError(problem, hint="name the column of the true class: --set columns.truth=COLUMN")
    logits: dict[Stage, Floats] = {"raw": known.logits, "calibrated": _calibrated(known, context)}
    if known.is_multilabel:
        truth = apply_policy(known.labels, uncertain=settings.uncertain, blank=settings.blank)
    else:
        truth = known.truth
    return Evidence(known, truth, logits, _called(known, context), settings)


def _calibrated(predictions: Predictions, context: ReportContext) -> Floats:
    """Return the logits behind the table's probabilities: exact from its logits, or else from the probabilities."""
    computed = calibrate(context.calibrator, predictions.logits)
    if is_same(predictions.to_probability(computed), predictions.probability):
        return computed
    if context.calibrator.method != "none":
        problem = "the table's probabilities are not those of the run's calibrator"
        raise DataError(problem, hint="predict these images again with this run, or use --predictions alone")
    return _logits_behind(predictions)


def is_same(first: Floats, second: Floats) -> bool:
    """Whether two tables of probabilities (n, class) differ by no more than rounding for a file."""
    return bool(np.abs(first - second).max() <= SAME_PROBABILITY)


def _logits_behind(predictions: Predictions) -> Floats:
    """Return the logits of the table's probabilities, (n, outputs); infinite where these are 0 or 1."""
    return logit(predictions.probability) if predictions.is_multilabel else logits_of(predictions.probability)


def _called(predictions: Predictions, context: ReportContext) -> Integers | None:
    classes = predictions.classes
    if predictions.is_scored:
        return None
    if predictions.is_multilabel:
        return _called_labels(predictions, context)
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


def _called_labels(predictions: Predictions, context: ReportContext) -> Integers | None:
    """Compare each label's probability with its own threshold; None where no label has one."""
    thresholds = {point.class_name: point.threshold for point in context.operating_points}
    if not set(predictions.classes) & set(thresholds):
        return None
    limits = np.array([thresholds.get(name, np.nan) for name in predictions.classes])
    return np.where(np.isnan(limits), UNKNOWN, predictions.probability >= limits).astype(np.int64)


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
