"""Images → one row per file, study or patient: what a network said about them, joined by a rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import log_expit

from effmed.errors import DataError, RecipeError, shortened
from effmed.evaluate.intervals import Floats, Integers, check_length
from effmed.evaluate.predictions.labels import BLANK, PRESENT, UNCERTAIN, label_numbers
from effmed.evaluate.predictions.reading import logits_of
from effmed.evaluate.predictions.table import (
    ATTRIBUTES,
    LABEL,
    OUTCOME,
    TRUTH,
    Predictions,
    largest_class,
    output_classes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

Unit: TypeAlias = Literal["image", "study", "patient"]  # of images, the file: its frames are joined
Rule: TypeAlias = Literal["mean", "max", "noisy-or"]

SHARED = {"image": ("patient", "split"), "study": ("patient", "split"), "patient": ("split",)}


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network said about the rows of a manifest, before it becomes probabilities.

    Attributes:
        rows: One row per image: image, frame and what else is known.
        logits: ``(n, outputs)``, NaN where the image could not be scored.
        failures: Row number to (reason, remedy) of these.
    """

    rows: pd.DataFrame
    logits: NDArray[Any]
    failures: Mapping[int, tuple[str, str]]


def join_scores(scores: Scores, unit: Unit, rule: Rule, *, positive: str | None = None) -> Scores:
    """Make one row per file, study or patient of one row per image or frame.

    Args:
        scores: Of all images, in any order.
        unit: What becomes one row; a row whose study or patient is not known stays alone.
        rule: Whether the logits of a unit are the mean or the largest of its images', output by output, or those of
            the probability that any image is positive were images independent (noisy-or, one output or several labels).
        positive: Class that a unit has as soon as one of its images has it; None: images of a unit must agree. Of
            labels that do not exclude each other (``label_<name>``) a unit has each that one of its images has.

    Returns:
        One row per unit, in the order in which the units first occur: the row of its first image, as frame 0; float64
        logits. An attribute, such as the view, is that on which all images agree for which it is known, or else
        unknown. A unit of which any image failed has failed, because the images that are left are not the unit.

    Raises:
        DataError: Images of one unit have different labels, patients or splits, the row counts differ, or no image
            has a patient or study.
        RecipeError: Noisy-or of classes that exclude each other.
    """
    rows = scores.rows.reset_index(drop=True)
    check_length(scores.logits, len(rows), "rows of logits")
    labels = [str(name) for name in rows.columns if str(name).startswith(LABEL)]
    check_rule(rule, 1 if labels else scores.logits.shape[1])
    number = _unit_numbers(rows, unit)
    for name in (*SHARED[unit], *(() if positive or labels else ("label",))):
        _check_same(rows, number, unit, name)
    order, starts = _sorted(rows, number)
    logits = np.array(scores.logits, dtype=np.float64)
    logits[list(scores.failures)] = np.nan
    joined = rows.iloc[order[starts]].assign(frame=0).reset_index(drop=True)
    joined = _with_attributes(joined, rows, number, ATTRIBUTES)
    if positive and "label" in rows:
        joined["label"] = _any_positive(rows["label"], number, joined["label"], positive)
    for name in labels:
        joined[name] = _any_present(label_numbers(rows[name].to_numpy(object), name.removeprefix(LABEL)), number)
    return Scores(joined, _combined(logits[order], starts, rule), _failures(scores, rows, number, order))


def check_rule(rule: Rule, n_outputs: int) -> None:
    """Raise ``RecipeError`` for a rule that has no meaning for so many outputs."""
    if rule == "noisy-or" and n_outputs > 1:
        problem = f"data.level_rule = noisy-or is for two classes, not for {n_outputs} that exclude each other"
        raise RecipeError(problem, hint="--set data.level_rule=mean, or max")


def _unit_numbers(rows: pd.DataFrame, unit: Unit) -> Integers:
    """Return the number of each row's unit in the order of first occurrence; a row without one is a unit of its own."""
    names = rows[unit].astype(object) if unit in rows else pd.Series(None, index=rows.index, dtype=object)
    if len(rows) and names.isna().all():
        problem = f"data.level = {unit}, but no image has a {unit}"
        raise DataError(
            problem, hint=f"--set data.{unit}_column=COLUMN; in a predictions table, call the column {unit!r}"
        )
    alone = pd.Series([("alone", row) for row in range(len(rows))], index=rows.index, dtype=object)
    return np.asarray(pd.factorize(names.where(names.notna(), alone))[0], dtype=np.int64)


