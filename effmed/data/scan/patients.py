"""Whom an image shows: from the label table, the DICOM headers, a pattern in the path, or the user's word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effmed.errors import DataError, RecipeError, shortened

if TYPE_CHECKING:
    import pandas as pd

    from effmed.recipe import DataSettings

EXAMPLE = "'^([^_/]+)_'"


@dataclass(frozen=True)
class Patients:
    """The patient of every image, from one source: two kinds of ids side by side could name one person twice.

    Attributes:
        ids: Text, NA where unknown; in the order of the images.
        reason: How they were found, in one sentence.
        is_hidden: Whether the ids are pseudonyms already, or name nobody.
    """

    ids: pd.Series
    reason: str
    is_hidden: bool = True


def find_patients(frame: pd.DataFrame, column: str | None, settings: DataSettings, *, required: bool) -> Patients:
    """Find the patient of every image.

    Args:
        frame: Rows of a manifest; ``patient`` comes from the label table where ``column`` is given, else from the
            DICOM headers.
        column: What the label table calls the patient; None where it has no such column.
        settings: ``patient_pattern`` and ``one_image_per_patient``.
        required: Whether every image needs a patient.

    Raises:
        DataError: Patients are required and missing.
        RecipeError: The pattern is no regular expression with a group.
    """
    known = frame["patient"]
    if column is not None:
        _check_column(frame, column, required=required)
        return Patients(known, f"patients from column {column!r} of the label table")
    if known.notna().all() and (known.nunique() > 1 or not required):
        return Patients(known, "patients from PatientID of the DICOM headers")
    if settings.patient_pattern:
        return _by_pattern(frame["image"], settings.patient_pattern, required=required)
    if settings.one_image_per_patient:
        return _one_each(frame)
    if required:
        raise _unknown(frame)
    return Patients(known, "patients are known of some images only" if known.notna().any() else "no patients known")


def _check_column(frame: pd.DataFrame, column: str, *, required: bool) -> None:
    empty = frame.loc[frame["patient"].isna(), "image"]
    if required and len(empty):
        problem = f"column {column!r} of the label table names no patient for {len(empty)} images: {shortened(empty)}"
        hint = "complete the column, or name another one: --set data.patient_column=NAME"
        raise DataError(problem, hint=hint)


def _by_pattern(images: pd.Series, pattern: str, *, required: bool) -> Patients:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        problem = f"data.patient_pattern = {pattern!r} is not a regular expression: {error}"
        raise RecipeError(problem, hint=f"for example {EXAMPLE}") from error
    if compiled.groups < 1:
        problem = f"data.patient_pattern = {pattern!r} has no group"
        raise RecipeError(problem, hint=f"put round brackets around the patient's part, for example {EXAMPLE}")
    found = images.map(lambda image: match.group(1) if (match := compiled.search(image)) else None).astype("string")
    found = found.replace("", None)
    without = images[found.isna()]
    if required and len(without):
        problem = f"data.patient_pattern = {pattern!r} finds no patient in {len(without)} paths: {shortened(without)}"
        raise DataError(problem, hint="widen the pattern, or move these images away")
    return Patients(found, is_hidden=False, reason=f"patients from the pattern {pattern} in the path")


def _one_each(frame: pd.DataFrame) -> Patients:
    """Make every image without an id a patient of its own; frames of one file show the same one."""
    known = frame["patient"]
    tells_apart = known.nunique() > 1 or known.isna().any()
    ids = known.fillna(frame["image"]) if tells_apart else frame["image"]
    return Patients(ids.astype("string"), "every image without a patient id is of another patient: set by the recipe")


def _unknown(frame: pd.DataFrame) -> DataError:
    known = frame["patient"].notna()
    if known.all():
        problem = f"all {len(frame)} images have the same PatientID in their DICOM headers, which tells nobody apart"
    else:
        missing = frame.loc[~known, "image"]
        problem = f"{len(missing)} of {len(frame)} images have no patient: {shortened(missing)}"
    hint = (
        "add a patient_id column to the label table; or --set data.patient_pattern='^([^_/]+)_' for names such as "
        "p1_2.png; or, if every image is of another patient, --set data.one_image_per_patient=true"
    )
    return DataError(problem, hint=hint)
