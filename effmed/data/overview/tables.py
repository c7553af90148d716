"""Manifest → how many images there are of each kind, in all and per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from pydantic import BaseModel, ConfigDict
from pydicom.uid import UID

from effmed.data.records import SPLITS, has_class

if TYPE_CHECKING:
    from effmed.data.records import Manifest

TEXTS = ("modality", "body_part", "view", "laterality", "manufacturer", "scanner", "site", "sex")
PICTURES = ("photometric", "syntax", "window_origin")
NOT_STATED = "not stated"
AGE_BAND_YEARS = 20


class Tally(BaseModel):
    """Images that have one value of an attribute.

    Attributes:
        value: In words.
        n_images: How many.
        per_class: How many of each class; empty where there are no labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str
    n_images: int
    per_class: dict[str, int]


class Share(BaseModel):
    """What a split holds; n_patients and n_studies are None where none is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str
    n_images: int
    n_patients: int | None
    n_studies: int | None
    per_class: dict[str, int]


class Overview(BaseModel):
    """What a data folder holds.

    Attributes:
        splits: Train, val, test and all; only all where images are not divided.
        tables: By attribute its values, the most frequent first; none of attributes that no image states.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    splits: tuple[Share, ...]
    tables: dict[str, tuple[Tally, ...]]


def make_overview(manifest: Manifest) -> Overview:
    """Count what a manifest holds, divided or not, labelled or not."""
    frame = manifest.frame
    parts = {name: frame[frame["split"] == name] for name in SPLITS}
    shares = [_share(name, part, manifest.classes) for name, part in parts.items() if len(part)]
    columns = {
        **{name: frame[name] for name in TEXTS},
        "age": frame["age"].map(_age_band, na_action="ignore"),
        "size": _sizes(frame),
        "bits": frame["bits"].where(frame["bits"] > 0).astype("Int64").astype("string"),
        **{name: frame[name] for name in PICTURES},
    }
    columns["syntax"] = columns["syntax"].map(_syntax_name, na_action="ignore")
    tables = {name: _tallies(column, frame, manifest.classes) for name, column in columns.items()}
    return Overview(
        splits=(*shares, _share("all", frame, manifest.classes)),
        tables={name: tallies for name, tallies in tables.items() if tallies},
    )


def _share(name: str, frame: pd.DataFrame, classes: tuple[str, ...]) -> Share:
    patients, studies = (int(frame[column].nunique()) or None for column in ("patient", "study"))
    return Share(
        split=name,
        n_images=len(frame),
        n_patients=patients,
        n_studies=studies,
        per_class=_per_class(frame, classes),
    )


def _tallies(column: pd.Series, frame: pd.DataFrame, classes: tuple[str, ...]) -> tuple[Tally, ...]:
    if column.isna().all():
        return ()
    stated = column.astype("string").fillna(NOT_STATED)
    counts = {str(value): int(count) for value, count in stated.value_counts(sort=False).items()}
    return tuple(
        Tally(value=value, n_images=count, per_class=_per_class(frame[stated == value], classes))
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _per_class(frame: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    return {name: int(has_class(frame, name).sum()) for name in classes}


def _sizes(frame: pd.DataFrame) -> pd.Series:
    size = frame["columns"].astype(str) + " x " + frame["rows"].astype(str)
    return size.where(frame["rows"] > 0)


def _age_band(years: float) -> str:
    first = int(years // AGE_BAND_YEARS) * AGE_BAND_YEARS
    return f"{first} to {first + AGE_BAND_YEARS - 1} years"


def _syntax_name(syntax: str) -> str:
    """Return the name of a transfer syntax; what is no UID, such as png, is a name already."""
    return str(UID(syntax).name) if syntax[:1].isdigit() else syntax
