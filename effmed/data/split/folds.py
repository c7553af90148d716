"""Train and val → K folds by patient: each is val once, for a network that learns from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from effmed.data.records import FOLD, Manifest, has_class
from effmed.data.split.splits import draw
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 2  # folds that are a division


def assign_folds(manifest: Manifest, n_folds: int, seed: int) -> Manifest:
    """Divide the patients of train and val into folds; test stays what it is.

    Args:
        manifest: Divided into train, val and test, which ``seed`` and the number of folds do not change.
        n_folds: At least 2.
        seed: Of the order in which patients are dealt.

    Returns:
        The manifest with a column ``fold``, "1" to "K", NA in test, as ``in_fold`` gives it for the first.

    Raises:
        DataError: A class is missing in a fold, or a label in what is left to learn from.
    """
    frame = manifest.frame
    is_test = frame["split"] == "test"
    dealt = draw(frame[~is_test], dict.fromkeys(_names(n_folds), 1 / n_folds), seed)
    reason = f"train and val divided into {n_folds} folds by patient, stratified by class, seed {seed}; test stays"
    whole = manifest.with_frame(frame.assign(**{FOLD: dealt.reindex(frame.index).astype("string")}), folds=reason)
    check_folds(whole)
    return in_fold(whole, 1)


def folds_of(manifest: Manifest) -> int:
    """Return how many folds a manifest is divided into; 0 for none."""
    return 0 if FOLD not in manifest.frame else int(manifest.frame[FOLD].astype("Int64").max())


def in_fold(manifest: Manifest, number: int) -> Manifest:
    """Return all images as the network of one fold sees them: the fold is val, the other folds are train."""
    frame = manifest.frame
    held_out = (frame[FOLD] == str(number)).fillna(value=False).astype("bool")
    split = frame["split"].where(frame["split"] == "test", "train").mask(held_out, "val")
    return manifest.with_frame(frame.assign(split=split.astype("string")))


def in_turn(manifest: Manifest) -> Manifest:
    """Return all images as all networks together see them: whatever is no test is train, and val in its turn."""
    frame = manifest.frame
    return manifest.with_frame(frame.assign(split=frame["split"].where(frame["split"] == "test", "train")))


def shared_between_folds(manifest: Manifest) -> int:
    """Return how many patients stand in more than one fold, or in a fold and in test."""
    place = manifest.frame[FOLD].fillna("test")
    return int((place.groupby(manifest.frame["patient"]).nunique() > 1).sum())


def check_folds(manifest: Manifest) -> None:
    """Make sure that every class stands in every fold; of several labels, that no fold holds all images of one.

    Raises:
        DataError: One does not.
    """
    numbers = _names(folds_of(manifest))
    for name in manifest.classes:
        rows = manifest.frame[has_class(manifest.frame, name) & manifest.frame[FOLD].notna()]
        held, n_patients = set(rows[FOLD]), rows["patient"].nunique()
        missing = [number for number in numbers if number not in held]
        if manifest.is_multilabel and len(held) < FEWEST:
            problem = f"label {name!r} ({n_patients} patients in train and val) would be in one fold of {len(numbers)}"
            raise DataError(problem, hint="leave rare labels out, for example: --set data.min_positive=10")
        if missing and not manifest.is_multilabel:
            problem = f"class {name!r} ({n_patients} patients in train and val) is missing in fold {', '.join(missing)}"
            raise DataError(problem, hint=_fewer(min(n_patients, len(numbers) - 1)))


def _fewer(n_folds: int) -> str:
    merge = "add patients, or merge the class with another"
    return f"take fewer folds, such as --folds {n_folds}; or {merge}" if n_folds >= FEWEST else merge


def fold_table(manifest: Manifest) -> pd.DataFrame:
    """Return images, patients and images per class: one row per fold."""
    frame = manifest.frame[manifest.frame[FOLD].notna()]
    groups = frame.groupby(frame[FOLD].astype("int64"))
    counts = pd.DataFrame({"images": groups.size(), "patients": groups["patient"].nunique()})
    for name in manifest.classes:
        counts[name] = has_class(frame, name).groupby(frame[FOLD].astype("int64")).sum()
    return counts.rename_axis(FOLD).reset_index()


def _names(n_folds: int) -> Sequence[str]:
    return [str(number) for number in range(1, n_folds + 1)]
