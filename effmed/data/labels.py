"""Label tables and class folders: which image has which class, patient, study and split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effmed.recipe import DataSettings

N_SHOWN = 10
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
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
NEGATIVE_NAMES = {
    "normal", "no_finding", "no_findings", "nofinding", "nofindings", "none", "negative", "neg", "healthy", "control",
    "controls", "benign", "clear", "absent", "no", "0", "false", "background", "unremarkable",
}  # fmt: skip


def read_labels(path: Path, settings: DataSettings) -> pd.DataFrame:
    """Read a label table.

    Args:
        path: CSV or Parquet.
        settings: Names of the columns, where they are not found by themselves.

    Returns:
        Text columns ``image`` and ``label``, and those of patient, study, split, view, sex, age and site that exist.

    Raises:
        DataError: The table cannot be read, a column is missing, or a label is missing or given twice.
    """
    table = _read_table(path)
    found = {name: _find_column(table, name, settings) for name in COLUMN_NAMES}
    if found["image"] is None:
        problem = f"{path} has no column with image paths; its columns are {', '.join(map(str, table.columns))}"
        raise DataError(problem, hint="name it: --set data.image_column=NAME")
    label = _labels(table, path, found["label"], settings)
    columns = {name: table[column] for name, column in found.items() if column is not None and name != "label"}
    rows = pd.DataFrame({**columns, "label": label}).astype("string")
    for name in rows.columns:
        rows[name] = rows[name].str.strip().replace("", pd.NA)
    _check_rows(rows, path)
    return rows.drop_duplicates().reset_index(drop=True)


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


def order_classes(names: Iterable[str], settings: DataSettings) -> tuple[tuple[str, ...], str]:
    """Put class names in the order of the network's outputs, the positive one of two last.

    Returns:
        The names, and a sentence on how the order was found.

    Raises:
        DataError: ``data.positive_class`` is not one of two classes.
    """
    classes = tuple(sorted(set(names)))
    wanted = settings.positive_class
    if wanted != "auto":
        if len(classes) != 2 or wanted not in classes:
            problem = f"data.positive_class = {wanted!r}, but the classes are {', '.join(classes)}"
            raise DataError(problem, hint="name one of exactly two classes, or leave it out")
        return tuple(sorted(classes, key=lambda name: name == wanted)), f"positive class {wanted}: set by the recipe"
    if len(classes) != 2:
        return classes, f"{len(classes)} classes in alphabetical order"
    negative = [name for name in classes if _plain(name) in NEGATIVE_NAMES]
    if len(negative) == 1:
        positive = next(name for name in classes if name not in negative)
        return (negative[0], positive), f"positive class {positive}: {negative[0]} reads like the absence of a finding"
    return classes, f"positive class {classes[1]}: the last in alphabetical order (change it: data.positive_class)"


def shortened(items: Iterable[object]) -> str:
    """Return the first ten items as text, and how many there are in all."""
    texts = [str(item) for item in items]
    rest = f" … ({len(texts)} in all)" if len(texts) > N_SHOWN else ""
    return ", ".join(texts[:N_SHOWN]) + rest


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype="string", keep_default_na=False, na_values=["", "NaN", "nan", "NA"])
    except (OSError, ValueError) as error:
        problem = f"label table {path} cannot be read: {error}"
        raise DataError(
            problem, hint="give a CSV (comma separated, UTF-8, with a header line) or Parquet file"
        ) from error


def _find_column(table: pd.DataFrame, name: str, settings: DataSettings) -> str | None:
    wanted: str = getattr(settings, f"{name}_column")
    if wanted != "auto":
        if wanted not in table.columns:
            problem = f"data.{name}_column = {wanted!r} is not a column of the label table"
            raise DataError(problem, hint=f"its columns are {', '.join(map(str, table.columns))}")
        return wanted
    by_name = {str(column).strip().lower(): str(column) for column in table.columns}
    return next((by_name[candidate] for candidate in COLUMN_NAMES[name] if candidate in by_name), None)


def _labels(table: pd.DataFrame, path: Path, column: str | None, settings: DataSettings) -> pd.Series:
    if column is not None and not settings.label_columns:
        return table[column].astype("string")
    columns = settings.label_columns or _indicator_columns(table, settings)
    missing = [name for name in columns if name not in table.columns]
    if missing or len(columns) < 2:
        problem = f"{path} has no label column" if not missing else f"{path} has no column {missing[0]!r}"
        raise DataError(
            problem, hint="name it: --set data.label_column=NAME, or one 0/1 column per class: data.label_columns"
        )
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce")
    wrong = values.index[(values.sum(axis=1) != 1) | ~values.isin((0, 1)).all(axis=1)]
    if len(wrong):
        names = ", ".join(columns)
        problem = f"{path}: {len(wrong)} rows do not have exactly one 1 among {names}, such as row {wrong[0] + 2}"
        raise DataError(problem, hint="give every image exactly one class")
    return values.idxmax(axis=1).astype("string")


def _indicator_columns(table: pd.DataFrame, settings: DataSettings) -> Sequence[str]:
    """Columns that hold nothing but 0 and 1 and are not used for anything else."""
    used = {_find_column(table, name, settings) for name in COLUMN_NAMES}
    free = [str(column) for column in table.columns if column not in used]
    return [name for name in free if pd.to_numeric(table[name], errors="coerce").isin((0, 1)).all()]


def _check_rows(rows: pd.DataFrame, path: Path) -> None:
    nameless = rows.index[rows["image"].isna()]
    if len(nameless):
        raise DataError(
            f"{path}: {len(nameless)} rows name no image, such as row {nameless[0] + 2}", hint="complete or remove them"
        )
    unlabelled = rows.loc[rows["label"].isna(), "image"]
    if len(unlabelled):
        problem = f"{path}: {len(unlabelled)} images have no label (empty or NaN): {shortened(unlabelled)}"
        raise DataError(problem, hint="label or remove these rows")
    n_labels = rows.groupby("image")["label"].nunique()
    torn = n_labels.index[n_labels > 1]
    if len(torn):
        problem = f"{path}: {len(torn)} images have two labels: {shortened(torn)}"
        raise DataError(problem, hint="give every image one label")
    doubled = rows.drop_duplicates()["image"].duplicated()
    if doubled.any():
        problem = f"{path}: rows contradict each other for {shortened(rows.drop_duplicates()['image'][doubled])}"
        raise DataError(problem, hint="give every image one row")
