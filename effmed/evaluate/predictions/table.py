"""Predictions: the table of logits and probabilities, one row per image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from effmed.errors import DataError
from effmed.evaluate.calibrators import Calibrator, calibrate, probabilities
from effmed.evaluate.decisions import Decisions, OperatingPoint, prediction_sets
from effmed.evaluate.intervals import Floats, Integers, check_length, row_text
from effmed.evaluate.predictions.labels import BLANK, UNKNOWN, label_numbers
from effmed.run import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ATTRIBUTES = ("view", "sex", "age", "site", "laterality", "modality", "manufacturer", "scanner", "body_part")
IDENTITY = ("image", "frame", "patient", "study", "truth")
OUTCOME = ("predicted_class", "decision", "status", "reason", "input_warning")  # empty text where there is nothing
LESS_THAN_ONE_CLASS = ("prediction_set", "referred")  # after the attributes, where the bundle knows of them
FOLD = "fold"  # last, where networks of several folds made the table: the fold that its image was held out in
BETWEEN = " | "  # the classes of a prediction set
YEARS_PER = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
LABEL = "label_"  # of a manifest, before the name of each label, where labels do not exclude each other
TRUTH = "truth_"  # before the name of each label, where labels do not exclude each other
N_NAMES_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said about images, and what is true where that is known.

    Attributes:
        frame: One row per image. Columns in this order: image, frame, patient, study, truth, one ``logit_<class>``
            per output, ``probability_<class>`` per class, predicted_class, decision, status (ok, unreadable or
            refused), reason, input_warning, then attributes. Logits are the network's own, probabilities are
            calibrated; both are NaN where the status is not ok. Where labels do not exclude each other there is a
            ``truth_<class>`` per label (1, 0, -1 for uncertain, or nothing) and a logit per label.
        classes: In the order of the outputs; two classes are (negative, positive), with a logit of the positive.
        is_scored: Whether the probabilities are no more than scores that rank: nothing else may be said of them.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    is_scored: bool = False

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def readable(self) -> Predictions:
        """The rows whose status is ok."""
        return self.chosen(np.asarray(self.frame["status"].to_numpy(object) == "ok"))

    @property
    def labelled(self) -> Predictions:
        """The rows whose truth is known; of several labels, that of any."""
        return self.chosen(self.is_labelled)

    def chosen(self, mask: NDArray[np.bool_]) -> Predictions:
        """Return the rows of a mask, (n,)."""
        return replace(self, frame=self.frame[mask].reset_index(drop=True))

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several labels, or none."""
        return TRUTH + self.classes[0] in self.frame

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """Whether the truth of each image is known, of several labels that of any, (n,)."""
        if self.is_multilabel:
            return np.asarray((self.labels != BLANK).any(axis=1))
        return np.asarray(self.truth != UNKNOWN)

    @property
    def labels(self) -> Integers:
        """Of each of several labels, (n, class): present, absent, uncertain or blank; see ``apply_policy``."""
        return np.column_stack(
            [label_numbers(self.frame[TRUTH + name].to_numpy(object), name) for name in self.classes]
        )

    @property
    def logits(self) -> Floats:
        """(n, outputs) float64, as the network gave them; one output for two classes."""
        names = self.classes if self.is_multilabel else output_classes(self.classes)
        return self.frame[[f"logit_{name}" for name in names]].to_numpy(np.float64)

    def to_probability(self, logits: Floats) -> Floats:
        """Return probabilities (n, class) of calibrated logits (n, outputs); of several labels each for itself."""
        return np.asarray(expit(logits)) if self.is_multilabel else probabilities(logits)

    @property
    def probability(self) -> Floats:
        """(n, class) float64, calibrated."""
        return self.frame[[f"probability_{name}" for name in self.classes]].to_numpy(np.float64)

    @property
    def truth(self) -> Integers:
        """Class numbers, (n,) int64; -1 where the truth is not known."""
        return class_numbers(self.frame["truth"], self.classes)

    @property
    def patients(self) -> NDArray[Any] | None:
        """Patient of each image, (n,) of text; None where no image has one, so that images count as independent."""
        return patients_of(self.frame)

    def digest(self) -> str:
        """Return the SHA-256 of all rows in their order; the same after a round trip through CSV or Parquet."""
        return hashlib.sha256(self.frame.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def patients_of(frame: pd.DataFrame) -> NDArray[Any] | None:
    """Return the patient of each row, (n,) of text; None where no row has one."""
    if "patient" not in frame or frame["patient"].isna().all():
        return None
    return frame["patient"].to_numpy(object)


def n_patients(predictions: Predictions) -> int | None:
    """Return how many patients there are; None where none is known."""
    return None if predictions.patients is None else int(predictions.frame["patient"].nunique())


def output_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that have a logit: the positive one of two, else all."""
    return classes[1:] if len(classes) == 2 else classes


def class_numbers(names: pd.Series[Any], classes: tuple[str, ...]) -> Integers:
    """Return the number of each name's class, (n,) int64; -1 where the name is missing.

    Raises:
        DataError: A name is no class.
    """
    _check_names(names, classes)
    return np.asarray(pd.Categorical(names, categories=list(classes)).codes, dtype=np.int64)


def _check_names(names: pd.Series[Any], classes: tuple[str, ...]) -> None:
    strange = sorted(set(names.dropna().unique()) - set(classes))
    if strange:
        problem = f"the truth is no class of the network: {', '.join(map(repr, strange[:N_NAMES_SHOWN]))}"
        raise DataError(problem, hint=f"the classes are {', '.join(classes)}; leave the truth blank where unknown")


def make_predictions(
    frame: pd.DataFrame,
    classes: tuple[str, ...],
    logits: NDArray[Any],
    *,
    calibrator: Calibrator,
    decisions: Decisions,
    failures: Mapping[int, tuple[str, str]],
) -> Predictions:
    """Turn logits into the predictions table.

    Args:
        frame: One row per image: image, frame and, where known, patient, study, label and attributes. Where labels do
            not exclude each other, ``label_<class>`` for each (1, 0, -1 or nothing): the table then has a truth, a
            logit and a probability per label, and the decision names those at or above their operating points.
        classes: In the order of the outputs.
        logits: (n, outputs) as the network gives them; NaN where the image could not be scored.
        calibrator: How they become probabilities.
        decisions: What decides; without an operating point the decision of two classes stays empty. What it says of
            prediction sets and referral stands in the columns ``prediction_set`` (classes between bars) and
            ``referred`` (yes or no), after the attributes; then ``fold``, where the rows have any.
        failures: Row number to (reason, remedy) of the images that could not be scored.

    Raises:
        DataError: Logits are missing without a failure, labels are no class, or the row counts differ.
    """
    check_length(logits, len(frame), "rows of logits")
    failed = np.isin(np.arange(len(frame)), list(failures))
    check_scored(np.asarray(logits), failed)
    raw = np.where(failed[:, None], np.nan, np.asarray(logits, dtype=np.float64))
    columns: dict[str, Any] = {name: frame[name].to_numpy(object) for name in (*IDENTITY, *ATTRIBUTES) if name in frame}
    columns |= {
        "status": np.where(failed, "unreadable", "ok"),
        "reason": [_failure_text(failures.get(row)) for row in range(len(frame))],
        "input_warning": "",
    }
    if LABEL + classes[0] in frame:
        columns |= _label_columns(frame, classes, raw, expit(calibrate(calibrator, raw)), decisions)
        return arranged(columns | _fold(frame), len(frame), classes, tuple(_fold(frame)))
    probability = probabilities(calibrate(calibrator, raw))
    point = decisions.points[0] if decisions.points else None
    decided = _decisions(probability, classes, point)
    columns["truth"] = frame["label"].to_numpy(object) if "label" in frame else None
    columns |= {f"logit_{name}": raw[:, i] for i, name in enumerate(output_classes(classes))}
    columns |= {f"probability_{name}": probability[:, i] for i, name in enumerate(classes)}
    columns |= {
        "predicted_class": np.where(failed, "", largest_class(probability, classes)),
        "decision": np.where(failed, "", decided),
    }
    uncertain = _less_than_one_class(probability, decided, classes, decisions) | _fold(frame)
    return arranged(columns | uncertain, len(frame), classes, tuple(uncertain))


def _fold(frame: pd.DataFrame) -> dict[str, Any]:
    return {FOLD: frame[FOLD].to_numpy(object)} if FOLD in frame and frame[FOLD].notna().any() else {}


def _label_columns(
    frame: pd.DataFrame, classes: tuple[str, ...], raw: Floats, probability: Floats, decisions: Decisions
) -> dict[str, Any]:
    """Return truth, logit and probability of each label, and the decision: the labels called, or "none"."""
    columns: dict[str, Any] = {TRUTH + name: frame[LABEL + name].to_numpy(object) for name in classes}
    columns |= {f"logit_{name}": raw[:, i] for i, name in enumerate(classes)}
    columns |= {f"probability_{name}": probability[:, i] for i, name in enumerate(classes)}
    limits = {point.class_name: point.threshold for point in decisions.points}
    called = probability >= np.array([limits.get(name, np.inf) for name in classes])
    names = [BETWEEN.join(name for name, held in zip(classes, row, strict=True) if held) or "none" for row in called]
    failed = np.isnan(probability).any(axis=1)
    columns["decision"] = np.where(failed | (not limits), "", names)
    return columns


def _less_than_one_class(
    probability: Floats, decided: NDArray[Any], classes: tuple[str, ...], decisions: Decisions
) -> dict[str, NDArray[Any]]:
    """Return prediction set and referral of each row, "" where it could not be scored."""
    failed = np.isnan(probability).any(axis=1)
    known = np.nan_to_num(probability)
    columns = {}
    if decisions.sets is not None:
        sets = prediction_sets(decisions.sets, known)
        names = [BETWEEN.join(name for name, held in zip(classes, row, strict=True) if held) for row in sets]
        columns["prediction_set"] = np.where(failed, "", [name or "none" for name in names])
    if decisions.referral is not None and not (decided == "").any():
        called = np.array([classes.index(name) for name in decided], dtype=np.int64)
        certainty, least = known[np.arange(len(known)), called], decisions.referral.certainty
        decides = np.zeros(len(known), dtype=bool) if least is None else certainty >= least
        columns["referred"] = np.where(failed, "", np.where(decides, "no", "yes"))
    return columns


def check_scored(values: NDArray[Any], failed: NDArray[np.bool_]) -> None:
    """Refuse rows (n, k) that are not a number although nothing is said to have failed."""
    wrong = np.isnan(values).any(axis=1) & ~failed
    if wrong.any():
        problem = f"logits or probabilities are not a number in {row_text(wrong)}"
        raise DataError(problem, hint="predict these images again, or give them a status other than ok")


def largest_class(probability: Floats, classes: tuple[str, ...]) -> NDArray[Any]:
    """Return the name of the most probable class, (n,); rows of NaN get any."""
    return np.asarray(np.array(classes, dtype=object)[np.nan_to_num(probability, nan=-1.0).argmax(axis=1)])


def _decisions(probability: Floats, classes: tuple[str, ...], point: OperatingPoint | None) -> NDArray[Any]:
    if len(classes) > 2:
        return largest_class(probability, classes)
    if point is None:
        return np.full(len(probability), "", dtype=object)
    if point.class_name not in classes:
        problem = f"the operating point is for class {point.class_name!r}, the images' are {', '.join(classes)}"
        raise DataError(problem, hint="use the operating point of the same bundle")
    positive = classes.index(point.class_name)
    called = probability[:, positive] >= point.threshold
    return np.asarray(np.where(called, classes[positive], classes[1 - positive]))


def _failure_text(failure: tuple[str, str] | None) -> str:
    return "" if failure is None else f"{failure[0]} ({failure[1]})"


def arranged(
    columns: Mapping[str, Any], n: int, classes: tuple[str, ...], also: Sequence[str] = (), *, is_scored: bool = False
) -> Predictions:
    """Put columns into the table's order and types; what is absent is unknown.

    Args:
        columns: By name, (n,) each.
        n: Number of rows.
        classes: In the order of the outputs.
        also: Further columns to keep, as text, after the attributes.
        is_scored: Whether the probabilities are mere scores.

    Raises:
        DataError: A truth is not one of the classes.
    """
    frame = pd.DataFrame({name: text_column(columns.get(name), n) for name in IDENTITY})
    frame["frame"] = np.asarray(columns["frame"], dtype=np.int64)
    labels = [TRUTH + name for name in classes if TRUTH + name in columns]
    for name in labels:
        frame[name] = text_column(columns[name], n)
    outputs = classes if labels else output_classes(classes)
    numbers = [f"logit_{name}" for name in outputs] + [f"probability_{name}" for name in classes]
    for name in numbers:
        frame[name] = np.asarray(columns[name], dtype=np.float64)
    for name in OUTCOME:
        frame[name] = text_column(columns.get(name), n).fillna("")
    for name in ATTRIBUTES:
        if name in columns:
            frame[name] = _age_column(columns[name]) if name == "age" else text_column(columns[name], n)
    for name in also:
        frame[name] = text_column(columns[name], n)
    _check_names(frame["truth"], classes)
    return Predictions(frame, classes, is_scored)


def text_column(values: Any, n: int) -> pd.Series[Any]:  # noqa: ANN401  any column, one text for all rows, or None
    """Return n texts as pandas' string type, missing where the value is missing or empty.

    Bytes of a file name that are no UTF-8 are written out, since neither CSV nor Parquet could hold them.
    """
    if values is None or isinstance(values, str):
        return pd.Series([values or None], dtype="string").repeat(n).reset_index(drop=True)
    column = np.asarray(values, dtype=object)
    texts = [None if gone else str(value) for value, gone in zip(column, pd.isna(column), strict=True)]
    if not "".join(filter(None, texts)).isascii():
        texts = [text and text.encode("utf-8", "backslashreplace").decode() for text in texts]
    return pd.Series(texts, dtype="string").replace("", pd.NA)


def _age_column(values: Any) -> NDArray[np.float64]:  # noqa: ANN401  any column
    """Return ages in years as float64, NaN where unknown; an age such as 045Y or 006M is DICOM's (PS3.5, AS)."""
    given = pd.Series(values, dtype="object")
    years = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, copy=True)
    written = given.astype("string").str.strip().str.extract(r"^(\d{3})([DWMY])$")
    is_dicom = written[0].notna().to_numpy(bool)
    years[is_dicom] = written[0][is_dicom].astype(float) * written[1][is_dicom].map(YEARS_PER).astype(float)
    return years


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write all rows as CSV, or as Parquet where the path ends so; whole or not at all."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            predictions.frame.to_parquet(temporary, index=False)
        else:
            predictions.frame.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
