"""Label tables: which image has which class, patient, study and split; and the order of classes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.records import label_columns
from effmed.data.scan.label_sets import (
    find_separator,
    is_exclusive,
    label_texts,
    read_columns,
    read_lists,
    task_text,
)
from effmed.errors import DataError, shortened

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from effmed.recipe import DataSettings

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
NO_VALUE = ("", "NaN", "nan", "NA", "N/A", "<NA>")  # cells that say nothing; "none" may be a class
COLUMN_NAMES = {
    "image": ("path", "image", "file", "filename"),
    "label": ("label", "class", "target", "diagnosis", "y"),
    "patient": ("patient_id", "patient", "patientid", "subject_id", "subject"),
    "study": ("study_id", "study", "study_uid", "accession"),
    "split": ("split", "set", "fold_name"),
    "view": ("view", "view_position", "projection"),
    "sex": ("sex", "gender"),
    "age": ("age", "age_years"),
    "site": ("site", "hospital", "center", "centre", "institution"),
}


@dataclass(frozen=True)
class LabelTable:
    """A label table as it was read.

    Attributes:
        path: Where it lies.
        rows: Text columns ``image`` and ``label``, and those of patient, study, split, view, sex, age and site that
            the table has; one row per image. Where labels do not exclude each other, ``label_<name>`` for each.
        columns: What the table calls these columns.
        task: Why labels are taken not to exclude each other; empty where they do.
    """

    path: Path
    rows: pd.DataFrame
    columns: dict[str, str]
    task: str = ""


def read_labels(path: Path, settings: DataSettings) -> LabelTable:
    """Read a label table.

    Args:
        path: CSV or Parquet.
        settings: Names of the columns, where they are not found by themselves.

    Raises:
        DataError: The table cannot be read, a column is missing, or a label is missing or given twice.
    """
    table = _read_table(path)
    found = {name: _find_column(table, name, settings) for name in COLUMN_NAMES}
    if found["image"] is None:
        problem = f"{path} has no column with image paths; its columns are {', '.join(table.columns)}"
        raise DataError(problem, hint="name it: --set data.image_column=NAME")
    labels, label_column, task = _labels(table, path, found["label"], settings)
    columns = {name: column for name, column in found.items() if column is not None and name != "label"}
    rows = pd.DataFrame({**{name: table[column] for name, column in columns.items()}, **labels})
    rows = rows.astype("string").apply(lambda column: column.str.strip())
    rows = rows.mask(rows.isin(NO_VALUE))
    _check_complete(rows, path)
    return LabelTable(path, one_row_per_image(rows, path), {**columns, "label": label_column}, task)


def one_row_per_image(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the rows without repetitions.

    Raises:
        DataError: Two rows say different things of the same image.
    """
    rows = rows.drop_duplicates().reset_index(drop=True)
    doubled = rows[rows["image"].duplicated(keep=False)]
    if doubled.empty:
        return rows
    n_labels = doubled.groupby("image", sort=False)["label"].nunique()
    torn = n_labels.index[n_labels > 1]
    if len(torn):
        problem = f"{path}: {len(torn)} images have two labels: {shortened(torn)}"
        raise DataError(problem, hint="give every image one label")
    problem = f"{path}: rows contradict each other for {shortened(n_labels.index)}"
    raise DataError(problem, hint="give every image one row")


def match_images(images: pd.Series, table: Path, root: Path, known: Collection[str]) -> tuple[pd.Series, str]:
    """Find which file each row of a label table means.

    Paths may be relative to the data folder, relative to the table's folder, or absolute. A base name alone is
    enough only where the table holds nothing else and no name stands in two folders.

    Args:
        images: What the table says.
        table: Where it lies.
        root: The data folder.
        known: Files below it, as posix paths relative to it.

    Returns:
        The files, NA where there is none; and how they were found, in words.

    Raises:
        DataError: A base name stands in more than one folder.
    """
    bases = (root.resolve(), table.resolve().parent)
    files = images.map(lambda text: text if text in known else _relative(text, bases, known)).astype("string")
    if files.notna().all() or images.str.contains(r"[/\\]").any():
        return files, "relative path"
    names = pd.Series(sorted(known), dtype="string")
    by_name = pd.DataFrame({"file": names, "name": names.str.rpartition("/")[2]})
    by_name = by_name[by_name["name"].isin(images)]
    doubled = by_name.loc[by_name["name"].duplicated(), "name"].unique()
    if len(doubled):
        problem = f"{table}: {len(doubled)} names stand in more than one folder: {shortened(doubled)}"
        raise DataError(problem, hint="give paths relative to the data folder")
    return images.map(by_name.set_index("name")["file"]).astype("string"), "base name, unique in the data folder"


def normalise_splits(values: pd.Series, where: str) -> pd.Series:
    """Bring the spellings of split names to train, val and test.

    Raises:
        DataError: A name is none of them.
    """
    known = values.str.lower().map(SPLIT_NAMES)
    wrong = values[known.isna() & values.notna()].unique()
    if len(wrong):
        problem = f"{where} names splits that are none of train, val and test: {shortened(map(str, wrong))}"
        raise DataError(problem, hint="rename them, or point elsewhere: --set data.split_column=NAME")
    return known.astype("string")


