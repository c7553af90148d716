"""Predictions from a file: this package's own table, or one that another program wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import logit

from effmed.errors import DataError, shortened
from effmed.evaluate.calibrators import probabilities
from effmed.evaluate.intervals import Floats, check_probability, row_text
from effmed.evaluate.predictions.labels import label_numbers
from effmed.evaluate.predictions.table import (
    ATTRIBUTES,
    FOLD,
    IDENTITY,
    LESS_THAN_ONE_CLASS,
    N_NAMES_SHOWN,
    OUTCOME,
    TRUTH,
    Predictions,
    arranged,
    check_scored,
    largest_class,
    output_classes,
    text_column,
)
from effmed.recipe import nearest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.recipe import ColumnSettings

AUTO = "auto"
STATUSES = ("ok", "unreadable", "refused")
SUFFIXES = (".csv", ".parquet")
SEPARATORS = (";", "\t")  # of spreadsheets' files that are no comma-separated ones
PROBABILITY, LOGIT = "probability_", "logit_"
IMAGE_NAMES = ("image", "path", "file", "filename", "id")
TRUTH_NAMES = ("truth", "label", "y")
SCORE = "score"  # a column of this name is taken for probabilities unless a value lies outside 0 to 1
PROBABILITY_NAMES = ("probability", "p", SCORE)
LABEL_PREFIXES = (("truth_", "probability_"), ("label_", "probability_"), ("y_", "p_"))
PATIENT_NAMES = ("patient", "patient_id")
ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1, "false": 0, "true": 1}
SUM_TOLERANCE = 1e-3  # of the probabilities of one image: tables often hold three decimals


def read_predictions(path: Path, columns: ColumnSettings, also: tuple[str, ...] = ()) -> Predictions:
    """Read a predictions table.

    The package's own table comes back as it was written. Of any other, the columns are found by name: the truth
    as class names or 0 and 1, the probability of the positive class or one column ``probability_<class>`` per
    class (of two the second is the positive one), and, where they exist, image, patient and attributes. Its
    logits are those of its probabilities. Labels that do not exclude each other have a column ``truth_<label>``
    and a column ``probability_<label>`` each (or ``y_`` and ``p_``).

    Args:
        path: A ``.csv`` or ``.parquet`` file.
        columns: Names of the columns, or ``auto``.
        also: Names of further columns to keep, as text.

    Raises:
        DataError: No such file or column, or values that cannot be truths or probabilities.
    """
    table = _read_table(path)
    also = tuple(name for name in also if name not in (*IDENTITY, *ATTRIBUTES))
    is_told = {columns.truth, columns.probability, columns.patient} != {AUTO} or columns.score
    if not is_told and _is_own(table):
        return _read_own(table, also, path)
    return _read_foreign(table, columns, path, also)


def is_own_table(path: Path) -> bool:
    """Return whether a file holds a table that this package wrote.

    Raises:
        DataError: It cannot be read.
    """
    return _is_own(_read_table(path))


def _read_table(path: Path) -> pd.DataFrame:
    """Read a file; every column of a CSV as text, so that no class named NA or 007 changes."""
    if path.suffix.lower() not in SUFFIXES:
        problem = f"predictions {path} is neither a .csv nor a .parquet file"
        raise DataError(problem, hint="save the table as .csv or .parquet")
    try:
        table = _read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        problem = f"predictions {path} cannot be read: {' '.join(str(error).split())}"
        raise DataError(problem, hint="name a .csv or .parquet table with one row per image") from error
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        problem = f"predictions {path} have more than one column {', '.join(map(repr, twice[:N_NAMES_SHOWN]))}"
        raise DataError(problem, hint="give every column a name of its own")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    """Read all cells as text, the names of the columns as they stand.

    The first line is read like the others: pandas would take the first column for an index and shift all names where
    lines have one cell more than the header, and rename columns that are named twice.
    """
    cells = pd.read_csv(path, header=None, dtype="string", keep_default_na=False, encoding="utf-8-sig")
    names = cells.iloc[0].fillna("").tolist()
    return cells.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)


def _is_own(table: pd.DataFrame) -> bool:
    classes = _classes_of(table)
    logits = {LOGIT + name for name in output_classes(classes)}
    return len(classes) > 1 and logits | {*IDENTITY, *OUTCOME} <= set(table.columns)


def _classes_of(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(str(name).removeprefix(PROBABILITY) for name in table.columns if str(name).startswith(PROBABILITY))


def _read_own(table: pd.DataFrame, also: tuple[str, ...], path: Path) -> Predictions:
    classes = _classes_of(table)
    kept = [name for name in (*LESS_THAN_ONE_CLASS, FOLD) if name in table]
    also = (*kept, *(_column(table, name, (), path) or name for name in also if name not in kept))
    columns: dict[str, Any] = {name: table[name].to_numpy(object) for name in (*IDENTITY, *OUTCOME)}
    labels = [TRUTH + name for name in classes]
    if any(name in table for name in labels):
        _check_complete(table, [*labels, *(LOGIT + name for name in classes)], path)
    columns |= {name: table[name].to_numpy(object) for name in (*ATTRIBUTES, *labels, *also) if name in table}
    columns["frame"] = _frames(table)
    outputs = classes if labels[0] in table else output_classes(classes)
    for name in [LOGIT + name for name in outputs] + [PROBABILITY + name for name in classes]:
        columns[name] = _numbers(table, name)
    predictions = arranged(columns, len(table), classes, also)
    failed = _failed(table, len(table))
    check_scored(np.hstack([predictions.logits, predictions.probability]), failed)
    check_probability(predictions.probability[~failed], int((~failed).sum()))
    if not predictions.is_multilabel:
        _check_probability(predictions.probability[~failed])
    return predictions


def _check_complete(table: pd.DataFrame, names: list[str], path: Path) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        problem = f"predictions {path} have columns of several labels, but lack {shortened(missing)}"
        raise DataError(problem, hint="leave this package's tables as they were written: all columns of every label")


def _frames(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's frame, (n,)."""
    numbers = _numbers(table, "frame")
    wrong = ~np.isfinite(numbers) | (numbers != np.floor(numbers)) | (numbers < 0)
    if wrong.any():
        found = table["frame"].to_numpy(object)[wrong][0]
        problem = f"column 'frame' holds no number of a frame in {row_text(wrong)}: {found!r}"
        raise DataError(problem, hint="write 0 for the first or only frame of a file, 1 for the next")
    return numbers.astype(np.int64)


