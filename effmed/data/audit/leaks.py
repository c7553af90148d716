"""What stands in two splits, or twice in one: patients, studies, DICOM objects, and identical pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.audit.findings import Finding, Severity, counted, file_numbers, image_names

if TYPE_CHECKING:
    from effmed.data.pixels.signature import Signatures
    from effmed.data.records import Manifest

UNDIVIDED = "undivided"  # stands for the split of images that have none yet


@dataclass(frozen=True)
class _Trouble:
    """A finding without its images: ``text`` holds ``{groups}`` and ``{images}`` for the counts of both."""

    kind: str
    severity: Severity
    thing: str
    text: str
    hint: str


IN_TWO_SPLITS = "{groups} in more than one split, with {images}"
DIVIDE = "divide by patient: without a split column, patients are divided as wholes"
DELETE = "delete the copies, and scan again"
SHARED = {
    "patient": _Trouble("shared-patient", "error", "patient", IN_TWO_SPLITS, DIVIDE),
    "study": _Trouble("shared-study", "error", "study", IN_TWO_SPLITS, DIVIDE),
    "instance": _Trouble("shared-instance", "error", "DICOM object", IN_TWO_SPLITS, DELETE),
}
REPEATED_INSTANCE = _Trouble(
    "shared-instance", "warning", "DICOM object", "{groups} in more than one file of a split, with {images}", DELETE
)
IDENTICAL_IN_SPLITS = _Trouble(
    "identical-pixels", "error", "picture", "{groups} in more than one split, with {images} of identical pixels", DELETE
)
IDENTICAL_IN_SPLIT = _Trouble(
    "identical-pixels",
    "warning",
    "picture",
    "{groups} in more than one file of a split, with {images} of identical pixels",
    DELETE,
)
TWO_LABELS = _Trouble(
    "conflicting-labels",
    "error",
    "picture",
    "{groups} under more than one label, with {images} of identical pixels",
    "find out which label is right, and delete the images with the wrong one",
)


def find_leaks(manifest: Manifest) -> list[Finding]:
    """Find patients, studies and DICOM objects in two splits, and DICOM objects in two files of one split."""
    frame = manifest.frame
    found = []
    for column, trouble in SHARED.items():
        if column in frame:
            found += _findings(manifest, frame[column], _has_several(frame[column], frame["split"]), trouble)
    if "instance" in frame:
        key = _within_split(manifest, frame["instance"])
        found += _findings(manifest, key, _has_several(key, _files(manifest)), REPEATED_INSTANCE)
    return found


def find_identical_pixels(manifest: Manifest, signatures: Signatures) -> list[Finding]:
    """Find files with the same picture in two splits, in one split, and under two labels."""
    frame, files = manifest.frame, _files(manifest)
    key = pd.Series(signatures.pixel_hash, index=frame.index, dtype="string").replace("", pd.NA)
    is_copy = _has_several(key, files)
    within = _within_split(manifest, key)
    return [
        *_findings(manifest, key, is_copy & _has_several(key, frame["split"]), IDENTICAL_IN_SPLITS),
        *_findings(manifest, within, _has_several(within, files), IDENTICAL_IN_SPLIT),
        *_findings(manifest, key, is_copy & _has_several(key, frame["label"]), TWO_LABELS),
    ]


def _files(manifest: Manifest) -> pd.Series:
    return pd.Series(file_numbers(manifest), index=manifest.frame.index)


def _within_split(manifest: Manifest, key: pd.Series) -> pd.Series:
    """Return keys that are equal only within a split."""
    return key.astype("string") + "\x1f" + manifest.frame["split"].fillna(UNDIVIDED)


def _has_several(key: pd.Series, values: pd.Series) -> pd.Series:
    """Tell of each row whether the rows of its key have several values; rows without a key or a value do not count."""
    n_values = values.groupby(key).transform("nunique")
    return n_values > 1


def _findings(manifest: Manifest, key: pd.Series, is_concerned: pd.Series, trouble: _Trouble) -> list[Finding]:
    """Return one finding about the rows that are concerned, those of one key together; none where there are none."""
    number = pd.factorize(key)[0]
    rows = np.flatnonzero(is_concerned)
    if not len(rows):
        return []
    rows = rows[np.argsort(number[rows], kind="stable")]
    n_groups = len(np.unique(number[rows]))
    verb = "is" if n_groups == 1 else "are"
    text = trouble.text.format(groups=f"{counted(n_groups, trouble.thing)} {verb}", images=counted(len(rows), "image"))
    return [
        Finding(
            kind=trouble.kind,
            severity=trouble.severity,
            images=image_names(manifest, rows),
            n_images=len(rows),
            text=text,
            hint=trouble.hint,
        )
    ]
