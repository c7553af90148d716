from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from effmed.errors import DataError
from effmed.evaluate.decisions import (
    SetRule,
    choose_certainty,
    coverage,
    fit_sets,
    prediction_sets,
    risk_coverage,
)


def made(n: int = 600, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    return truth, softmax(rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth] + [1.0, 0, -1], axis=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_new_images_are_covered_in_every_class(seed: int) -> None:
    rule = fit_sets(*made(3000, seed=seed))
    truth, probability = made(3000, seed=seed + 5000)
    sets = prediction_sets(rule, probability)
    assert all(coverage(truth, sets, class_number=k).value > 0.8 for k in range(3))


def test_on_average_only_the_rare_class_may_suffer() -> None:
    truth, probability = made(3000, seed=1)
    sets = prediction_sets(fit_sets(*made(3000), by_class=False), probability)
    assert coverage(truth, sets).value == pytest.approx(0.9, abs=0.03)
    assert coverage(truth, sets, class_number=2).value < 0.75


def test_the_limit_is_the_conformal_rank() -> None:
    truth, probability = np.zeros(9, dtype=int), np.column_stack([np.arange(1, 10) / 10, 1 - np.arange(1, 10) / 10])
    assert fit_sets(truth, probability, miss_fraction=0.2, by_class=False).limits == pytest.approx((0.8, 0.8))


def test_too_few_images_keep_the_class_always() -> None:
    rule = fit_sets(np.array([0, 0, 1]), np.full((3, 2), 0.5))
    assert prediction_sets(rule, np.array([[1.0, 0.0], [0.0, 1.0]])).all()


def test_fewer_misses_make_larger_sets() -> None:
    truth, probability = made()
    sizes = [prediction_sets(fit_sets(truth, probability, miss_fraction=m), probability).sum() for m in (0.3, 0.05)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("miss_fraction", [0.0, 1.0])
def test_a_share_of_misses_lies_between_0_and_1(miss_fraction: float) -> None:
    with pytest.raises(DataError, match="missed images"):
        fit_sets(*made(), miss_fraction=miss_fraction)


def test_a_rule_says_what_chose_it() -> None:
    truth, probability = made()
    rule = fit_sets(truth, probability, chosen_on="calibration")
    assert (rule.chosen_on, rule.n_per_class) == ("calibration", tuple(np.bincount(truth).tolist()))
    assert rule.digest != fit_sets(truth, probability[:, ::-1]).digest


def test_a_rule_survives_json() -> None:
    rule = fit_sets(*made())
    assert SetRule.model_validate_json(rule.model_dump_json()) == rule


def test_coverage_has_an_interval_by_patient() -> None:
    truth, probability = made()
    sets = prediction_sets(fit_sets(truth, probability), probability)
    assert "effective n" in coverage(truth, sets, np.arange(600) // 3).method


def test_coverage_refuses_another_number_of_sets() -> None:
    with pytest.raises(DataError, match="2 prediction sets for 3 images"):
        coverage(np.zeros(3, dtype=int), np.ones((2, 2), dtype=bool))


def test_risk_is_that_of_the_decided() -> None:
    curve = risk_coverage(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.7]))
    assert curve.certainty.tolist() == [0.9, 0.8, 0.7]
    assert curve.coverage.tolist() == [0.25, 0.5, 1.0]
    assert curve.risk.tolist() == [0.0, 0.0, 0.5]


def test_deciding_everything_has_the_overall_risk() -> None:
    truth, probability = made()
    curve = risk_coverage(truth, probability.argmax(axis=1), probability.max(axis=1))
    assert (curve.coverage[-1], curve.risk[-1]) == (1.0, pytest.approx((probability.argmax(axis=1) != truth).mean()))


def test_the_certainty_refers_as_few_images_as_the_risk_allows() -> None:
    curve = risk_coverage(np.zeros(4), np.array([0, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.6]))
    assert choose_certainty(curve, max_risk=0.25) == 0.6


def test_a_risk_that_is_never_reached_has_no_certainty() -> None:
    curve = risk_coverage(np.zeros(2), np.ones(2), np.array([0.9, 0.8]))
    assert choose_certainty(curve, max_risk=0.1) is None
