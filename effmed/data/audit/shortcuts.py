"""Shortcuts: what the class can be read off without seeing the patient, such as the scanner or a burned-in letter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from effmed.data.audit.findings import Finding, counted, image_names
from effmed.data.pixels.signature import CORNERS
from effmed.data.records import has_class, is_told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from effmed.data.pixels.signature import Signatures
    from effmed.data.records import Manifest

TEXTS = ("manufacturer", "scanner", "site", "view", "modality", "body_part", "laterality", "photometric", "syntax")
CONFIDENCE = 0.95  # of all intervals of a data set together
WARNING_DIFFERENCE = 0.2  # between the shares of patients, at least: a subgroup in which results may differ
ERROR_DIFFERENCE = 0.7  # the class can be read off
N_PATIENTS_LEAST = 10  # who have a level of an attribute: from fewer nothing follows
N_IMAGES_LEAST = 10  # of a class that is said to have one size
N_DECIMALS = 9  # to which differences are compared: two levels that exclude each other differ by the same amount
OTHER_SIZE_FRACTION = 0.5  # of the other classes' images, at least
MEND_WARNING = "compare results between images that differ in {attribute}: they may hold for some of them only"
MEND_ERROR = "collect images of all classes that do not differ in {attribute}: a network would learn that instead"
MEND_SIZE = "export all classes in the same way: a network would learn how images were made instead"


@dataclass(frozen=True)
class _Attribute:
    """One attribute of n images.

    Attributes:
        name: What it is called.
        numbers: ``(n,)`` position of each image's level in ``levels``.
        levels: What images have, as it stands behind "patients have".
    """

    name: str
    numbers: NDArray[np.int64]
    levels: tuple[str, ...]


@dataclass(frozen=True)
class _Contrast:
    """How often one class, and all others, have one level of an attribute.

    Attributes:
        attribute: Which one.
        level: Position in its levels.
        label: The class.
        counts: Patients of the class with the level, patients of the class, and the same of the others.
    """

    attribute: _Attribute
    level: int
    label: str
    counts: tuple[int, int, int, int]


@dataclass(frozen=True)
class Difference:
    """The difference between two shares, with the limits of its interval."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> float:
        """The least difference inside the interval, whichever share is larger; below 0 where they may be equal."""
        return max(self.low, -self.high)


def newcombe_interval(counts: tuple[int, int, int, int], confidence: float) -> Difference:
    """Return the difference of two independent shares with its hybrid-score interval.

    Args:
        counts: Successes and all of the first group, successes and all of the second.
        confidence: Of the two-sided interval, in (0, 1).

    Returns:
        First share minus second.

    Source:
        Newcombe RG (1998) Interval estimation for the difference between independent proportions: comparison of eleven
        methods. Stat Med 17:873-890, method 10.
    """
    z = float(-ndtri((1 - confidence) / 2))
    share, low, high = _wilson(counts[0], counts[1], z)
    other, other_low, other_high = _wilson(counts[2], counts[3], z)
    below, above = math.hypot(share - low, other_high - other), math.hypot(high - share, other - other_low)
    return Difference(share - other, share - other - below, share - other + above)


def _wilson(successes: int, n: int, z: float) -> tuple[float, float, float]:
    """Return a share with its score interval (Wilson 1927, J Am Stat Assoc 22:209)."""
    share = successes / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, center - half, center + half


# ---------------------------------------------------------------- shortcuts


def find_shortcuts(manifest: Manifest, signatures: Signatures | None) -> list[Finding]:
    """Find attributes of the acquisition that go along with the class.

    Every patient has one vote per class: what most of the patient's images say; images of unknown patients vote for
    themselves. Of two classes the positive one is looked at, of more each against all others.

    Args:
        manifest: Images without a label do not count.
        signatures: Say which corners carry a mark; None: these are not looked at.

    Returns:
        At most one finding per attribute and class, about the level that goes along with it most closely.
    """
    frame = _labelled(manifest)
    attributes = list(_attributes(frame, None if signatures is None else signatures.corners[frame.index]))
    classes = manifest.classes[1:] if len(manifest.classes) == 2 and not manifest.is_multilabel else manifest.classes
    families = [_contrasts(attribute, name, frame) for attribute in attributes for name in classes]
    n_looked_at = sum(map(len, families))
    strongest = [_strongest(family, 1 - (1 - CONFIDENCE) / n_looked_at) for family in families if family]
    return [
        _finding(manifest, frame, contrast, difference, n_looked_at)
        for contrast, difference in strongest
        if difference.certain >= WARNING_DIFFERENCE
    ]


def _labelled(manifest: Manifest) -> pd.DataFrame:
    """Return the rows with a label, under their positions, with who votes for each: a patient, or else the image."""
    frame = manifest.frame.reset_index(drop=True)
    patient = frame["patient"]
    image = "\x1f" + pd.Series(frame.index, dtype="string")
    frame["voter"] = pd.factorize(patient.where(patient.notna(), image))[0]
    return frame[frame["label"].notna()]


