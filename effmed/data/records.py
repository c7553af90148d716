"""Record and Manifest: one row per image, in and out of CSV and Parquet."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.data.classes import order_classes
from effmed.errors import DataError
from effmed.recipe import DataSettings
from effmed.run import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ATTRIBUTES = ("view", "sex", "age", "site", "laterality", "modality", "manufacturer", "scanner", "body_part")
IDENTITY = ("image", "frame", "label", "patient", "study", "split")
OBJECT = ("series", "instance")  # pseudonyms of DICOM's identifiers
PICTURE = ("rows", "columns", "bits", "colour", "photometric", "syntax")
PROVENANCE = ("window", "window_origin", "table")  # how stored values became grey levels; known once decoded
COLUMNS = (*IDENTITY, *OBJECT, *ATTRIBUTES, *PICTURE, *PROVENANCE)
COUNTS = ("frame", "rows", "columns", "bits")
NOT_TEXT = (*COUNTS, "age", "colour")
FRAME_DIGITS = 9
LABEL = "label_"  # before the name of each label, where labels do not exclude each other
NPZ_SUFFIX = ".npz"
SPLITS = ("train", "val", "test")
FOLD = "fold"  # column of a manifest whose train and val are divided into folds: "1" to "K", NA in test


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot become an image.

    Attributes:
        image: Path relative to the data folder.
        frame: Frame that failed, 0 for a file with one.
        reason: What is wrong with it.
        hint: What to do about it.
    """

    image: str
    frame: int
    reason: str
    hint: str


@dataclass(frozen=True)
class Record:
    """One image of the manifest.

    Attributes:
        image: Path relative to the data folder, or the member of an .npz file.
        frame: Index within the file, from 0.
        label: Name of its class, None where unknown.
        patient: Whom it shows, None where unknown.
        study: Which examination it belongs to, None where unknown.
        split: "train", "val", "test", or None before the division.
        attributes: What else is known, such as view and sex.
    """

    image: str
    frame: int
    label: str | None
    patient: str | None
    study: str | None
    split: str | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Manifest:
    """All images of a data folder.

    Attributes:
        root: The data folder, or the .npz file.
        frame: One row per image with the columns of ``COLUMNS``, and ``fold`` where there are folds; text columns
            hold NA where nothing is known. Where labels do not exclude each other, a column ``label_<name>`` for each:
            "1" present, "0" absent, "-1" uncertain, or NA; ``label`` then names them in words.
        classes: Class names in the order of the network's outputs; two classes are (negative, positive).
        unreadable: Files that could not be read.
        reasons: How patient, classes, labels and split were found: one sentence each.
    """

    root: Path
    frame: pd.DataFrame
    classes: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    def records(self) -> Iterator[Record]:
        """Iterate over the rows as records."""
        for row in self.frame.to_dict("records"):
            known: dict[str, Any] = {str(key): None if pd.isna(value) else value for key, value in row.items()}
            more = _more_columns(self.frame)
            attributes = {name: known.pop(name) for name in (*OBJECT, *ATTRIBUTES, *PICTURE, *PROVENANCE, *more)}
            yield Record(**known, attributes=attributes)

    def with_frame(self, frame: pd.DataFrame, **reasons: str) -> Manifest:
        """Return the same manifest with other rows or columns, and more reasons."""
        return replace(self, frame=frame.reset_index(drop=True), reasons={**self.reasons, **reasons})

    def in_split(self, split: str) -> Manifest:
        """Return the images of one split, in order."""
        return self.with_frame(self.frame[self.frame["split"] == split])

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several labels, or none."""
        return bool(label_columns(self.frame))

    @property
    def has_files(self) -> bool:
        """Whether ``image`` is a file, so that its frames belong together; in an .npz file it is a member."""
        return self.root.suffix != NPZ_SUFFIX

    def without(self, failures: Mapping[int, DataError]) -> Manifest:
        """Return the manifest without the rows that failed to decode, which become unreadable.

        So do the other frames of the same file: what is left of it would not be the file.
        """
        more = {row: (error.problem, error.hint) for row, error in failures.items()}
        files = self.frame["image"].astype(str)
        failed = {files.iloc[row]: row for row in sorted(failures, reverse=True)} if self.has_files else {}
        for row in np.flatnonzero(files.isin(list(failed))):
            first = failed[files.iloc[int(row)]]
            problem = f"frame {self.frame['frame'].iloc[first]} of the same file cannot be read"
            more.setdefault(int(row), (problem, failures[first].hint))
        rows = self.frame.iloc[list(more)]
        unreadable = tuple(
            Unreadable(str(image), int(number), *reason)
            for image, number, reason in zip(rows["image"], rows["frame"], more.values(), strict=True)
        )
        kept = self.frame.drop(rows.index)
        return replace(self.with_frame(kept), unreadable=(*self.unreadable, *unreadable))

    def digest(self) -> str:
        """Return the SHA-256 of image, frame, label and split of all rows, and of which belong to one patient or study.

        It is the same whatever the order of the rows, and whatever patients and studies are called.
        """
        rows = self.frame[[*IDENTITY, *label_columns(self.frame)]].astype("string").fillna("")
        first = image_keys(self.frame)
        for name in ("patient", "study"):
            rows[name] = first.groupby(rows[name]).transform("min").where(rows[name] != "", "")
        lines = sorted("\x1f".join(row) for row in rows.itertuples(index=False, name=None))
        return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def label_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of labels that do not exclude each other, in their order; none where labels do."""
    return [str(name) for name in frame.columns if str(name).startswith(LABEL)]