def _relative(text: str, bases: Sequence[Path], known: Collection[str]) -> str | None:
    """Return the known file that a path means, seen from each of the folders; the first is the data folder."""
    plain = Path(text.replace("\\", "/"))
    for base in bases:
        path = Path(os.path.normpath(base / plain))
        for candidate in (path, Path(os.path.realpath(path.parent), path.name)):  # realpath bears loops
            if candidate.is_relative_to(bases[0]):
                file = candidate.relative_to(bases[0]).as_posix()
                if file in known:
                    return file
    return None


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype="string", keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        problem = f"label table {path} cannot be read: {error}"
        hint = "give a CSV (comma separated, UTF-8, with a header line) or Parquet file"
        raise DataError(problem, hint=hint) from error
    return table.set_axis([str(column).strip() for column in table.columns], axis=1)


def _find_column(table: pd.DataFrame, name: str, settings: DataSettings) -> str | None:
    wanted: str = getattr(settings, f"{name}_column")
    if wanted != "auto":
        if wanted not in table.columns:
            problem = f"data.{name}_column = {wanted!r} is not a column of the label table"
            raise DataError(problem, hint=f"its columns are {', '.join(table.columns)}")
        return wanted
    by_name = {column.lower(): column for column in table.columns}
    return next((by_name[candidate] for candidate in COLUMN_NAMES[name] if candidate in by_name), None)


def _labels(
    table: pd.DataFrame, path: Path, column: str | None, settings: DataSettings
) -> tuple[dict[str, pd.Series], str, str]:
    """Return the label columns of the rows, which columns said so, and why there are several; "" where one."""
    if column is not None and not settings.label_columns:
        separator = find_separator(table[column], settings)
        if separator is None:
            return {"label": table[column]}, column, ""
        labels = read_lists(table[column], separator, path)
        source = f"names of {column!r} between {separator!r}"
        n_empty = int(table[column].isin(NO_VALUE).sum() + table[column].isna().sum())
        source += f" ({n_empty} empty cells name no label)" if n_empty else ""
        return _several(labels, column, task_text(labels, source, settings))
    columns = list(settings.label_columns or _indicator_columns(table, settings))
    missing = [name for name in columns if name not in table.columns]
    if missing or len(columns) < 2:
        problem = f"{path} has no column {missing[0]!r}" if missing else f"{path} has no label column"
        hint = "name it: --set data.label_column=NAME, or one 0/1 column per class: --set data.label_columns=[A,B]"
        raise DataError(f"{problem}; its columns are {', '.join(table.columns)}", hint=hint)
    if settings.task in ("auto", "multilabel"):
        labels = read_columns(table[columns], path)
        if settings.task == "multilabel" or not is_exclusive(labels):
            task = task_text(labels, f"{len(columns)} columns of labels", settings)
            return _several(labels, ", ".join(columns), task)
    values = table[columns].apply(pd.to_numeric, errors="coerce").astype("float64")
    wrong = np.flatnonzero((values.sum(axis=1) != 1) | ~values.isin((0, 1)).all(axis=1))
    if len(wrong):
        names = ", ".join(columns)
        problem = f"{path}: {len(wrong)} rows do not have exactly one 1 among {names}, such as row {wrong[0] + 1}"
        raise DataError(problem, hint="give every image exactly one class, or --set data.task=multilabel")
    return {"label": values.idxmax(axis=1)}, ", ".join(columns), ""


def _several(labels: pd.DataFrame, source: str, task: str) -> tuple[dict[str, pd.Series], str, str]:
    return {"label": label_texts(labels), **{str(name): labels[name] for name in labels.columns}}, source, task


def _indicator_columns(table: pd.DataFrame, settings: DataSettings) -> Sequence[str]:
    """Columns that hold nothing but 0 and 1 and are not used for anything else.

    Where these do not give every row exactly one 1, also those that hold -1 and blanks, and a 1 somewhere.
    """
    used = {_find_column(table, name, settings) for name in COLUMN_NAMES}
    free = [column for column in table.columns if column not in used]
    numbers = {name: pd.to_numeric(table[name], errors="coerce").astype("float64") for name in free}
    plain = [name for name in free if numbers[name].isin((0, 1)).all()]
    one_each = len(plain) > 1 and bool((table[plain].apply(pd.to_numeric).sum(axis=1) == 1).all())
    if settings.task in ("binary", "multiclass") or (one_each and settings.task == "auto"):
        return plain
    gaps = [name for name in free if name not in plain and _may_be_label(table[name], numbers[name])]
    return [name for name in free if name in plain or name in gaps]


def _may_be_label(column: pd.Series, numbers: pd.Series) -> bool:
    """Whether a column holds 1, 0, -1 and blanks alone, with a 1 at least."""
    is_blank = column.astype("string").str.strip().fillna("").isin(NO_VALUE)
    return bool((numbers.isin((1, 0, -1)) | is_blank).all() and (numbers == 1).any())


def _check_complete(rows: pd.DataFrame, path: Path) -> None:
    nameless = np.flatnonzero(rows["image"].isna())
    if len(nameless):
        problem = f"{path}: {len(nameless)} rows name no image, such as row {nameless[0] + 1}"
        raise DataError(problem, hint="complete or remove them")
    if label_columns(rows):
        return
    unlabelled = rows.loc[rows["label"].isna(), "image"]
    if len(unlabelled):
        problem = f"{path}: {len(unlabelled)} images have no label (empty or NaN): {shortened(unlabelled)}"
        raise DataError(problem, hint="label or remove these rows")
