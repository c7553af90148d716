"""Manifest → Fingerprint: what the data looks like, without any patient."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from effmed.data.decode import read_images
from effmed.data.records import LABEL, SPLITS, Manifest, has_class, label_columns
from effmed.data.split import shared_patients
from effmed.errors import DataError, shortened

if TYPE_CHECKING:
    from effmed.data.pixels import Image
    from effmed.recipe import DataSettings

N_DECODED = 24  # images whose pixels are looked at; enough for percentiles of the whole set
PERCENTILES = (1, 25, 50, 75, 99)
KINDS = {"1": "present", "0": "absent", "-1": "uncertain"}
SHARE_DIGITS = 9  # of a share: beyond them are errors of rounding, which no limit shall hang on
STRIDE = 97  # every 97th grey level of an image: a prime does not fall on the same columns of every row


class Fingerprint(BaseModel):
    """Counts and shares of a data set, without any path or patient; all that the plan needs to know of it.

    Attributes:
        n_patients: Different patients, None where none is known.
        n_studies: Different studies, None where none is known.
        images_per_class: In the order of the network's outputs.
        train_images_per_class: Of the train split, in the order of the network's outputs; of all before the division.
        label_counts: Of labels that do not exclude each other, by split ("all" for every image) and label: how many
            images have it ``present``, ``absent``, ``uncertain`` and ``blank``; empty where they do.
        task_reason: Why labels exclude each other or not.
        height_px: Smallest, median and largest height.
        width_px: Smallest, median and largest width.
        bits: Images per number of bits stored.
        colour_fraction: Share of images that hold colour.
        intensity_percentiles: ``p1`` to ``p99`` of grey levels in [0, 1] over a few decoded images; empty where none
            could be decoded.
        shapes: Training images (all before the division) per shape: height of the picture over its width, to three
            digits. Pixels are taken to have the shape ``pixel_aspect``.
        pixel_aspect: Height of a pixel over its width, which decoding alone tells: the median of a few images;
            1 where none could be decoded. Rotation by EXIF is not looked at.
        window_origin: Images per origin of their window: file, recipe, percentile or full; empty before decoding.
        unreadable: Files that could not be read.
        unreadable_reasons: How many of them for each reason, the most frequent first.
        manifest_digest: SHA-256 of the rows.
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
    window_origin: dict[str, int]
    unreadable: int
    unreadable_reasons: dict[str, int]
    manifest_digest: str
    label_counts: dict[str, dict[str, dict[str, int]]] = {}
    task_reason: str = ""
    shapes: dict[str, int] = {}
    pixel_aspect: float = 1.0

    def with_provenance(self, manifest: Manifest) -> Fingerprint:
        """Return the same once the images are decoded and the manifest says how grey levels came about."""
        return self.model_copy(update={"window_origin": _counts(manifest.frame["window_origin"])})


def make_fingerprint(manifest: Manifest, settings: DataSettings) -> Fingerprint:
    """Count what a manifest holds, and look at the grey levels of a few images.

    Args:
        manifest: Divided or not, labelled or not.
        settings: How to decode.

    Raises:
        RecipeError: ``data.window`` is not a window.
    """
    frame = manifest.frame
    per_split = {name: frame[frame["split"] == name] for name in SPLITS}
    train = per_split["train"] if len(per_split["train"]) else frame
    few = _decode_few(manifest, settings)
    pixel_aspect = float(np.median([image.aspect for image in few])) if few else 1.0
    return Fingerprint(
        n_images=len(frame),
        n_patients=_n_different(frame["patient"]),
        n_studies=_n_different(frame["study"]),
        images_per_class=_per_class(frame, manifest.classes),
        train_images_per_class=_per_class(train, manifest.classes),
        images_per_split={name: len(rows) for name, rows in per_split.items()},
        patients_per_split={name: int(rows["patient"].nunique()) for name, rows in per_split.items()},
        shared_patients=shared_patients(manifest),
        height_px=_spread(frame["rows"]),
        width_px=_spread(frame["columns"]),
        bits=_counts(frame["bits"]),
        colour_fraction=float(frame["colour"].mean()) if len(frame) else 0.0,
        photometric=_counts(frame["photometric"]),
        syntax=_counts(frame["syntax"]),
        modality=_counts(frame["modality"]),
        view=_counts(frame["view"]),
        intensity_percentiles=_intensities(few),
        window_origin=_counts(frame["window_origin"]),
        unreadable=len(manifest.unreadable),
        unreadable_reasons=dict(Counter(item.reason for item in manifest.unreadable).most_common()),
        manifest_digest=manifest.digest(),
        label_counts=_label_counts({"all": frame, **per_split}) if manifest.is_multilabel else {},
        task_reason=manifest.reasons.get("task", ""),
        shapes=_counts((train["rows"] * pixel_aspect / train["columns"]).map("{:.3g}".format)),
        pixel_aspect=pixel_aspect,
    )