def _numbers(table: pd.DataFrame, name: str) -> Floats:
    """Return a column as float64 (n,), NaN where empty; text is read digit by digit, without rounding."""
    values = table[name].to_numpy(object)
    numbers = np.full(len(values), np.nan)
    wrong = np.zeros(len(values), dtype=bool)
    for row, value in enumerate(values):
        try:
            numbers[row] = np.nan if pd.isna(value) or value == "" else float(value)
        except (TypeError, ValueError):
            wrong[row] = True
    if wrong.any():
        problem = f"column {name!r} holds no number in {row_text(wrong)}: {values[wrong][0]!r}"
        raise DataError(problem, hint="write numbers with a decimal point, and nothing where unknown")
    return numbers


def _read_foreign(table: pd.DataFrame, columns: ColumnSettings, path: Path, also: tuple[str, ...]) -> Predictions:
    labels = _label_columns(table)
    if labels and columns.truth == AUTO and _column(table, AUTO, TRUTH_NAMES, path) is None:
        return _read_labels(table, labels, columns, path, also)
    n = len(table)
    truth_name = _column(table, columns.truth, TRUTH_NAMES, path)
    truth = text_column(table[truth_name].to_numpy(object) if truth_name else None, n)
    failed = _failed(table, n)
    classes, logits, probability, is_scored = _classes_and_scores(table, columns, truth, path)
    check_scored(probability, failed)
    _check_probability(probability[~failed])
    found = {
        **_identity(table, columns, path, also),
        "truth": _truth_names(truth, classes),
        "predicted_class": np.where(failed, "", largest_class(probability, classes)),
        "decision": np.where(failed | (len(classes) == 2), "", largest_class(probability, classes)),
        "status": np.where(failed, "unreadable", "ok"),
    }
    found |= {PROBABILITY + name: probability[:, i] for i, name in enumerate(classes)}
    found |= {LOGIT + name: logits[:, i] for i, name in enumerate(output_classes(classes))}
    return arranged(found, n, classes, also, is_scored=is_scored)