def _sorted(rows: pd.DataFrame, number: Integers) -> tuple[Integers, Integers]:
    """Return the rows in the order of units and frames, and where in it each unit begins."""
    order = np.lexsort((np.arange(len(rows)), rows["frame"].to_numpy(np.int64), number))
    return order, np.flatnonzero(np.diff(number[order], prepend=-1))


def _combined(logits: Floats, starts: Integers, rule: Rule) -> Floats:
    """Combine sorted rows (n, outputs) of each unit; NaN stays NaN."""
    if rule == "max":
        return np.asarray(np.maximum.reduceat(logits, starts, axis=0))
    if rule == "mean":
        n_images = np.diff(starts, append=len(logits))
        return np.asarray(np.add.reduceat(logits, starts, axis=0) / n_images[:, None])
    none = -np.add.reduceat(log_expit(-logits), starts, axis=0)  # minus the log of the chance that none is positive
    return np.asarray(none + np.log1p(-np.exp(-none)))


def _failures(scores: Scores, rows: pd.DataFrame, number: Integers, order: Integers) -> dict[int, tuple[str, str]]:
    size = np.bincount(number)
    failures: dict[int, tuple[str, str]] = {}
    for row in order[np.isin(order, list(scores.failures))]:
        problem, hint = scores.failures[int(row)]
        if size[number[row]] > 1:
            where = rows["image"].iloc[row]
            alone = rows.loc[number == number[row], "image"].nunique() == 1
            which = f"frame {rows['frame'].iloc[row]} (the first is 0)" if alone else where
            problem = f"{which}: {problem}"
        failures.setdefault(int(number[row]), (problem, hint))
    return failures


def _check_same(rows: pd.DataFrame, number: Integers, unit: Unit, name: str) -> None:
    if name not in rows:
        return
    n_values = rows.groupby(number, sort=False)[name].nunique(dropna=False)
    if (n_values > 1).any():
        what = "frames of one file" if unit == "image" else f"images of one {unit}"
        found = rows.loc[np.isin(number, n_values.index[n_values > 1]), unit]
        problem = f"{what} have more than one {name}: {shortened(found.unique())}"
        raise DataError(problem, hint=f"give all {what} one {name}, or split them")


def _with_attributes(joined: pd.DataFrame, rows: pd.DataFrame, number: Integers, names: Iterable[str]) -> pd.DataFrame:
    """Let no unit stand in a subgroup to which only some of its images belong."""
    for name in names:
        if name in rows:
            values = rows[name].groupby(number, sort=True)
            joined[name] = values.first().where(values.nunique() == 1).array
    return joined


def _any_positive(labels: pd.Series[Any], number: Integers, first: pd.Series[Any], positive: str) -> pd.Series[Any]:
    """Return the labels of units: positive where any image is, unknown where any other is unknown."""
    is_positive = (labels == positive).fillna(value=False).groupby(number, sort=False).any().to_numpy(bool)
    is_unknown = labels.isna().groupby(number, sort=False).any().to_numpy(bool)
    known = first.where(~pd.Series(is_unknown, index=first.index))
    return known.mask(pd.Series(is_positive, index=first.index), positive)


def _any_present(labels: Integers, number: Integers) -> Any:  # noqa: ANN401  pandas' array of text
    """Return the label of units as text: present where any image has it, absent only where all images lack it."""
    rank = {PRESENT: 3, UNCERTAIN: 2, BLANK: 1}  # what wins
    best = pd.Series([rank.get(int(each), 0) for each in labels]).groupby(number).max().to_numpy()
    return pd.array([("0", None, "-1", "1")[each] for each in best], dtype="string")


