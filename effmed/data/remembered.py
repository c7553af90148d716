"""What earlier commands found out about files, valid as long as their sizes and times of change are the same."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from effmed.errors import MachineError
from effmed.run import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STAMP = ("image", "size", "mtime_ns")
KEY_LENGTH = 32  # hexadecimal digits: 128 bits never collide by chance
TOO_YOUNG_NS = 2_000_000_000  # a file changed twice within the clock's step would look unchanged; FAT's step is 2 s


def digest(texts: Sequence[str]) -> str:
    """Return 32 hexadecimal digits that name these texts."""
    joined = "\x1f".join(texts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:KEY_LENGTH]


def recall(place: Path, files: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return what is remembered of files.

    Args:
        place: Parquet file that ``remember`` wrote, or none.
        files: Columns ``STAMP``, one row per file.
        columns: What was remembered.

    Returns:
        The columns, aligned with ``files``; rows of NA where nothing is known or the file has changed since.
    """
    try:
        known = pd.read_parquet(place, columns=[*STAMP, *columns])
    except (OSError, ValueError, pa.ArrowException):
        known = pd.DataFrame({name: [] for name in (*STAMP, *columns)}).astype({"size": "int64", "mtime_ns": "int64"})
        known["image"] = known["image"].astype("str")
    joined = files[list(STAMP)].merge(known, on=list(STAMP), how="left")
    return joined[list(columns)].set_axis(files.index)


def remember(place: Path, known: pd.DataFrame) -> None:
    """Write what is known of files, in place of what was; nothing where the folder cannot be written.

    Args:
        place: Parquet file.
        known: Columns ``STAMP`` and others. Files that changed in the last two seconds are left out.
    """
    settled = known[known["mtime_ns"] < time.time_ns() - TOO_YOUNG_NS]
    with suppress(MachineError), replacing(place) as temporary:  # costs time at the next start, changes no result
        settled.to_parquet(temporary, index=False)
