from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn import metrics

from effmed.errors import DataError
from effmed.evaluate.calibration import (
    brier,
    corp,
    log_loss,
    multiclass_brier,
    multiclass_log_loss,
    observed_expected,
    scaled_brier,
)

rows = st.lists(st.tuples(st.integers(0, 1), st.floats(0.01, 0.99)), min_size=2, max_size=40).map(
    lambda pairs: (np.array([y for y, _ in pairs]), np.array([p for _, p in pairs]))
)
Rows = tuple[np.ndarray, np.ndarray]


@settings(deadline=None)
@given(rows)
def test_brier_equals_scikit_learn(drawn: Rows) -> None:
    assert brier(*drawn).value == pytest.approx(metrics.brier_score_loss(*drawn))


@settings(deadline=None)
@given(rows)
def test_log_loss_equals_scikit_learn(drawn: Rows) -> None:
    truth, probability = drawn
    expected = metrics.log_loss(truth, probability, labels=[0, 1])
    assert log_loss(truth, logit(probability)).value == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(rows)
def test_scaled_brier_equals_scikit_learn(drawn: Rows) -> None:
    assume(0 < drawn[0].sum() < drawn[0].size)
    assert scaled_brier(*drawn, replicates=5).value == pytest.approx(metrics.d2_brier_score(*drawn))


@settings(deadline=None)
@given(rows, st.sampled_from(["brier", "log"]))
def test_the_parts_of_a_score_add_up_to_it(drawn: Rows, score: str) -> None:
    truth, probability = drawn
    assume(0 < truth.sum() < truth.size)
    parts = corp(truth, probability, score)
    whole = brier(truth, probability) if score == "brier" else log_loss(truth, logit(probability))
    assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(whole.value)


@settings(deadline=None)
@given(rows)
def test_no_part_of_a_score_is_negative(drawn: Rows) -> None:
    assume(0 < drawn[0].sum() < drawn[0].size)
    parts = corp(*drawn)
    assert min(parts.miscalibration, parts.discrimination, parts.uncertainty) >= -1e-12


def test_shares_that_rise_with_the_probability_are_no_miscalibration() -> None:
    truth, probability = np.array([0, 0, 0, 1, 0, 1, 1, 1]), np.repeat([0.25, 0.75], 4)
    assert corp(truth, probability).miscalibration == pytest.approx(0)


def test_an_infinite_log_score_has_no_parts() -> None:
    assert corp(np.array([1, 0]), np.array([0.0, 0.5]), "log") is None


def test_without_a_class_a_score_has_no_parts() -> None:
    assert corp(np.ones(3), np.full(3, 0.5)) is None


def test_log_loss_of_huge_logits_is_finite() -> None:
    assert log_loss(np.array([1, 0]), np.array([-800.0, -800.0])).value == pytest.approx(400)


def test_an_impossible_event_makes_log_loss_infinite_and_is_counted() -> None:
    estimate = log_loss(np.array([1, 1, 0]), np.array([-math.inf, 1.0, 1.0]))
    assert (estimate.status, estimate.reason[:18]) == ("not_estimable", "infinite: 1 images")


def test_a_certain_event_costs_nothing() -> None:
    assert log_loss(np.array([1, 0]), np.array([math.inf, -math.inf])).value == 0.0


@pytest.mark.parametrize("measure", [brier, scaled_brier, log_loss])
def test_of_no_image_there_is_no_score(measure) -> None:
    assert measure(np.zeros(0), np.zeros(0)).status == "not_estimable"


def test_without_a_class_brier_cannot_be_scaled() -> None:
    assert scaled_brier(np.zeros(3), np.full(3, 0.2)).reason == "there is no positive image"


def test_the_prevalence_for_all_has_a_scaled_brier_of_0() -> None:
    assert scaled_brier(np.array([0, 0, 0, 1] * 9), np.full(36, 0.25), replicates=100).value == pytest.approx(0)


