"""Images grouped by an attribute: its distinct values, or bands of ages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.errors import DataError
from effmed.evaluate.intervals import Integers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MISSING = -1  # code of an image whose value is not known
MAX_AGE = 130  # years; nobody has lived longer, and larger numbers are codes for an unknown age


@dataclass(frozen=True)
class Groups:
    """Which group of a column each image belongs to.

    Attributes:
        codes: Number of the group of each image, (n,), -1 where the value is missing: no group of its own.
        names: Of the groups, in the order in which people expect them.
    """

    codes: Integers
    names: tuple[str, ...]

    @property
    def n_missing(self) -> int:
        """Images whose value is missing."""
        return int((self.codes == MISSING).sum())


def make_groups(values: NDArray[Any]) -> Groups:
    """Group images by the distinct values of a column.

    Missing are None, NaN and blank texts. Whole numbers are written without a decimal point, so that a column of
    whole numbers with gaps, which pandas reads as floats, has the same names as one without. Names are ordered as
    people count: "site 2" before "site 10", 1.5 before 3.

    Args:
        values: (n,) of any type.
    """
    codes, distinct = pd.factorize(np.asarray(values, dtype=object))
    texts = [_text(value) for value in distinct]
    names = sorted({text for text in texts if text}, key=_natural)
    numbers = {name: number for number, name in enumerate(names)} | {"": MISSING}
    table = np.array([*(numbers[text] for text in texts), MISSING], dtype=np.int64)
    return Groups(table[codes], tuple(names))  # a missing value has code -1: the last of the table


def _text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _natural(name: str) -> tuple[list[tuple[int, float, str]], str]:
    """Return a key that sorts numbers within texts by their size."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name.casefold())
    return [(0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts) if part], name


def age_bands(age: NDArray[Any], edges: Sequence[int]) -> Groups:
    """Group images by completed years of age: "under 18", "18 to 39", "80 or more".

    Ages that are not numbers, below 0 or above 130 years are missing. Bands without an image are left out.

    Args:
        age: (n,) in years; 39.9 is 39 completed years.
        edges: First year of every band but the lowest, rising whole numbers above 0.

    Raises:
        DataError: Edges that are none, not whole, not above 0 or not rising.
    """
    if not edges or any(edge != int(edge) for edge in edges) or min(edges) < 1 or list(edges) != sorted(set(edges)):
        problem = f"ages cannot be cut at {', '.join(map(str, edges)) or 'no year'}"
        raise DataError(problem, hint="give rising whole years above 0, such as 18, 40, 60, 80")
    years = pd.to_numeric(pd.Series(np.asarray(age, dtype=object)), errors="coerce").to_numpy(np.float64)
    known = (years >= 0) & (years <= MAX_AGE)  # false where NaN
    band = np.where(known, np.searchsorted(np.asarray(edges), years, side="right"), MISSING)
    occurring, codes = np.unique(band[known], return_inverse=True)
    names = _band_names([int(edge) for edge in edges])
    grouped = np.full(years.size, MISSING, dtype=np.int64)
    grouped[known] = codes
    return Groups(grouped, tuple(names[number] for number in occurring))


def _band_names(edges: list[int]) -> list[str]:
    between = [str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in pairwise(edges)]
    return [f"under {edges[0]}", *between, f"{edges[-1]} or more"]
