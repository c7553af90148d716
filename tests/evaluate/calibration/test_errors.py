from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from effmed.evaluate.calibration import curve_errors, ece, miscalibration, smece
from effmed.evaluate.calibration.errors import null_totals, width_bins

MEASURES = [smece, ece, miscalibration]


def made(n: int = 1000, *, seed: int = 0, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n)
    return (rng.random(n) < expit(logits)).astype(int), expit(logits * stretch)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_calibrated_network_is_within_its_null_band(measure) -> None:
    against = measure(*made(), draws=200)
    assert against.estimate.value < against.null_high


@pytest.mark.parametrize("measure", MEASURES)
def test_an_overconfident_network_is_beyond_its_null_band(measure) -> None:
    against = measure(*made(stretch=3.0), draws=200)
    assert against.estimate.value > 2 * against.null_high


@pytest.mark.parametrize("measure", MEASURES)
def test_the_null_band_lies_above_its_mean(measure) -> None:
    against = measure(*made(), draws=200)
    assert 0 < against.null_mean < against.null_high


@pytest.mark.parametrize("measure", MEASURES)
def test_there_is_a_band_instead_of_an_interval(measure) -> None:
    against = measure(*made(), draws=20)
    assert (against.estimate.low, against.draws) == (None, 20)
    assert "null band" in against.estimate.method


@pytest.mark.parametrize("measure", MEASURES)
def test_several_images_per_patient_make_the_band_too_narrow(measure) -> None:
    against = measure(*made(), np.arange(1000) // 2, draws=5)
    assert "too narrow" in against.estimate.reason


@pytest.mark.parametrize("measure", MEASURES)
def test_the_band_is_reproducible(measure) -> None:
    bands = [measure(*made(), draws=20, seed=seed).null_high for seed in (1, 1, 2)]
    assert (bands[0] == bands[1], bands[0] == bands[2]) == (True, False)


@pytest.mark.parametrize("measure", [smece, ece])
def test_of_no_image_there_is_no_error(measure) -> None:
    assert measure(np.zeros(0), np.zeros(0)).estimate.status == "not_estimable"


def test_without_a_class_there_is_no_miscalibration() -> None:
    against = miscalibration(np.zeros(5), np.full(5, 0.2))
    assert (against.estimate.status, against.null_high) == ("not_estimable", None)


def smooth_error_by_quadrature(truth: np.ndarray, probability: np.ndarray, bandwidth: float) -> float:
    """Integrate |mean of residual x reflected Gaussian|, its images as far as they matter."""
    at = (np.arange(2000) + 0.5) / 2000
    centres = np.concatenate([2 * k + sign * probability for k in (-1, 0, 1) for sign in (-1, 1)])
    smoothed = norm.pdf(at[:, None], centres, bandwidth) @ np.tile(probability - truth, 6) / truth.size
    return float(np.abs(smoothed).mean())


@pytest.mark.parametrize("stretch", [1.0, 4.0])
def test_the_smooth_error_equals_its_own_bandwidth_by_definition(stretch: float) -> None:
    truth, probability = made(200, stretch=stretch)
    value = smece(truth, probability, draws=1).estimate.value
    assert smooth_error_by_quadrature(truth, probability, value) == pytest.approx(value, abs=1e-4)


def test_one_sided_residuals_give_their_mean() -> None:
    assert smece(np.zeros(10), np.linspace(0, 1, 10), draws=1).estimate.value == pytest.approx(0.5, abs=1e-9)


def test_the_binned_error_sums_bins_by_their_share() -> None:
    truth, probability = np.array([0, 1, 1, 1]), np.array([0.25, 0.25, 0.75, 0.75])
    assert ece(truth, probability, draws=1).estimate.value == pytest.approx(0.25)


@pytest.mark.parametrize(("probability", "number"), [(0.0, 0), (0.1, 1), (0.3, 3), (0.7, 7), (0.99, 9), (1.0, 9)])
def test_bins_of_equal_width_are_closed_below(probability: float, number: int) -> None:
    assert width_bins(np.array([probability]), 10)[0] == number


def test_probabilities_of_0_and_1_keep_their_bins() -> None:
    against = ece(np.array([1, 0]), np.array([0.0, 1.0]), bins="width", draws=1)
    assert against.estimate.value == 1.0


def test_drawn_truths_have_the_probabilities_as_their_mean() -> None:
    probability = np.linspace(0.1, 0.9, 90)
    cell = np.arange(90) % 3
    totals = null_totals(probability, cell, 4, draws=2000, seed=0)
    assert totals.shape == (2000, 4)
    assert totals.mean(axis=0) == pytest.approx([*np.bincount(cell, weights=probability), 0.0], abs=0.3)


def test_the_curve_of_a_calibrated_network_is_within_its_null_band() -> None:
    truth, probability = made()
    errors = curve_errors(truth, logit(probability), draws=60)
    assert errors["ici"].estimate.value < errors["ici"].null_high
    assert errors["ici"].estimate.value < errors["e90"].estimate.value


def test_the_curve_of_an_overconfident_network_is_beyond_its_null_band() -> None:
    truth, probability = made(stretch=3.0)
    errors = curve_errors(truth, logit(probability), draws=60)
    assert errors["ici"].estimate.value > 2 * errors["ici"].null_high


def test_without_a_curve_there_are_no_curve_errors() -> None:
    errors = curve_errors(np.zeros(9), np.arange(9.0))
    assert {error.estimate.reason for error in errors.values()} == {"there is no positive image"}


def test_where_no_drawn_truth_has_a_curve_there_is_no_band() -> None:
    truth, logits = np.tile([0, 1], 10), np.linspace(-60, 60, 20)  # every draw is separated
    errors = curve_errors(truth, logits, draws=5)
    assert (errors["ici"].null_high, errors["ici"].draws) == (None, 0)


def test_saturated_probabilities_leave_the_binned_error_alone() -> None:
    assert math.isfinite(smece(np.array([0, 1]), np.array([0.0, 1.0]), draws=1).estimate.value)
