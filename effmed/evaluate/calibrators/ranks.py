"""Maps of one logit that use its ranks alone: isotonic regression and Venn-Abers."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression

from effmed.evaluate.calibrators.maps import Steps, VennAbers
from effmed.evaluate.calibrators.sigmoid import NOT_RISING
from effmed.evaluate.intervals import Floats, Integers

MAX_DISTINCT = 10_000  # logits of Venn-Abers; more are rounded to a grid of so many widths
Point = tuple[int, int]  # images and positives so far


def fit_isotonic(logits: Floats, truth: Integers) -> Steps | str:
    """Fit isotonic regression to one logit (n, 1), kept 1 / (n + 2) away from 0 and 1; or say why there is none."""
    at, counts, positives = _grouped(logits[:, 0], truth)
    level = np.asarray(isotonic_regression(positives / counts, weights=counts).x)
    if np.ptp(level) == 0:
        return NOT_RISING
    changes = np.diff(level) != 0
    corners = np.append([True], changes) | np.append(changes, [True])
    return Steps(at=tuple(at[corners].tolist()), probability=tuple(level[corners].tolist()), clip=1 / (truth.size + 2))


def fit_venn_abers(logits: Floats, truth: Integers) -> VennAbers | str:
    """Fit the inductive Venn-Abers predictor to one logit (n, 1); or say why there is none.

    More than 10,000 distinct logits are rounded to multiples of a ten-thousandth of their range, when fitting and
    when calibrating, so that the bundle stays small; the guarantee of the method then holds for rounded logits.

    Source:
        Vovk, Petej and Fedorova, NeurIPS 2015, algorithms 1 to 4.
    """
    column = logits[:, 0]
    too_many = np.unique(column).size > MAX_DISTINCT
    grid = float(np.ptp(column)) / (MAX_DISTINCT - 1) if too_many else 0.0
    at, counts, positives = _grouped(np.round(column / grid) * grid if grid else column, truth)
    high = np.append(_as_positive(counts, positives), [1.0])
    low = np.append([0.0], 1 - _as_positive(counts[::-1], (counts - positives)[::-1])[::-1])
    if np.ptp(high[:-1]) == 0 and np.ptp(low[1:]) == 0:
        return NOT_RISING
    parts = (np.diff(low) != 0) | (np.diff(high) != 0)
    kept = np.append(parts, [True])
    return VennAbers(
        at=tuple(at[parts].tolist()), low=tuple(low[kept].tolist()), high=tuple(high[kept].tolist()), grid=grid
    )


def _grouped(logits: Floats, truth: Integers) -> tuple[Floats, Integers, Integers]:
    """Return the distinct logits, rising, with their images and positives."""
    at, group = np.unique(logits, return_inverse=True)
    counts, positives = (np.bincount(group, weights=each).astype(np.int64) for each in (np.ones_like(truth), truth))
    return at, counts, positives


def _as_positive(counts: Integers, positives: Integers) -> Floats:
    """Return, for every group, the isotonic fit there after one more positive image has joined it, (groups,).

    The fit is the slope of the lower convex hull of the cumulative sums. The added image is a step of (1, 1) that
    moves from group to group; ``corners`` holds what lies right of it, nearest last, with its own left end on top.
    """
    sums = [(0, 0), *zip(np.cumsum(counts).tolist(), np.cumsum(positives).tolist(), strict=True)]
    corners: list[Point] = []
    for point in reversed([(-1, -1), *sums]):
        _push(corners, point)
    values = np.empty(counts.size)
    for group in range(counts.size):
        top, after = corners[-1], corners[-2]
        values[group] = (after[1] - top[1]) / (after[0] - top[0])
        moved = (sums[group + 1][0] - 1, sums[group + 1][1] - 1)
        if _turn(top, after, moved) < 0:  # below the segment: a new corner, from which the hull starts
            corners.pop()
            _push(corners, moved)
    return values


def _push(corners: list[Point], point: Point) -> None:
    """Put a point left of the hull, and take out the corners that it makes superfluous."""
    while len(corners) > 1 and _turn(point, corners[-1], corners[-2]) <= 0:
        corners.pop()
    corners.append(point)


def _turn(first: Point, second: Point, third: Point) -> int:
    """Return above 0 where the third point lies left of the line from the first to the second, which is above it."""
    return (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])
