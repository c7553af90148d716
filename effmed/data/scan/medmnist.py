"""MedMNIST's ``.npz`` files: images, labels and official splits in one."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.data.pixels import Image, Provenance
from effmed.data.records import SPLITS, Manifest, make_frame, with_types
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

BITS = 8
GREY_AXES, COLOUR_AXES, CHANNELS = 3, 4, 3  # (image, height, width) and (image, height, width, RGB)


def read_npz_manifest(path: Path) -> Manifest:
    """Read which images the file holds; its splits are kept, its labels are the classes.

    Args:
        path: Holds ``train_images``, ``train_labels``, and the same of ``val`` and ``test``: uint8
            ``(n, height, width)`` or ``(n, height, width, 3)``, and integers ``(n, 1)``.

    Returns:
        One row per image: ``image`` is the member, ``frame`` the position in it; classes are not yet in order.

    Raises:
        DataError: The file cannot be read or is not of this format.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = [name for name in SPLITS if f"{name}_images" in arrays and f"{name}_labels" in arrays]
            frames = [_rows(name, arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        problem = f"{path} cannot be read: {error}"
        raise DataError(problem, hint="copy or download it again") from error
    if not frames:
        problem = f"{path} does not hold train_images and train_labels"
        raise DataError(problem, hint="give a file in MedMNIST's format, or a folder of images")
    reasons = {
        "labels": f"labels and splits from {path.name}",
        "patient": "the file names no patients: images are treated as independent, each of another patient",
    }
    return Manifest(path, with_types(pd.concat(frames, ignore_index=True)), reasons=reasons)


def read_npz_images(manifest: Manifest) -> Iterator[Image]:
    """Yield the images of a manifest that ``read_npz_manifest`` made, or of a part of it, in its order."""
    with np.load(manifest.root, allow_pickle=False) as arrays:
        members = {str(name): arrays[name] for name in manifest.frame["image"].unique()}
    for member, number in zip(manifest.frame["image"], manifest.frame["frame"], strict=True):
        pixels = members[str(member)][int(number)]
        photometric = "RGB" if pixels.ndim > 2 else "grey"
        yield Image(pixels, 1.0, Provenance("npz", "npz", photometric, BITS, "full", "full", ""))


def _rows(split: str, images: NDArray[Any], labels: NDArray[Any]) -> pd.DataFrame:
    colour = images.ndim == COLOUR_AXES and images.shape[-1] == CHANNELS
    if images.dtype != np.uint8 or not (colour or images.ndim == GREY_AXES):
        problem = f"{split}_images is {images.dtype} {images.shape}"
        raise DataError(problem, hint="uint8 (n, height, width) or (n, height, width, 3) is needed")
    if labels.dtype.kind not in "iu" or labels.size != len(images) or len(labels) != len(images):
        problem = f"{split}_labels is {labels.dtype} {labels.shape} for {len(images)} images"
        raise DataError(problem, hint="one integer label per image is needed, of shape (n, 1)")
    number = np.arange(len(images))
    columns = {
        "image": f"{split}_images",
        "frame": number,
        "label": labels.reshape(-1).astype(str),
        "patient": [f"{split}-{k}" for k in number],
        "split": split,
        "rows": images.shape[1],
        "columns": images.shape[2],
        "bits": BITS,
        "colour": colour,
        "photometric": "RGB" if colour else "grey",
        "syntax": "npz",
    }
    return make_frame([]).reindex(number).assign(**columns)
