"""Tables in which an image may have several labels, or none: one column per label, or one of names between bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.records import LABEL
from effmed.errors import DataError, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from effmed.recipe import DataSettings

SEPARATOR = "|"  # as in the table of NIH ChestX-ray14
NO_LABEL = {"no_finding", "no_findings", "nofinding", "none", "normal", "unremarkable", "healthy", "negative"}
EMPTY = {"", "NaN", "nan", "NA", "N/A", "<NA>"}  # cells that say nothing
NUMBERS = (1.0, 0.0, -1.0)  # present, absent, uncertain as in CheXpert


def find_separator(column: pd.Series, settings: DataSettings) -> str | None:
    """Return what stands between the names of a label column; None where a cell names one class.

    A column is one of several labels where a cell holds the separator, where the recipe names one, or says so.
    """
    wanted, task = settings.label_separator, settings.task
    if task in ("binary", "multiclass"):
        return None
    separator = SEPARATOR if wanted == "auto" else wanted
    holds = bool(column.astype("string").str.contains(separator, regex=False).fillna(value=False).any())
    return separator if holds or wanted != "auto" or task == "multilabel" else None


def read_lists(column: pd.Series, separator: str, path: Path) -> pd.DataFrame:
    """Return one column per label of a column that names the labels of each row.

    Args:
        column: Names; an empty cell, or one like "No Finding", names none.
        separator: What stands between names.
        path: The table, for the message.

    Returns:
        ``label_<name>`` in the order of the names: "1" where it is named, "0" where not.

    Raises:
        DataError: A row names a finding and none at once, or no row names any.
    """
    rows = [
        {part.strip() for part in str(text).split(separator)} - EMPTY for text in column.astype("string").fillna("")
    ]
    is_none = [{name for name in row if _is_no_label(name)} for row in rows]
    torn = [number for number, (row, none) in enumerate(zip(rows, is_none, strict=True), 1) if none and row - none]
    if torn:
        problem = f"{path}: rows name a label beside 'no finding': {shortened(map(str, torn))}"
        raise DataError(problem, hint="correct these rows, or say that classes exclude each other: --set data.task=…")
    names = sorted(set().union(*rows) - set().union(*is_none))
    if not names:
        raise DataError(f"{path}: no row names a label", hint="name another column: --set data.label_column=NAME")
    return pd.DataFrame({LABEL + name: ["1" if name in row else "0" for row in rows] for name in names}, dtype="string")


def _is_no_label(name: str) -> bool:
    return name.lower().replace(" ", "_").replace("-", "_") in NO_LABEL


def read_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the columns of labels as "1", "0", "-1" (uncertain) and nothing, called ``label_<name>``.

    Raises:
        DataError: A cell is something else.
    """
    columns = {}
    for name in table.columns:
        text = table[name].astype("string").str.strip().fillna("")
        number = pd.to_numeric(table[name], errors="coerce").astype("float64")
        wrong = np.flatnonzero(~(number.isin(NUMBERS) | text.isin(EMPTY)))
        if len(wrong):
            problem = f"{path}: label {name!r} is none of 1, 0, -1 and blank in row {wrong[0] + 1}: {text[wrong[0]]!r}"
            raise DataError(problem, hint="write 1 for present, 0 for absent, -1 for uncertain, nothing if not known")
        columns[LABEL + str(name)] = number.astype("Int64").astype("string")
    return pd.DataFrame(columns)


def is_exclusive(labels: pd.DataFrame) -> bool:
    """Whether every row has exactly one label, and all others are known to be absent."""
    return bool(((labels == "1").sum(axis=1) == 1).all() and labels.isin(("0", "1")).all(axis=None))


def label_texts(labels: pd.DataFrame) -> pd.Series:
    """Return the labels of each row in words: the present ones, the uncertain ones with "?", or "none".

    A row of which nothing is known has no text.
    """
    names = [str(name).removeprefix(LABEL) for name in labels.columns]
    marks = {"1": "", "-1": "?"}
    texts = [
        SEPARATOR.join(name + marks[value] for name, value in zip(names, row, strict=True) if value in marks) or "none"
        for row in labels.fillna("").itertuples(index=False, name=None)
    ]
    known = labels.notna().any(axis=1)
    return pd.Series(texts, dtype="string", index=labels.index).where(known)


def task_text(labels: pd.DataFrame, source: str, settings: DataSettings) -> str:
    """Say why labels are taken not to exclude each other."""
    because = "as the recipe says" if settings.task == "multilabel" else "data.task"
    why = f"{source}, read as labels that do not exclude each other ({because})"
    n_present = (labels == "1").sum(axis=1)
    parts = {
        "have several": int((n_present > 1).sum()),
        "have none": int(((n_present == 0) & labels.notna().any(axis=1)).sum()),
        "say nothing": int(labels.isna().all(axis=1).sum()),
    }
    return f"task multilabel: {why}; of {len(labels)} rows " + ", ".join(f"{n} {what}" for what, n in parts.items())


def without_rare(labels: Sequence[str], counts: pd.Series, settings: DataSettings) -> tuple[tuple[str, ...], str]:
    """Return the labels that enough images have, and a sentence on those that are left out.

    Args:
        labels: Their names.
        counts: Images that have each, in the same order.
        settings: Holds ``min_positive``.

    Raises:
        DataError: None is left.
    """
    least = settings.min_positive
    kept = tuple(name for name, n in zip(labels, counts, strict=True) if n >= least)
    dropped = [f"{name} ({n} images)" for name, n in zip(labels, counts, strict=True) if n < least]
    if not kept:
        raise DataError(f"no label is present in {least} images or more", hint="lower data.min_positive")
    said = f"{len(kept)} label(s) that do not exclude each other"
    return kept, said + (f"; left out by data.min_positive = {least}: {', '.join(dropped)}" if dropped else "")
