"""Patients → train, val and test: stratified by class, no patient in two splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.data.records import LABEL, SPLITS, Manifest, has_class, image_keys, label_columns
from effmed.errors import DataError, RecipeError, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from effmed.recipe import DataSettings


def assign_splits(manifest: Manifest, settings: DataSettings) -> Manifest:
    """Give every image a split; what the data says about it is respected.

    Args:
        manifest: Labelled images with patients; ``split`` is known of all images or of none. Where it names no val,
            or no test, that one is drawn from train.
        settings: Shares and seed.

    Raises:
        DataError: The given splits divide a patient or are incomplete, or a class is missing in a split.
        RecipeError: The shares leave nothing to train on.
    """
    shares = _shares(settings)
    frame = manifest.frame
    _check_given(frame)
    present = [split for split in SPLITS if (frame["split"] == split).any()]
    absent = {name: share for name, share in shares.items() if name not in present}
    if not present:
        divided = draw(frame, _with_train(shares), settings.split_seed)
        reason = _reason(shares, settings.split_seed, several=manifest.is_multilabel)
    elif absent:
        drawn = draw(frame[frame["split"] == "train"], _with_train(absent), settings.split_seed)
        divided = drawn.reindex(frame.index).fillna(frame["split"])
        names = " and ".join(absent)
        reason = f"splits as given; {names} drawn from train by patient, seed {settings.split_seed}"
    else:
        divided, reason = frame["split"], "splits as given"
    whole = manifest.with_frame(frame.assign(split=divided.astype("string")), split=reason)
    check_classes(whole)
    return whole


def check_classes(manifest: Manifest) -> None:
    """Make sure that every class stands in every split; of several labels, that an image of train has each.

    A label that val or test lacks is not calibrated there, or not evaluated, and that is said; see the plan.

    Raises:
        DataError: One does not.
    """
    frame = manifest.frame
    if manifest.is_multilabel:
        _check_labels(manifest)
        return
    n_patients = frame.groupby("label")["patient"].nunique()
    for name in manifest.classes:
        splits = set(frame.loc[frame["label"] == name, "split"])
        missing = [split for split in SPLITS if split not in splits]
        if missing:
            problem = f"class {name!r} ({n_patients.get(name, 0)} patients) is missing in {', '.join(missing)}"
            hint = f"a class needs {len(SPLITS)} patients or more, one per split: add some, or merge it with another"
            raise DataError(problem, hint=hint)


def _check_labels(manifest: Manifest) -> None:
    if len(manifest.classes) < 2:
        problem = f"only one label, {manifest.classes[0]!r}, where several do not exclude each other"
        raise DataError(problem, hint="add labels, or write one class per image and --set data.task=binary")
    train = manifest.frame[manifest.frame["split"] == "train"]
    missing = [name for name in manifest.classes if not has_class(train, name).any()]
    if missing:
        problem = f"{len(missing)} labels are present in no training image: {shortened(missing)}"
        raise DataError(problem, hint="leave rare labels out, for example: --set data.min_positive=10")


def shared_patients(manifest: Manifest) -> int:
    """Return how many patients stand in more than one split; ``assign_splits`` makes it 0."""
    return int((manifest.frame.groupby("patient")["split"].nunique() > 1).sum())


def split_table(manifest: Manifest) -> pd.DataFrame:
    """Return images, patients and images per class of each split: one row per split that has any."""
    groups = manifest.frame.groupby("split")
    held = pd.DataFrame({name: has_class(manifest.frame, name) for name in manifest.classes})
    counts = held.groupby(manifest.frame["split"]).sum()
    table = pd.DataFrame({"images": groups.size(), "patients": groups["patient"].nunique()}).join(counts)
    return table.reindex([split for split in SPLITS if split in table.index]).rename_axis("split").reset_index()


def _shares(settings: DataSettings) -> dict[str, float]:
    shares = {"val": settings.val_fraction, "test": settings.test_fraction}
    if sum(shares.values()) >= 1:
        problem = f"data.val_fraction = {shares['val']:g} and data.test_fraction = {shares['test']:g} leave no train"
        raise RecipeError(problem, hint="their sum must be below 1, for example 0.15 and 0.15")
    return shares


def _reason(shares: Mapping[str, float], seed: int, *, several: bool) -> str:
    rarest = " (the rarest label of each patient)" if several else ""
    parts = [1 - sum(shares.values()), *shares.values()]
    percents = " / ".join(f"{100 * part:.3g}" for part in parts)
    return f"patients divided {percents} % into train, val and test, stratified by class{rarest}, seed {seed}"


def _check_given(frame: pd.DataFrame) -> None:
    given = frame["split"]
    if given.isna().all():
        return
    missing = frame.loc[given.isna(), "image"]
    if len(missing):
        problem = f"{len(missing)} images have no split although others do: {shortened(missing)}"
        raise DataError(problem, hint="give every image a split, or none")
    if not (given == "train").any():
        problem = f"the given splits are {', '.join(sorted(given.unique()))}: there is no train"
        raise DataError(problem, hint="give train (with or without val and test), or no splits at all")
    n_splits = frame.groupby("patient")["split"].nunique()
    torn = n_splits.index[n_splits > 1]
    if len(torn):
        images = frame.loc[frame["patient"].isin(torn), "image"]
        problem = f"the given splits divide {len(torn)} patients, with the images {shortened(images)}"
        raise DataError(problem, hint="move each patient into one split, or leave the splits out and let effmed divide")


def _with_train(shares: Mapping[str, float]) -> dict[str, float]:
    return {"train": 1 - sum(shares.values()), **shares}


def draw(frame: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Divide patients class by class.

    Args:
        frame: Images with label and patient.
        shares: Of the images of each class, by the name of the part; their sum is 1.
        seed: Of the order in which patients are dealt.

    Returns:
        The part of each image.
    """
    chance = np.random.default_rng(seed)
    surplus = dict.fromkeys(shares, 0.0)
    assigned: dict[str, str] = {}
    for _, n_images in _strata(frame).groupby("stratum", sort=True)["n_images"]:
        dealt = n_images.iloc[chance.permutation(len(n_images))]
        assigned |= _deal(dealt, shares, surplus)
    return frame["patient"].map(assigned).astype("string")


