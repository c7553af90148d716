"""Finding: one thing that is wrong or suspicious, with the images concerned and what to do; no identifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.data.records import Manifest

Severity: TypeAlias = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the gravest first
N_NAMED = 20  # images that a finding names


class Finding(BaseModel):
    """One thing about a data set that makes its numbers wrong, or may. It names images, never patients or studies.

    Attributes:
        kind: What it is, such as "shared-patient"; the recipe allows findings by this word.
        severity: "error": no training unless the kind is allowed; "warning": look at it; "note": good to know.
        images: The first 20 images concerned, relative to the data folder, ``#frame`` behind those that are not the
            first of their file; what belongs together, such as a picture and its copy, stands together.
        n_images: All images concerned.
        text: What was found: one sentence with numbers.
        hint: What to do about it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    severity: Severity
    images: tuple[str, ...]
    n_images: int
    text: str
    hint: str


def image_names(manifest: Manifest, rows: NDArray[np.int64], n_most: int = N_NAMED) -> tuple[str, ...]:
    """Return the paths of the first ``n_most`` images of some rows, with ``#frame`` where that is not 0.

    In an .npz file, whose members are stacks, it stands behind every image.
    """
    few = manifest.frame.iloc[rows[:n_most]]
    numbers = zip(few["image"], few["frame"], strict=True)
    return tuple(f"{image}#{number}" if number or not manifest.has_files else str(image) for image, number in numbers)


def file_numbers(manifest: Manifest) -> NDArray[np.int64]:
    """Return ``(n,)``: which file each image lies in; in an .npz file each counts as a file."""
    if not manifest.has_files:
        return np.arange(len(manifest))
    return pd.factorize(manifest.frame["image"])[0].astype(np.int64)


def counted(n: int, thing: str) -> str:
    """Return "1 image" or "3 images"."""
    return f"{n} {thing}" if n == 1 else f"{n} {'studies' if thing == 'study' else thing + 's'}"