def join_predictions(predictions: Predictions, unit: Unit, rule: Rule) -> Predictions:
    """Make one row per study or patient of a table that another program wrote.

    The rule works on the probabilities, since logits may be infinite; otherwise as ``join_scores``. A unit with a row
    that is not ok is left out of what can be evaluated: it takes that row's status and reason.

    Args:
        predictions: One row per image.
        unit: ``image`` leaves the table as it is.
        rule: Mean, largest, or noisy-or of the probabilities (of mere scores: mean or largest).

    Raises:
        DataError: As ``join_scores``.
        RecipeError: Noisy-or of classes that exclude each other, or of scores.
    """
    if unit == "image":
        return predictions
    exclusive = len(predictions.classes) > 2 and not predictions.is_multilabel
    if predictions.is_scored and rule == "noisy-or":
        problem = "data.level_rule = noisy-or is for probabilities, not for mere scores"
        raise RecipeError(problem, hint="--set data.level_rule=mean, or max")
    check_rule(rule, len(predictions.classes) if exclusive else 1)
    frame = predictions.frame
    number = _unit_numbers(frame, unit)
    _check_same(frame, number, unit, "patient")
    order, starts = _sorted(frame, number)
    joined = frame.iloc[order[starts]].reset_index(drop=True)
    names = frame.columns.tolist()
    after = names[names.index(OUTCOME[-1]) + 1 :]  # attributes, and what the recipe names besides
    joined = _with_attributes(joined, frame, number, after)
    failed = frame["status"].to_numpy(object) != "ok"
    if failed.any():
        worst = frame.iloc[order].assign(unit=number[order], failed=failed[order])
        worst = worst.sort_values(["unit", "failed"], ascending=[True, False], kind="stable")
        of_unit = worst.groupby("unit", sort=True).first()
        joined[["status", "reason"]] = of_unit[["status", "reason"]].to_numpy(object)
    return _with_scores(_with_truth(predictions, joined, number, unit), predictions, (order, starts), rule)


def _with_truth(predictions: Predictions, joined: pd.DataFrame, number: Integers, unit: Unit) -> Predictions:
    """Give units the truth of their images: positive, or a label present, as soon as one image has it."""
    classes = predictions.classes
    if predictions.is_multilabel:
        for place, name in enumerate(classes):
            joined[TRUTH + name] = _any_present(predictions.labels[:, place], number)
    elif len(classes) == 2:
        truth = predictions.frame["truth"]
        joined["truth"] = _any_positive(truth, number, joined["truth"], classes[1]).astype("string")
    else:
        _check_same(predictions.frame, number, unit, "truth")
    return replace(predictions, frame=joined)


def _with_scores(
    joined: Predictions, predictions: Predictions, place: tuple[Integers, Integers], rule: Rule
) -> Predictions:
    order, starts = place
    frame, classes = joined.frame, joined.classes
    if joined.is_scored:
        logits = _combined(predictions.logits[order], starts, rule)
        probability = joined.to_probability(logits)
    else:
        probability = _combined_probability(predictions.probability[order], starts, rule)
        if not joined.is_multilabel:
            probability = _exclusive(probability)
        with np.errstate(divide="ignore"):
            logits = np.log(probability) - np.log1p(-probability) if joined.is_multilabel else logits_of(probability)
    for column, name in enumerate(classes):
        frame[f"probability_{name}"] = probability[:, column]
    for column, name in enumerate(classes if joined.is_multilabel else output_classes(classes)):
        frame[f"logit_{name}"] = logits[:, column]
    if not joined.is_multilabel:
        failed = frame["status"].to_numpy(object) != "ok"
        frame["predicted_class"] = np.where(failed, "", largest_class(probability, classes))
        frame["decision"] = "" if len(classes) == 2 else frame["predicted_class"]
    return joined


def _combined_probability(probability: Floats, starts: Integers, rule: Rule) -> Floats:
    if rule != "noisy-or":
        return _combined(probability, starts, rule)
    return np.asarray(1 - np.multiply.reduceat(1 - probability, starts, axis=0))


def _exclusive(probability: Floats) -> Floats:
    """Let probabilities add up to 1: of two classes the positive one leads, of more all are divided by their sum."""
    if probability.shape[1] == 2:
        return np.column_stack([1 - probability[:, 1], probability[:, 1]])
    return np.asarray(probability / probability.sum(axis=1, keepdims=True))