def test_a_scaled_brier_may_be_negative() -> None:
    assert scaled_brier(np.array([0, 1] * 9), np.tile([0.9, 0.1], 9), replicates=100).value < 0


def test_the_bootstrap_interval_holds_the_scaled_brier() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 90)
    estimate = scaled_brier(truth, 0.3 + 0.4 * truth * rng.random(90), np.arange(90) // 3, replicates=200)
    assert estimate.low < estimate.value < estimate.high


def test_patients_with_like_images_widen_the_brier_interval() -> None:
    rng = np.random.default_rng(0)
    truth, probability = np.repeat(rng.integers(0, 2, 30), 4), np.repeat(rng.random(30), 4)
    alone, clustered = brier(truth, probability), brier(truth, probability, np.repeat(np.arange(30), 4))
    assert clustered.high - clustered.low > 1.7 * (alone.high - alone.low)


def test_observed_over_expected_is_a_ratio_of_sums() -> None:
    estimate = observed_expected(np.array([1, 0, 0, 1]), np.full(4, 0.25))
    assert estimate.value == 2.0
    assert estimate.low < 2 < estimate.high


@pytest.mark.parametrize(("value", "limits"), [(0, (0.0, 3.688879)), (1, (1.623486, 11.668332))])
def test_no_or_only_events_have_the_exact_poisson_interval(value: int, limits: tuple[float, float]) -> None:
    n = 5
    estimate = observed_expected(np.full(n, value), np.full(n, 1 / n))
    assert (estimate.low, estimate.high) == pytest.approx(limits, abs=1e-5)


def test_probabilities_of_0_expect_nothing() -> None:
    assert observed_expected(np.array([0, 1]), np.zeros(2)).status == "not_estimable"


def test_clustered_observed_over_expected_is_bootstrapped() -> None:
    truth = np.arange(60) % 3 == 0
    estimate = observed_expected(truth.astype(int), np.full(60, 0.5), np.arange(60) // 4, replicates=100)
    assert estimate.method.startswith("bootstrap of patients")
    assert estimate.low < estimate.value < estimate.high


@pytest.mark.parametrize("measure", [brier, scaled_brier, observed_expected])
def test_logits_are_not_taken_for_probabilities(measure) -> None:
    with pytest.raises(DataError, match="outside 0 to 1"):
        measure(np.array([0, 1]), np.array([-1.0, 2.0]))


def test_of_two_classes_the_multiclass_brier_is_twice_the_binary() -> None:
    truth, p = np.array([0, 1, 1]), np.array([0.2, 0.7, 0.4])
    assert multiclass_brier(truth, np.column_stack([1 - p, p])).value == pytest.approx(2 * brier(truth, p).value)


def test_of_two_classes_the_multiclass_log_loss_is_the_binary() -> None:
    truth, logits = np.array([0, 1, 1]), np.array([-2.0, 1.0, 0.5])
    both = np.column_stack([np.zeros(3), logits])
    assert multiclass_log_loss(truth, both).value == pytest.approx(log_loss(truth, logits).value)


def test_no_score_has_an_interval_below_0():
    truth = np.array([1, 0, 0, 0, 0, 0])
    few = brier(truth, np.array([0.1, 0.01, 0.01, 0.01, 0.01, 0.6]), np.arange(6))
    assert few.low is None or few.low >= 0
    truth = np.array([1, 1, 0, 0, 0, 0])
    probability = np.array([0.1, 0.99, 0.01, 0.01, 0.01, 0.01])
    assert brier(truth, probability).low == 0.0 < brier(truth, probability).high
    assert log_loss(truth, np.log(probability / (1 - probability))).low == 0.0


@pytest.mark.parametrize("patients", [None, ["a", "a", "b", "c"]])
def test_expected_events_that_are_next_to_none_have_no_ratio(patients):
    found = observed_expected([0, 1, 0, 1], [1e-320] * 4, None if patients is None else np.array(patients))
    assert (found.status, found.reason) == ("not_estimable", "the probabilities are all 0 or next to it")
