from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from effmed.errors import DataError
from effmed.evaluate.calibration import citl, slope
from effmed.evaluate.calibration.regression import fit_logistic


def made(n: int = 400, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) - 0.5
    return (rng.random(n) < expit(logits)).astype(int), logits


@settings(deadline=None, max_examples=25)
@given(st.floats(-3, 3), st.floats(0.3, 3))
def test_moving_and_stretching_logits_moves_and_shrinks_the_measures(shift: float, stretch: float) -> None:
    truth, logits = made()
    assert slope(truth, logits * stretch + shift).value == pytest.approx(slope(truth, logits).value / stretch, abs=1e-7)
    assert citl(truth, logits + shift).value == pytest.approx(citl(truth, logits).value - shift, abs=1e-7)


def test_at_the_optimum_the_expected_events_are_the_observed() -> None:
    truth, logits = made()
    assert expit(logits + citl(truth, logits).value).sum() == pytest.approx(truth.sum())


@pytest.mark.parametrize("measure", [citl, slope])
def test_a_calibrated_network_is_within_its_interval(measure) -> None:
    estimate = measure(*made(4000))
    assert estimate.low < {"citl": 0.0, "slope": 1.0}[measure.__name__] < estimate.high


@pytest.mark.parametrize("measure", [citl, slope])
@pytest.mark.parametrize("value", [0, 1])
def test_without_a_class_there_is_no_regression(measure, value: int) -> None:
    estimate = measure(np.full(5, value), np.arange(5.0))
    assert (estimate.status, estimate.value) == ("not_estimable", None)


@pytest.mark.parametrize("measure", [citl, slope])
def test_saturated_probabilities_are_counted_not_clipped(measure) -> None:
    truth, logits = made(20)
    logits[:2] = -math.inf, math.inf
    assert measure(truth, logits).reason.startswith("2 probabilities are exactly 0 or 1")


@pytest.mark.parametrize("measure", [citl, slope])
def test_missing_logits_are_refused(measure) -> None:
    truth, logits = made(20)
    logits[3] = math.nan
    with pytest.raises(DataError, match=r"row 3$"):
        measure(truth, logits)


def test_constant_logits_have_no_slope() -> None:
    assert slope(np.array([0, 1, 0, 1]), np.ones(4)).reason == "all logits are the same"


def test_constant_logits_have_a_calibration_in_the_large() -> None:
    assert citl(np.array([0, 1, 0, 1]), np.ones(4)).value == pytest.approx(-1)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_perfect_separation_has_no_slope(scale: float) -> None:
    estimate = slope(np.array([0, 0, 0, 1, 1, 1]), np.arange(6.0) * scale)
    assert (estimate.status, "perfectly" in estimate.reason) == ("not_estimable", True)


def test_patients_with_like_images_widen_the_interval() -> None:
    truth, logits = (np.repeat(each, 4) for each in made(60))
    alone, clustered = slope(truth, logits), slope(truth, logits, np.repeat(np.arange(60), 4))
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)


def test_images_of_one_single_patient_give_no_interval() -> None:
    truth, logits = made(50)
    assert slope(truth, logits, np.zeros(50)).low is None


def test_weights_count_images() -> None:
    truth, logits = made(50)
    design = np.column_stack([np.ones(50), logits])
    weights = np.arange(50) % 3
    repeated = fit_logistic(np.repeat(design, weights, axis=0), np.repeat(truth, weights).astype(float))
    weighted = fit_logistic(design, truth.astype(float), weights=weights.astype(float))
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, atol=1e-8)


def test_collinear_columns_have_no_fit() -> None:
    truth, logits = made(50)
    assert fit_logistic(np.column_stack([logits, 2 * logits]), truth.astype(float)) is None


def test_a_start_far_from_the_optimum_still_converges() -> None:
    truth, logits = made(200)
    far = fit_logistic(np.column_stack([np.ones(200), logits]), truth.astype(float), offset=30 * logits + 20)
    near = fit_logistic(np.column_stack([np.ones(200), logits]), truth.astype(float))
    np.testing.assert_allclose(far.coefficients, near.coefficients - (20, 30), atol=1e-6)


def test_the_method_names_variance_and_degrees_of_freedom() -> None:
    truth, logits = made(60)
    assert slope(truth, logits).method == "logistic regression, Wald"
    clustered = slope(truth, logits, np.arange(60) // 2).method
    rarer = min(np.unique(np.arange(60)[truth == value] // 2).size for value in (0, 1))
    assert clustered == f"logistic regression, sandwich by patient, t({rarer - 1})"
    whole = citl(truth, logits, np.arange(60) // 2).method
    assert whole == "logistic regression, sandwich by patient, t(29)"
