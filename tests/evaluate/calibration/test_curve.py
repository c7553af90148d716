from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from effmed.evaluate.calibration import calibration_curve, grouped_points
from effmed.evaluate.calibration.curve import mass_bins, spline_design


def made(n: int = 2000, *, seed: int = 0, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n)
    return (rng.random(n) < expit(logits)).astype(int), logits * stretch


def test_the_curve_of_a_calibrated_network_is_the_diagonal_within_its_band() -> None:
    curve = calibration_curve(*made(), at=np.array([0.2, 0.5, 0.8]))
    assert (curve.low < curve.predicted).all()
    assert (curve.predicted < curve.high).all()


def test_the_curve_of_an_overconfident_network_lies_towards_the_middle() -> None:
    curve = calibration_curve(*made(stretch=3.0), at=np.array([0.1, 0.9]))
    assert curve.observed[0] > 0.2
    assert curve.observed[1] < 0.8


def test_the_curve_stays_within_the_predicted_range() -> None:
    truth, logits = made()
    curve = calibration_curve(truth, logits)
    assert logit(curve.predicted[[0, -1]]) == pytest.approx([logits.min(), logits.max()])


def test_every_image_has_its_distance() -> None:
    assert calibration_curve(*made(300)).distance.shape == (300,)


@pytest.mark.parametrize(("n", "n_knots"), [(400, 3), (4000, 4)])
def test_many_events_allow_a_fourth_knot(n: int, n_knots: int) -> None:
    assert len(calibration_curve(*made(n)).knots) == n_knots


def test_the_spline_is_straight_beyond_its_outer_knots() -> None:
    terms = spline_design(np.array([-9.0, -8.0, -7.0, 7.0, 8.0, 9.0]), (-2.0, 0.0, 1.0, 2.0))
    np.testing.assert_allclose(terms[0] - 2 * terms[1] + terms[2], 0, atol=1e-9)
    np.testing.assert_allclose(terms[3] - 2 * terms[4] + terms[5], 0, atol=1e-9)


def test_patients_with_like_images_widen_the_band() -> None:
    truth, logits = (np.repeat(each, 4) for each in made(200))
    alone = calibration_curve(truth, logits)
    clustered = calibration_curve(truth, logits, np.repeat(np.arange(200), 4))
    assert np.median((clustered.high - clustered.low) / (alone.high - alone.low)) > 1.5
    assert "sandwich band by patient" in clustered.method


def reason(truth: np.ndarray, logits: np.ndarray) -> str:
    return calibration_curve(truth, logits).reason


def test_few_distinct_probabilities_have_no_curve() -> None:
    assert "fewer than 5 distinct" in reason(np.array([0, 1] * 20), np.tile([-1.0, 0, 1, 2], 10))


def test_coinciding_knots_have_no_curve() -> None:
    logits = np.concatenate([np.zeros(190), np.arange(10.0)])
    assert "too coarse" in reason(np.arange(200) % 2, logits)


def test_perfect_separation_has_no_curve() -> None:
    assert "perfectly" in reason(np.repeat([0, 1], 60), np.arange(120.0))


def test_without_a_class_there_is_no_curve() -> None:
    assert reason(np.zeros(20), np.arange(20.0)) == "there is no positive image"


def test_saturated_probabilities_have_no_curve() -> None:
    assert "exactly 0 or 1" in reason(np.arange(20) % 2, np.append(np.arange(19.0), [math.inf]))


def test_a_missing_curve_is_empty() -> None:
    assert calibration_curve(np.zeros(20), np.arange(20.0)).observed.size == 0


def test_bins_of_equal_size_hold_as_many_images() -> None:
    assert np.bincount(mass_bins(np.linspace(0, 1, 30), 15)).tolist() == [2] * 15


def test_equal_probabilities_share_a_bin() -> None:
    bins = mass_bins(np.array([0.1, 0.5, 0.5, 0.5, 0.5, 0.9]), 3)
    assert bins.tolist() == [0, 1, 1, 1, 1, 2]


def test_grouped_points_are_means_with_wilson_limits() -> None:
    points = grouped_points(np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.6, 0.8]), n_groups=2)
    assert points.predicted.tolist() == pytest.approx([0.2, 0.7])
    assert points.observed.tolist() == [0.5, 1.0]
    assert points.high[1] == 1.0
    assert points.n.tolist() == [2, 2]


def test_empty_groups_are_left_out() -> None:
    assert grouped_points(np.array([0, 1, 1]), np.array([0.2, 0.2, 0.2])).n.tolist() == [3]


def test_of_no_image_there_are_no_points() -> None:
    assert grouped_points(np.zeros(0), np.zeros(0)).low.size == 0