def _more_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that not every manifest has: the fold, and labels that do not exclude each other."""
    return [*([FOLD] if FOLD in frame else []), *label_columns(frame)]


def has_class(frame: pd.DataFrame, name: str) -> pd.Series:
    """Tell which rows are of a class, or have a label among others; (n,) bool."""
    held = frame[LABEL + name] == "1" if LABEL + name in frame else frame["label"] == name
    return held.fillna(value=False).astype("bool")


def is_told(frame: pd.DataFrame, name: str) -> pd.Series:
    """Tell of which rows it is known whether they are of a class, or have a label; (n,) bool."""
    if LABEL + name in frame:
        return frame[LABEL + name].isin(("0", "1")).fillna(value=False).astype("bool")
    return frame["label"].notna()


def image_keys(frame: pd.DataFrame) -> pd.Series:
    """Return ``image#frame`` of each row: a text whose order is that of images, and of frames within a file."""
    return frame["image"].astype("string") + "#" + frame["frame"].astype("string").str.zfill(FRAME_DIGITS)


def make_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return a frame with exactly the manifest's columns and types from rows that may lack some."""
    return with_types(pd.DataFrame(list(rows), columns=list(COLUMNS)))


def with_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Give every column of a manifest its type: numbers where counted, text with NA elsewhere."""
    text = {name: frame[name].astype("string") for name in COLUMNS if name not in NOT_TEXT}
    typed: dict[str, pd.Series] = {name: column.mask(column == "") for name, column in text.items()}
    for name in COUNTS:
        typed[name] = frame[name].fillna(0).astype("int64")
    typed["age"] = pd.to_numeric(frame["age"], errors="coerce").astype("float64")
    typed["colour"] = frame["colour"].fillna(value=False).astype("bool")
    more = _more_columns(frame)
    typed |= {name: frame[name].astype("string").mask(frame[name] == "") for name in more}
    return pd.DataFrame(typed, index=frame.index, columns=[*COLUMNS, *more])


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write all rows as CSV or Parquet, by the suffix; whole or not at all."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            manifest.frame.to_parquet(temporary, index=False)
        else:
            manifest.frame.to_csv(temporary, index=False, encoding="utf-8")


def read_manifest(path: Path, root: Path, *, classes: Sequence[str] = ()) -> Manifest:
    """Read what ``write_manifest`` wrote.

    Args:
        path: The table.
        root: The data folder that its paths are relative to.
        classes: Class names in the order of the network's outputs; without them, the order that their names suggest.

    Raises:
        DataError: Columns are missing, or the file is not a table.
    """
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, ValueError) as error:
        problem = f"manifest {path} cannot be read: {error}"
        raise DataError(problem, hint="use the manifest.csv that a run wrote") from error
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        problem = f"manifest {path} lacks the columns {', '.join(missing)}"
        raise DataError(problem, hint="use the manifest.csv of a run of this version")
    typed = with_types(frame)
    if labels := [name.removeprefix(LABEL) for name in label_columns(typed)]:
        return Manifest(root, typed, classes=tuple(classes or labels))
    names = map(str, typed["label"].dropna().unique())
    return Manifest(root, typed, classes=tuple(classes) or order_classes(names, DataSettings())[0])


def _read_csv(path: Path) -> pd.DataFrame:
    """Read text as text ("NA" and "007" stay what they are) and numbers to their last digit."""
    known = {**dict.fromkeys(COLUMNS, "string"), **dict.fromkeys(COUNTS, "Int64"), "colour": "boolean"}
    kinds = defaultdict(lambda: "string", known)
    frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    return frame.assign(age=frame["age"].map(float, na_action="ignore")) if "age" in frame else frame