def _n_different(column: pd.Series) -> int | None:
    return int(column.nunique()) or None


def _per_class(frame: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    return {name: int(has_class(frame, name).sum()) for name in classes}


def _label_counts(parts: dict[str, pd.DataFrame]) -> dict[str, dict[str, dict[str, int]]]:
    return {
        split: {name.removeprefix(LABEL): _kinds(frame[name]) for name in label_columns(frame)}
        for split, frame in parts.items()
    }


def _kinds(label: pd.Series) -> dict[str, int]:
    counts = {kind: int((label == text).sum()) for text, kind in KINDS.items()}
    return {**counts, "blank": int(label.isna().sum())}


def known_labels(
    label_counts: dict[str, dict[str, dict[str, int]]], uncertain: str, blank: str
) -> dict[str, tuple[int, int]]:
    """Return how many training images are known to lack and to have each label.

    Args:
        label_counts: Of a fingerprint.
        uncertain: What an uncertain label counts as: ignore, zeros or ones.
        blank: Whether a blank one counts as absent: ignore or zeros.

    Raises:
        DataError: One is always or never present in train, or on val none can be judged.
    """
    known = {split: _known(counts, uncertain, blank) for split, counts in label_counts.items()}
    _check_known(known)
    return known["train"]


def _known(counts: dict[str, dict[str, int]], uncertain: str, blank: str) -> dict[str, tuple[int, int]]:
    return {
        name: (
            each["absent"] + each["uncertain"] * (uncertain == "zeros") + each["blank"] * (blank == "zeros"),
            each["present"] + each["uncertain"] * (uncertain == "ones"),
        )
        for name, each in counts.items()
    }


def _check_known(known: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Refuse labels of which train knows one kind alone, and a val that cannot choose the epoch."""
    alone = [name for name, counts in known["train"].items() if 0 in counts]
    if alone:
        problem = f"labels that are always or never present in the training images: {shortened(alone)}"
        hint = "leave rare ones out with data.min_positive; or --set train.blank=zeros, where blank means absent"
        raise DataError(problem, hint=hint)
    if not any(all(counts) for counts in known["val"].values()):
        problem = "on val no label is both present and absent: it cannot choose the epoch"
        raise DataError(problem, hint="add patients, or --set data.val_fraction=0.3")


def _spread(column: pd.Series) -> tuple[float, float, float]:
    if column.empty:
        return 0.0, 0.0, 0.0
    return float(column.min()), float(column.median()), float(column.max())


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in column.dropna().value_counts().items()}


def _decode_few(manifest: Manifest, settings: DataSettings) -> list[Image]:
    if len(manifest) == 0:
        return []
    chosen = np.unique(np.linspace(0, len(manifest) - 1, N_DECODED).astype(int))
    few = manifest.with_frame(manifest.frame.iloc[chosen])
    images = read_images(few, window=settings.window, max_megapixels=settings.max_megapixels)
    return [image for _, image in images if not isinstance(image, DataError)]


def _intensities(images: list[Image]) -> dict[str, float]:
    if not images:
        return {}
    levels = np.concatenate([image.pixels.reshape(-1)[::STRIDE] / np.iinfo(image.pixels.dtype).max for image in images])
    values = np.percentile(levels, PERCENTILES)
    return {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, values, strict=True)}


def padded_fraction(shapes: dict[str, int], box: tuple[int, int]) -> float:
    """Return the share of a letterbox that stays black, as the mean over images.

    A picture fits inside the box with its proportions kept, as ``effmed.data.pixels.preprocess`` fits it; that it does
    so in whole pixels is left out.

    Args:
        shapes: Images per height over width, of a fingerprint; at least one.
        box: Height and width of the network's input in pixels.
    """
    ratios = np.array([float(shape) for shape in shapes]) * box[1] / box[0]
    used = np.average(np.minimum(ratios, 1 / ratios), weights=list(shapes.values()))
    return round(1 - float(used), SHARE_DIGITS)


def median_shape(shapes: dict[str, int]) -> float:
    """Return the median height over width; ``shapes`` as ``padded_fraction`` takes them."""
    return float(np.median(np.repeat([float(shape) for shape in shapes], list(shapes.values()))))