def _identity(table: pd.DataFrame, columns: ColumnSettings, path: Path, also: tuple[str, ...]) -> dict[str, Any]:
    """Return who and what the rows are: image, patient, study, attributes, and the columns named besides."""
    image, patient = (
        _column(table, wished, names, path) for wished, names in ((AUTO, IMAGE_NAMES), (columns.patient, PATIENT_NAMES))
    )
    known = ("study", *ATTRIBUTES, *(_column(table, name, (), path) or name for name in also))
    found: dict[str, Any] = {name: table[name].to_numpy(object) for name in known if name in table}
    return found | {
        "image": table[image].to_numpy(object) if image else [str(row) for row in range(len(table))],
        "frame": np.zeros(len(table), dtype=np.int64),
        "patient": table[patient].to_numpy(object) if patient else None,
    }


def _label_columns(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the names of truth and probability columns by label, where labels have a column of each."""
    found: dict[str, tuple[str, str]] = {}
    for truth, probability in LABEL_PREFIXES:
        for name in map(str, table.columns):
            label = name.removeprefix(truth)
            if name.startswith(truth) and probability + label in table:
                found.setdefault(label, (name, probability + label))
    return found


def _read_labels(
    table: pd.DataFrame,
    labels: dict[str, tuple[str, str]],
    columns: ColumnSettings,
    path: Path,
    also: tuple[str, ...],
) -> Predictions:
    """Read several labels that do not exclude each other."""
    if columns.score or columns.probability != AUTO:
        problem = f"columns.probability and columns.score are not for the labels {shortened(labels)}"
        raise DataError(problem, hint="of one label alone, name its truth too: --set columns.truth=COLUMN")
    _check_pairs(table, labels)
    failed = _failed(table, len(table))
    probability = np.column_stack([_numbers(table, name) for _, name in labels.values()])
    check_scored(probability, failed)
    check_probability(probability[~failed], int((~failed).sum()))
    has_logits = all(LOGIT + name in table for name in labels)
    logits = np.column_stack([_numbers(table, LOGIT + name) for name in labels]) if has_logits else logit(probability)
    found = {**_identity(table, columns, path, also), "status": np.where(failed, "unreadable", "ok")}
    for number, (name, (truth, _)) in enumerate(labels.items()):
        label_numbers(table[truth].to_numpy(object), name)  # refused here, with the row, and not in the evaluation
        found |= {TRUTH + name: table[truth].to_numpy(object), PROBABILITY + name: probability[:, number]}
        found[LOGIT + name] = logits[:, number]
    return arranged(found, len(table), tuple(labels), also)


def _check_pairs(table: pd.DataFrame, labels: dict[str, tuple[str, str]]) -> None:
    """Refuse probabilities of a label without its truth: it would be missing from every average without a word."""
    prefixes = {
        probability for truth, probability in LABEL_PREFIXES for pair in labels.values() if pair[0].startswith(truth)
    }
    paired = {probability for _, probability in labels.values()}
    alone = [name for name in map(str, table.columns) if name.startswith(tuple(prefixes)) and name not in paired]
    if alone:
        problem = f"there is no truth of {shortened(map(repr, alone))}, and of other labels there is"
        raise DataError(problem, hint="add the label's truth, blank where unknown, or leave its probability out")


def _column(table: pd.DataFrame, wished: str, names: tuple[str, ...], path: Path) -> str | None:
    """Return the column of that name; for ``auto`` the first known one, or None."""
    if wished == AUTO:
        return next((name for name in names if name in table), None)
    if wished not in table:
        known = [str(name) for name in table.columns]
        raise DataError(f"predictions {path} have no column {wished!r}", hint=nearest(wished, known))
    return wished


def _failed(table: pd.DataFrame, n: int) -> Any:  # noqa: ANN401  a bool array, which pandas types as unknown
    """Return which rows are not ok, (n,); a status that says nothing is refused: it is another program's own word."""
    if "status" not in table:
        return np.zeros(n, dtype=bool)
    status = table["status"].to_numpy(object)
    if n and not np.isin(status, STATUSES).any():
        problem = f"no row of column 'status' is {', '.join(STATUSES)}, but {shortened(sorted(set(map(str, status))))}"
        raise DataError(problem, hint="call that column otherwise, or write ok where an image was scored")
    return status != "ok"


def _classes_and_scores(
    table: pd.DataFrame, columns: ColumnSettings, truth: pd.Series[Any], path: Path
) -> tuple[tuple[str, ...], Floats, Floats, bool]:
    """Return classes, logits (n, outputs), probabilities (n, class), and whether these are mere scores."""
    classes = _classes_of(table)
    if columns.probability == AUTO and not columns.score and len(classes) > 1:
        probability = np.column_stack([_numbers(table, PROBABILITY + name) for name in classes])
        return classes, logits_of(probability), probability, False
    chosen = columns.score or columns.probability
    if chosen == _column(table, columns.truth, TRUTH_NAMES, path):
        problem = f"column {chosen!r} cannot be both the truth and the probability"
        raise DataError(problem, hint="name two columns: --set columns.truth=COLUMN --set columns.probability=COLUMN")
    names = (PROBABILITY + classes[0],) if classes else PROBABILITY_NAMES
    found = _column(table, columns.score or columns.probability, names, path)
    if found is None:
        problem = f"predictions {path} have no column with probabilities, only {shortened(map(repr, table.columns))}"
        hint = "name it: --set columns.probability=COLUMN, or columns.score for mere scores"
        if any(mark in str(name) for mark in SEPARATORS for name in table.columns):
            hint = "save the table with commas between the columns, and numbers with a decimal point"
        raise DataError(problem, hint=hint)
    positive = _numbers(table, found)[:, None]
    beyond = found == SCORE and columns.probability == AUTO and bool(((positive < 0) | (positive > 1)).any())
    if columns.score or beyond:
        return _two_classes(found, truth), positive, probabilities(positive), True
    probability = np.hstack([1 - positive, positive])
    return _two_classes(found, truth), logits_of(probability), probability, False


def _two_classes(column: str, truth: pd.Series[Any]) -> tuple[str, str]:
    """Return (negative, positive) from the name of the probability column and the truths that occur."""
    occurring = set(truth.dropna())
    name = column.removeprefix(PROBABILITY) if column.startswith(PROBABILITY) else ""
    if occurring <= set(ZERO_ONE):
        return (f"not {name}", name) if name else ("0", "1")
    others = sorted(occurring - {name})
    if not name or len(others) > 1:
        problem = f"column {column!r} does not say which class is positive of {', '.join(others[:N_NAMES_SHOWN])}"
        raise DataError(problem, hint="code the truth as 0 and 1, or call the column probability_<positive class>")
    return (others[0] if others else f"not {name}"), name


def _truth_names(truth: pd.Series[Any], classes: tuple[str, ...]) -> list[str | None]:
    """Return class names; 0 and 1 become the names of two classes."""
    occurring = set(truth.dropna())
    coded = len(classes) == 2 and occurring <= set(ZERO_ONE) and not occurring <= set(classes)
    return [None if pd.isna(name) else classes[ZERO_ONE[name]] if coded else name for name in truth]


def _check_probability(probability: Floats) -> None:
    check_probability(probability, len(probability))
    wrong = np.asarray(np.abs(probability.sum(axis=1) - 1) > SUM_TOLERANCE)
    if wrong.any():
        problem = f"the probabilities of the classes do not add up to 1 in {row_text(wrong)}"
        raise DataError(problem, hint="give one probability_<class> column for every class")


def logits_of(probability: Floats) -> Floats:
    """Return logits (n, outputs) of probabilities (n, class); infinite where these are 0 or 1."""
    if probability.shape[1] == 2:
        return np.asarray(logit(probability[:, 1:]))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probability))
