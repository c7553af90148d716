"""Files that show the same picture with other pixels, where that makes numbers wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.audit.findings import Finding, Severity, counted, file_numbers, image_names
from effmed.data.audit.likeness import near_duplicates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.data.pixels.signature import Signatures
    from effmed.data.records import Manifest

SHOW = "show the same picture, resized, with other grey levels or recompressed"
MEND_SPLITS = "look at the pairs: delete the copies, or give both one patient, so that they stay in one split"
MEND_LABELS = "look at the pairs: find out which label is right, and delete the images with the wrong one"
MEND_PATIENTS = "look at the pairs: delete the copies, or give both one patient, so that no split divides them"


def find_near_duplicates(manifest: Manifest, signatures: Signatures) -> list[Finding]:
    """Find files that show the same picture in two splits, under two labels, or as two patients.

    Copies of one patient in one split under one label are not looked for: a follow-up may look alike, and does no harm
    there. Of images with identical pixels one stands for all.
    """
    files = file_numbers(manifest)
    pairs = near_duplicates(signatures, _owners(manifest, files))
    pairs = pairs[files[pairs[:, 0]] != files[pairs[:, 1]]]
    is_divided = _differ(manifest.frame["split"], pairs)
    is_contradictory = _differ(manifest.frame["label"], pairs)
    is_of_two = ~is_divided & ~_agree(manifest.frame["patient"], pairs)
    apart, contradictory, of_two = pairs[is_divided], pairs[is_contradictory], pairs[is_of_two]
    near, labels = "near-duplicates", "conflicting-labels"
    found = [
        _finding(manifest, near, "error", apart, f"in two splits {SHOW}", MEND_SPLITS),
        _finding(
            manifest, labels, "error", contradictory, f"under two labels are near-identical: they {SHOW}", MEND_LABELS
        ),
        _finding(manifest, near, "warning", of_two, f"of different patients in one split {SHOW}", MEND_PATIENTS),
    ]
    return [finding for finding in found if finding.n_images]


def _owners(manifest: Manifest, files: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the combinations of patient, or file where the patient is unknown, with split and label."""
    frame = manifest.frame
    patient = frame["patient"].where(frame["patient"].notna(), "\x1f" + pd.Series(files, index=frame.index).astype(str))
    parts = [frame["split"], frame["label"], patient.rename("owner")]
    return np.asarray(frame.groupby(parts, dropna=False, sort=False).ngroup(), np.int64)


def _differ(column: pd.Series, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which pairs have different values, both known."""
    number = pd.factorize(column)[0][pairs]  # -1 where unknown
    return np.asarray((number >= 0).all(axis=1) & (number[:, 0] != number[:, 1]))


def _agree(column: pd.Series, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which pairs have one value, which is known."""
    number = pd.factorize(column)[0][pairs]
    return np.asarray((number >= 0).all(axis=1) & (number[:, 0] == number[:, 1]))


def _finding(
    manifest: Manifest, kind: str, severity: Severity, pairs: NDArray[np.int64], what: str, hint: str
) -> Finding:
    text = f"{counted(len(pairs), 'pair')} of images {what}"
    return Finding(
        kind=kind,
        severity=severity,
        images=image_names(manifest, pairs.reshape(-1)),
        n_images=len(np.unique(pairs)),
        text=text,
        hint=hint,
    )