def _strata(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per patient: its number of images, and its class; of several the one with fewest patients.

    The rarest class decides because it is the one that a split could miss. Patients come in the order of their first
    images, so that a seed divides them in the same way whatever they are called. Of several labels the rarest that an
    image has is its class; images without any are a class of their own.
    """
    frame = frame.assign(label=_rarest_labels(frame)) if label_columns(frame) else frame
    n_patients = frame.groupby("label")["patient"].nunique()
    first = image_keys(frame).groupby(frame["patient"]).transform("min")
    ordered = frame.assign(rarity=frame["label"].map(n_patients), first=first).sort_values(["first", "rarity", "label"])
    return ordered.groupby("patient", sort=False).agg(stratum=("label", "first"), n_images=("label", "size"))


def _rarest_labels(frame: pd.DataFrame) -> pd.Series:
    """Return of each image the label that the fewest patients have; "" where it has none."""
    names = [column.removeprefix(LABEL) for column in label_columns(frame)]
    n_patients = {name: frame.loc[has_class(frame, name), "patient"].nunique() for name in names}
    rarest = pd.Series("", index=frame.index, dtype="object")
    for name in sorted(names, key=lambda name: -n_patients[name]):
        rarest[has_class(frame, name)] = name
    return rarest


def _deal(n_images: pd.Series, shares: Mapping[str, float], surplus: dict[str, float]) -> dict[str, str]:
    """Give each patient of one class to the part that lacks most of its images.

    Args:
        n_images: Of each patient, in random order.
        shares: Of the parts; their sum is 1.
        surplus: Images that each part has had beyond its share in earlier classes: decides between equals, so that
            many small classes do not all round the same way. Updated.

    Returns:
        The part of each patient; no part is empty if there are as many patients as parts.
    """
    total = float(n_images.sum())
    lacking = {name: share * total for name, share in shares.items()}
    empty = list(lacking)
    assigned = {}
    for n_left, (patient, count) in zip(range(len(n_images), 0, -1), _giants_first(n_images, shares), strict=True):
        allowed: Iterable[str] = empty if n_left <= len(empty) else lacking
        chosen = max(allowed, key=lambda name: (round(lacking[name], 6), -surplus[name]))
        assigned[patient] = chosen
        lacking[chosen] -= count
        empty = [name for name in empty if name != chosen]
    for name, missing in lacking.items():
        surplus[name] -= missing
    return assigned


def _giants_first(n_images: pd.Series, shares: Mapping[str, float]) -> Iterable[tuple[str, int]]:
    """Return patients with their numbers of images; those with more than the smallest part's share come first.

    They would overfill it if they came last; all others stay in random order, so that patients with many
    images do not gather in the largest part.
    """
    is_giant = n_images > min(shares.values()) * n_images.sum()
    ordered = pd.concat([n_images[is_giant], n_images[~is_giant]])
    return [(str(patient), int(count)) for patient, count in ordered.items()]
