"""Frames of a file → one row per file: what a network said about the frames, joined by a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from effmed.errors import DataError, shortened
from effmed.evaluate.intervals import check_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

ONE_PER_FILE = ("label", "patient", "split")  # what all frames of a file share


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network said about the rows of a manifest, before it becomes probabilities.

    Attributes:
        rows: One row per image: image, frame and what else is known.
        logits: ``(n, outputs)``, NaN where the image could not be scored.
        failures: Row number to (reason, remedy) of these.
    """

    rows: pd.DataFrame
    logits: NDArray[Any]
    failures: Mapping[int, tuple[str, str]]


def join_frames(scores: Scores, rule: Literal["mean", "max"]) -> Scores:
    """Make one row per file of one row per frame.

    Args:
        scores: Of all frames of all files, in any order.
        rule: Whether the logits of a file are the mean or the largest of its frames', output by output.

    Returns:
        One row per file, in the order in which the files first occur: the row of its first frame, as frame 0; float64
        logits. A file of which any frame failed has failed, because the frames that are left are not the file.

    Raises:
        DataError: Frames of one file have different labels, patients or splits, or the row counts differ.
    """
    rows = scores.rows.reset_index(drop=True)
    check_length(scores.logits, len(rows), "rows of logits")
    _check_same(rows)
    file = rows.groupby("image", sort=False).ngroup().to_numpy(np.int64)
    order = np.lexsort((rows["frame"].to_numpy(np.int64), file))
    starts = np.flatnonzero(np.diff(file[order], prepend=-1))
    n_frames = np.diff(starts, append=len(rows))
    logits = np.array(scores.logits, dtype=np.float64)
    logits[list(scores.failures)] = np.nan
    combine = np.add if rule == "mean" else np.maximum  # both keep NaN
    joined = combine.reduceat(logits[order], starts, axis=0)
    failures: dict[int, tuple[str, str]] = {}
    for row in order[np.isin(order, list(scores.failures))]:
        problem, hint = scores.failures[int(row)]
        named = f"frame {rows['frame'].iloc[row]} (the first is 0): {problem}"
        failures.setdefault(int(file[row]), (named if n_frames[file[row]] > 1 else problem, hint))
    return Scores(
        rows=rows.iloc[order[starts]].assign(frame=0).reset_index(drop=True),
        logits=joined / n_frames[:, None] if rule == "mean" else joined,
        failures=failures,
    )


def _check_same(rows: pd.DataFrame) -> None:
    for name in ONE_PER_FILE:
        if name in rows:
            n_values = rows.groupby("image", sort=False)[name].nunique(dropna=False)
            if (n_values > 1).any():
                problem = f"frames of one file have more than one {name}: {shortened(n_values.index[n_values > 1])}"
                raise DataError(problem, hint=f"give all frames of a file one {name}, or split the files")
