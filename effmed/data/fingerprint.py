"""Manifest → Fingerprint: what the data looks like, without any patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from effmed.data.cache import read_images
from effmed.data.records import SPLITS, Manifest
from effmed.data.split import shared_patients
from effmed.errors import DataError

if TYPE_CHECKING:
    from effmed.recipe import DataSettings

N_DECODED = 24  # images whose grey levels are looked at; enough for percentiles of the whole set
PERCENTILES = (1, 25, 50, 75, 99)


class Fingerprint(BaseModel):
    """Counts and shares of a data set; all that the plan needs to know of it.

    Attributes:
        train_images_per_class: Of the train split, in the order of the network's outputs; of all before the division.
        height_px: Smallest, median and largest height.
        width_px: Smallest, median and largest width.
        bits: Images per number of bits stored.
        intensity_percentiles: Of grey levels in [0, 1] over a few decoded images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_images: int
    n_patients: int | None
    n_studies: int | None
    images_per_class: dict[str, int]
    train_images_per_class: dict[str, int]
    images_per_split: dict[str, int]
    patients_per_split: dict[str, int]
    shared_patients: int
    height_px: tuple[float, float, float]
    width_px: tuple[float, float, float]
    bits: dict[str, int]
    colour_fraction: float
    photometric: dict[str, int]
    syntax: dict[str, int]
    modality: dict[str, int]
    view: dict[str, int]
    intensity_percentiles: dict[str, float]
    unreadable: int
    manifest_digest: str


def make_fingerprint(manifest: Manifest, settings: DataSettings) -> Fingerprint:
    """Count what a manifest holds, and look at the grey levels of a few images.

    Args:
        manifest: Divided or not.
        settings: How to decode.
    """
    frame = manifest.frame
    per_split = {name: frame[frame["split"] == name] for name in SPLITS}
    train = per_split["train"] if len(per_split["train"]) else frame
    return Fingerprint(
        n_images=len(frame),
        n_patients=_count(frame["patient"]),
        n_studies=_count(frame["study"]),
        images_per_class=_per_class(frame, manifest.classes),
        train_images_per_class=_per_class(train, manifest.classes),
        images_per_split={name: len(rows) for name, rows in per_split.items()},
        patients_per_split={name: int(rows["patient"].nunique()) for name, rows in per_split.items()},
        shared_patients=shared_patients(manifest),
        height_px=_spread(frame["rows"]),
        width_px=_spread(frame["columns"]),
        bits=_shares(frame["bits"]),
        colour_fraction=float(frame["colour"].mean()) if len(frame) else 0.0,
        photometric=_shares(frame["photometric"]),
        syntax=_shares(frame["syntax"]),
        modality=_shares(frame["modality"]),
        view=_shares(frame["view"]),
        intensity_percentiles=_intensities(manifest, settings),
        unreadable=len(manifest.unreadable),
        manifest_digest=manifest.digest(),
    )


def _count(column: pd.Series) -> int | None:
    return int(column.nunique()) or None


def _per_class(frame: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    return {name: int((frame["label"] == name).sum()) for name in classes}


def _spread(column: pd.Series) -> tuple[float, float, float]:
    if column.empty:
        return 0.0, 0.0, 0.0
    return float(column.min()), float(column.median()), float(column.max())


def _shares(column: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in column.dropna().value_counts().items()}


def _intensities(manifest: Manifest, settings: DataSettings) -> dict[str, float]:
    if len(manifest) == 0:
        return {}
    chosen = np.unique(np.linspace(0, len(manifest) - 1, N_DECODED).astype(int))
    few = manifest.with_frame(manifest.frame.iloc[chosen])
    images = read_images(few, window=settings.window, max_megapixels=settings.max_megapixels)
    levels = [
        image.pixels.reshape(-1)[::97] / np.iinfo(image.pixels.dtype).max  # every 97th value: a prime skips no column
        for _, image in images
        if not isinstance(image, DataError)
    ]
    if not levels:
        return {}
    return {
        f"p{q}": float(value)
        for q, value in zip(PERCENTILES, np.percentile(np.concatenate(levels), PERCENTILES), strict=True)
    }
