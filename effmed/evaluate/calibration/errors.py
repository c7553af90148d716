"""Calibration errors that are above 0 even for a calibrated network, each beside the band of such a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from scipy.fft import dct, idct
from scipy.optimize import isotonic_regression
from scipy.special import expit

from effmed.evaluate.calibration.curve import calibration_curve, mass_bins, spline_design
from effmed.evaluate.calibration.regression import fit_logistic
from effmed.evaluate.calibration.scores import corp
from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Floats,
    Integers,
    Patients,
    Units,
    absent_class,
    checked,
    checked_probability,
    estimated,
    not_estimable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Checked: TypeAlias = tuple[Integers, Floats, Units, Counts]

N_ECE_BINS = 15
N_GRID = 1024  # cells of the smoothed error: half a cell is far below any bandwidth found
BISECTIONS = 14  # halvings of the bandwidth, to 6e-5
N_DRAWS = 1000  # of truths for a null band: its 95 % quantile rests on the 50 largest
N_CURVE_DRAWS = 200  # each refits a curve
N_NULL_GROUPS = 2000  # of like probabilities in the null band of curve and decomposition; exact up to as many images
E90_PERCENTILE = 90.0
NULL_PERCENTILE = 95.0


@dataclass(frozen=True)
class AgainstNull:
    """A calibration error beside what a perfectly calibrated network would show.

    Attributes:
        estimate: The error, without an interval: one around a biased value would mislead.
        null_mean: Mean error over truths drawn from the probabilities themselves; None where not estimable.
        null_high: 95 % quantile of the same; an error below it is no evidence of miscalibration.
        draws: How many truths were drawn, as if images were independent.
    """

    estimate: Estimate
    null_mean: float | None
    null_high: float | None
    draws: int


def smece(
    truth: NDArray[Any], probability: NDArray[Any], patients: Patients = None, *, draws: int = N_DRAWS, seed: int = 0
) -> AgainstNull:
    """Return the smooth calibration error beside its null band.

    Residuals are smoothed with a Gaussian reflected at 0 and 1 whose bandwidth equals the resulting error.

    Source:
        Błasiok and Nakkiran, "Smooth ECE", ICLR 2024.
    """
    checked_rows = checked_probability(truth, probability, patients)
    cell = np.minimum((checked_rows[1] * N_GRID).astype(np.int64), N_GRID - 1)
    return _of_cells(checked_rows, cell, _smooth_error, "smooth", draws, seed)


def ece(
    truth: NDArray[Any],
    probability: NDArray[Any],
    patients: Patients = None,
    *,
    bins: Literal["mass", "width"] = "mass",
    draws: int = N_DRAWS,
    seed: int = 0,
) -> AgainstNull:
    """Return the expected calibration error over 15 bins beside its null band.

    Args:
        truth: (n,) 0 or 1.
        probability: (n,).
        patients: (n,) or None; only counted.
        bins: ``mass``: as many images in each, equal probabilities together; ``width``: [k/15, (k+1)/15).
        draws: Truths drawn for the null band.
        seed: Of the draws.
    """
    checked_rows = checked_probability(truth, probability, patients)
    cell = mass_bins(checked_rows[1], N_ECE_BINS) if bins == "mass" else width_bins(checked_rows[1], N_ECE_BINS)
    return _of_cells(checked_rows, cell, _binned_error, f"{N_ECE_BINS} bins of equal {bins}", draws, seed)


def width_bins(probability: Floats, n_bins: int) -> Integers:
    """Number bins of equal width, closed below, (n,)."""
    return np.digitize(probability, np.arange(1, n_bins) / n_bins)


def _of_cells(
    rows: Checked, cell: Integers, error: Callable[[Floats], Floats], name: str, draws: int, seed: int
) -> AgainstNull:
    truth, probability, units, counts = rows
    if counts.n == 0:
        return AgainstNull(not_estimable("there is no image", counts), None, None, 0)
    n_cells = int(max(cell.max() + 1, N_GRID if error is _smooth_error else 0))
    expected = np.bincount(cell, weights=probability, minlength=n_cells)
    value = error((np.bincount(cell, weights=truth, minlength=n_cells) - expected)[None, :] / counts.n)[0]
    null = error((null_totals(probability, cell, n_cells, draws=draws, seed=seed) - expected) / counts.n)
    return _beside(float(value), null, name, units, counts)


def null_totals(probability: Floats, cell: Integers, n_cells: int, *, draws: int, seed: int) -> Floats:
    """Draw truths from the probabilities and count the events of each cell.

    Args:
        probability: (n,).
        cell: (n,) number of the cell of each row, 0 to n_cells - 1.
        n_cells: Number of cells.
        draws: How often.
        seed: Of the draws.

    Returns:
        Events, (draws, n_cells).
    """
    order = np.argsort(cell, kind="stable")
    chance = probability[order].astype(np.float32)
    occupied, starts = np.unique(cell[order], return_index=True)
    rng = np.random.default_rng(seed)
    totals = np.zeros((draws, n_cells))
    for row in totals:
        drawn = rng.random(chance.size, dtype=np.float32) < chance
        row[occupied] = np.add.reduceat(drawn, starts, dtype=np.int64)
    return totals


def _binned_error(residual: Floats) -> Floats:
    """Sum the absolute residuals of the bins; residuals (draw, bin) are divided by the number of images."""
    return np.asarray(np.abs(residual).sum(axis=1))


def _smooth_error(residual: Floats) -> Floats:
    """Return the smoothed error of residuals (draw, cell), each at the bandwidth that equals it.

    A Gaussian reflected at both ends multiplies the cosine series of the residuals by exp(-(bandwidth pi k)^2 / 2).
    The error falls as the bandwidth grows, so halving finds the one point where they are equal.
    """
    series = np.asarray(dct(residual, axis=1))
    frequency = (np.pi * np.arange(residual.shape[1])) ** 2 / 2
    narrow, wide = np.zeros(len(residual)), np.ones(len(residual))
    for _ in range(BISECTIONS):
        bandwidth = (narrow + wide) / 2
        error = np.abs(idct(series * np.exp(-np.outer(bandwidth**2, frequency)), axis=1)).sum(axis=1)
        narrow, wide = np.where(error > bandwidth, bandwidth, narrow), np.where(error > bandwidth, wide, bandwidth)
    return np.asarray(error)


def miscalibration(
    truth: NDArray[Any], probability: NDArray[Any], patients: Patients = None, *, draws: int = N_DRAWS, seed: int = 0
) -> AgainstNull:
    """Return the miscalibration part of the Brier score (CORP) beside its null band."""
    truth, probability, units, counts = checked_probability(truth, probability, patients)
    parts = corp(truth, probability)
    if parts is None:
        return AgainstNull(not_estimable(absent_class(counts), counts), None, None, 0)
    group = mass_bins(probability, N_NULL_GROUPS)
    _, group = np.unique(group, return_inverse=True)
    n = np.bincount(group)
    forecast = np.bincount(group, weights=probability) / n
    shares = null_totals(probability, group, n.size, draws=draws, seed=seed) / n
    null = []
    for share in shares:
        best = isotonic_regression(share, weights=n).x
        null.append((n * ((forecast - share) ** 2 - (best - share) ** 2)).sum() / counts.n)
    return _beside(parts.miscalibration, np.array(null), "CORP, Brier", units, counts)


def curve_errors(
    truth: NDArray[Any], logits: NDArray[Any], patients: Patients = None, *, draws: int = N_CURVE_DRAWS, seed: int = 0
) -> dict[str, AgainstNull]:
    """Return ``ici`` and ``e90``, the mean and 90th percentile of |calibration curve - p|, beside their null bands."""
    curve = calibration_curve(truth, logits, patients)
    truth, logits, units, counts = checked(truth, logits, patients, infinite=True)
    if curve.reason:
        missing = AgainstNull(not_estimable(curve.reason, counts), None, None, 0)
        return {"ici": missing, "e90": missing}
    null = _null_distances(logits, curve.knots, draws=draws, seed=seed)
    values = _summary(curve.distance)
    return {name: _beside(values[i], null[:, i], curve.method, units, counts) for i, name in enumerate(("ici", "e90"))}


def _null_distances(logits: Floats, knots: tuple[float, ...], *, draws: int, seed: int) -> Floats:
    """Refit the curve to drawn truths of grouped images; (draws, 2)."""
    _, group = np.unique(mass_bins(logits, N_NULL_GROUPS), return_inverse=True)
    n = np.bincount(group)
    centre = np.bincount(group, weights=logits) / n
    design = spline_design(centre, knots)
    shares = null_totals(expit(logits), group, n.size, draws=draws, seed=seed) / n
    null = []
    for share in shares:
        fit = fit_logistic(design, np.asarray(share), weights=n.astype(np.float64))
        if fit is not None:  # a truth drawn from few images may be separated
            null.append(_summary(np.repeat(np.abs(fit.probability - expit(centre)), n)))
    return np.array(null).reshape(-1, 2)


def _summary(distance: Floats) -> tuple[float, float]:
    return float(distance.mean()), float(np.percentile(distance, E90_PERCENTILE))


def _beside(value: float, null: Floats, name: str, units: Units, counts: Counts) -> AgainstNull:
    note = "several images per patient: the null band is too narrow" if units.clustered else ""
    estimate = estimated(value, None, f"{name}; null band instead of an interval", counts, note)
    if null.size == 0:
        return AgainstNull(estimate, None, None, 0)
    return AgainstNull(estimate, float(null.mean()), float(np.percentile(null, NULL_PERCENTILE)), null.size)