def _attributes(frame: pd.DataFrame, corners: NDArray[np.uint8] | None) -> Iterator[_Attribute]:
    """Yield the attributes of images that have more than one level."""
    size = frame["rows"].astype(str) + " x " + frame["columns"].astype(str)
    columns = {name.replace("_", " "): frame[name] for name in TEXTS}
    columns["size"] = size.where((frame["rows"] > 0) & (frame["columns"] > 0))
    columns["bits"] = frame["bits"].astype(str).where(frame["bits"] > 0)
    for name, column in columns.items():
        numbers, values = pd.factorize(column)
        levels = tuple(f"{name} {value}" for value in values)
        yield from _if_it_varies(name, numbers, (*levels, f"no {name} stated"))
    yield from _if_it_varies("colour", frame["colour"].to_numpy(np.int64), ("no colour", "colour"))
    if corners is None:
        return
    for bit, corner in enumerate(CORNERS):
        what = f"mark in the {corner} corner"
        yield from _if_it_varies(f"the {what}", corners.astype(np.int64) >> bit & 1, (f"no {what}", f"a {what}"))


def _if_it_varies(name: str, numbers: NDArray[np.int64], levels: tuple[str, ...]) -> Iterator[_Attribute]:
    """Yield the attribute unless all have one level; -1 is the last level."""
    numbers = numbers.astype(np.int64) % len(levels)
    if len(np.unique(numbers)) > 1:
        yield _Attribute(name, numbers, levels)


def _contrasts(attribute: _Attribute, label: str, frame: pd.DataFrame) -> list[_Contrast]:
    """Count the votes of one class and of all others for each level that enough patients have."""
    known = is_told(frame, label).to_numpy()
    is_class = has_class(frame, label).to_numpy(np.int64)
    n_levels = len(attribute.levels)
    voter = 2 * frame["voter"].to_numpy(np.int64) + is_class
    ballots, n_images = np.unique((voter * n_levels + attribute.numbers)[known], return_counts=True)
    order = np.lexsort((-n_images, ballots // n_levels))
    _, first = np.unique(ballots[order] // n_levels, return_index=True)
    voter, level = np.divmod(ballots[order][first], n_levels)
    of_class = np.bincount(level[voter % 2 == 1], minlength=n_levels)
    of_others = np.bincount(level[voter % 2 == 0], minlength=n_levels)
    n, n_others = int(of_class.sum()), int(of_others.sum())
    if not (n and n_others):
        return []
    patients = np.unique(voter // 2 * n_levels + level) % n_levels
    enough = np.flatnonzero(np.bincount(patients, minlength=n_levels) >= N_PATIENTS_LEAST)
    return [_Contrast(attribute, int(k), label, (int(of_class[k]), n, int(of_others[k]), n_others)) for k in enough]


def _strongest(family: list[_Contrast], confidence: float) -> tuple[_Contrast, Difference]:
    """Return the contrast whose difference is largest for certain; of equal ones the one that the class has more of."""
    differences = [newcombe_interval(contrast.counts, confidence) for contrast in family]
    order = [(round(difference.certain, N_DECIMALS), difference.value) for difference in differences]
    best = order.index(max(order))
    return family[best], differences[best]


def _finding(
    manifest: Manifest, frame: pd.DataFrame, contrast: _Contrast, difference: Difference, n_looked_at: int
) -> Finding:
    is_class = has_class(frame, contrast.label).to_numpy()
    has_level = (contrast.attribute.numbers == contrast.level) & is_told(frame, contrast.label).to_numpy()
    rows = frame.index.to_numpy()[has_level & (is_class == (difference.value > 0))]
    is_error = difference.certain >= ERROR_DIFFERENCE
    return Finding(
        kind="shortcut",
        severity="error" if is_error else "warning",
        images=image_names(manifest, rows),
        n_images=len(rows),
        text=_sentence(contrast, difference, "patients" if frame["patient"].notna().all() else "images", n_looked_at),
        hint=(MEND_ERROR if is_error else MEND_WARNING).format(attribute=contrast.attribute.name),
    )


def _sentence(contrast: _Contrast, difference: Difference, voters: str, n_looked_at: int) -> str:
    have, n, others_have, n_others = contrast.counts
    level = contrast.attribute.levels[contrast.level]
    return (
        f"{_of(have, n)} {voters} of class {contrast.label} have {level}, {_of(others_have, n_others)} others do: a "
        f"difference of {difference.value:+.2f} (95 % interval {difference.low:+.2f} to {difference.high:+.2f}, "
        f"corrected for {counted(n_looked_at, 'comparison')})"
    )


def _of(part: int, n: int) -> str:
    return f"all {n}" if part == n else f"{part} of {n}"


# ---------------------------------------------------------------- sizes


def find_one_size_classes(manifest: Manifest) -> list[Finding]:
    """Find classes whose images all have one size that most images of the other classes do not have."""
    frame = manifest.frame
    size = (frame["rows"].astype(str) + " x " + frame["columns"].astype(str)).where(frame["rows"] > 0)
    found = []
    for name in manifest.classes:
        is_known, is_class = size.notna() & is_told(frame, name), has_class(frame, name)
        rows = np.flatnonzero(is_known & is_class)
        others = size[is_known & ~is_class]
        if len(rows) < N_IMAGES_LEAST or size.iloc[rows].nunique() > 1 or others.empty:
            continue
        n_different = int((others != size.iloc[rows[0]]).sum())
        if n_different >= OTHER_SIZE_FRACTION * len(others):
            text = (
                f"all {len(rows)} images of class {name} are {size.iloc[rows[0]]} pixels, "
                f"{_of(n_different, len(others))} others have another size"
            )
            found.append(
                Finding(
                    kind="one-size-class",
                    severity="warning",
                    images=image_names(manifest, rows),
                    n_images=len(rows),
                    text=text,
                    hint=MEND_SIZE,
                )
            )
    return found
