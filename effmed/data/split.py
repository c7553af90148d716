"""Patients → train, val and test: stratified by class, no patient in two splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.labels import shortened
from effmed.data.records import SPLITS, Manifest
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.recipe import DataSettings

PATIENTS_PER_CLASS_MIN = 3  # one for each split


def assign_splits(manifest: Manifest, settings: DataSettings) -> Manifest:
    """Give every image a split; what the data says about it is respected.

    Args:
        manifest: Labelled images with patients; ``split`` may be given, wholly or only for train and one other.
        settings: Shares and seed.

    Raises:
        DataError: A given split divides a patient, or a class cannot stand in every split.
    """
    frame = manifest.frame
    given = frame["split"]
    if given.notna().any() and given.isna().any():
        missing = frame.loc[given.isna(), "image"]
        problem = f"{len(missing)} images have no split although others do: {shortened(missing)}"
        raise DataError(problem, hint="give every image a split, or none")
    _check_patients(frame, "the given splits")
    shares = {"val": settings.val_fraction, "test": settings.test_fraction}
    present = set(given.dropna())
    if present >= set(SPLITS):
        divided, reason = given, "splits as given"
    elif not present:
        divided = _draw(frame, shares, settings.split_seed)
        reason = _reason(shares, settings.split_seed)
    else:
        divided, reason = _complete(frame, shares, settings.split_seed)
    whole = manifest.with_frame(frame.assign(split=divided.astype("string")), split=reason)
    _check_classes(whole)
    return whole


def shared_patients(manifest: Manifest) -> int:
    """Return how many patients stand in more than one split; ``assign_splits`` makes it 0."""
    return int((manifest.frame.groupby("patient")["split"].nunique() > 1).sum())


def split_table(manifest: Manifest) -> pd.DataFrame:
    """Return images, patients and images per class of each split."""
    groups = manifest.frame.groupby("split")
    counts = pd.crosstab(manifest.frame["split"], manifest.frame["label"])
    table = pd.DataFrame({"images": groups.size(), "patients": groups["patient"].nunique()}).join(counts)
    return table.reindex([split for split in SPLITS if split in table.index])


def _reason(shares: Mapping[str, float], seed: int) -> str:
    train = 1 - sum(shares.values())
    return (
        f"patients divided {train:.0%} / {shares['val']:.0%} / {shares['test']:.0%}, stratified by class, seed {seed}"
    )


def _complete(frame: pd.DataFrame, shares: Mapping[str, float], seed: int) -> tuple[pd.Series, str]:
    """Draw the splits that are not given from the given train split."""
    present = set(frame["split"])
    if "train" not in present:
        problem = f"the given splits are {', '.join(sorted(present))}: there is no train split"
        raise DataError(problem, hint="give train (and test, val), or no splits at all")
    absent = {name: share for name, share in shares.items() if name not in present}
    train = frame[frame["split"] == "train"]
    drawn = _draw(train, absent, seed)
    return frame["split"].where(frame["split"] != "train", drawn.reindex(frame.index)), (
        f"splits as given; {' and '.join(absent)} drawn from train by patient, seed {seed}"
    )


def _draw(frame: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Divide patients class by class; the rarest class of a patient decides where it is counted."""
    rarity = frame["label"].value_counts()
    patients = (
        frame.assign(rarity=frame["label"].map(rarity).astype("int64"))
        .sort_values(["patient", "rarity", "label"])
        .groupby("patient")
        .agg(stratum=("label", "first"), n_images=("label", "size"))
    )
    chance = np.random.default_rng(seed)
    assigned: dict[str, str] = {}
    for _, members in patients.groupby("stratum"):
        shuffled = members.iloc[chance.permutation(len(members))]
        assigned |= _divide(shuffled["n_images"], shares)
    return frame["patient"].map(assigned)


def _divide(n_images: pd.Series, shares: Mapping[str, float]) -> dict[str, str]:
    """Give each patient of one stratum to the split that lacks most images; every split gets one first."""
    total = float(n_images.sum())
    lacking = {name: share * total for name, share in shares.items()}
    lacking["train"] = total - sum(lacking.values())
    waiting = [name for name in shares if len(n_images) >= PATIENTS_PER_CLASS_MIN]
    assigned = {}
    for patient, count in n_images.items():
        chosen = waiting.pop() if waiting else max(lacking, key=lambda name: lacking[name])
        assigned[str(patient)] = chosen
        lacking[chosen] -= float(count)
    return assigned


def _check_patients(frame: pd.DataFrame, where: str) -> None:
    n_splits = frame.groupby("patient")["split"].nunique()
    torn = n_splits.index[n_splits > 1]
    if len(torn):
        images = frame.loc[frame["patient"].isin(torn), "image"]
        problem = f"{len(torn)} patients stand in more than one split in {where}; their images: {shortened(images)}"
        raise DataError(problem, hint="move each patient into one split, or leave the splits out and let effmed divide")


def _check_classes(manifest: Manifest) -> None:
    frame = manifest.frame
    for name in manifest.classes:
        of_class = frame[frame["label"] == name]
        missing = [split for split in SPLITS if split not in set(of_class["split"])]
        if missing:
            n_patients = of_class["patient"].nunique()
            problem = (
                f"class {name!r} ({n_patients} patient{'s' * (n_patients != 1)}) is missing in {', '.join(missing)}"
            )
            hint = f"a class needs at least {PATIENTS_PER_CLASS_MIN} patients, one per split; add some or merge classes"
            raise DataError(problem, hint=hint)
