from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from effmed.errors import DataError
from effmed.evaluate.decisions import OperatingPoint, choose_operating_point
from effmed.recipe import DecisionSettings

TRUTH = np.array([0, 0, 0, 1, 0, 1, 0, 1, 1, 1])
PROBABILITY = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=40).map(
    lambda pairs: (np.array([y for y, _ in pairs]), np.array([p / 20 for _, p in pairs]))
)
Rows = tuple[np.ndarray, np.ndarray]


def choose(rule: str, value: float = 0.9, data: Rows = (TRUTH, PROBABILITY)) -> OperatingPoint:
    return choose_operating_point(*data, DecisionSettings(rule=rule, value=value), class_name="tumour")


def rates(truth: np.ndarray, called: np.ndarray) -> tuple[float, float]:
    return called[truth == 1].mean(), (~called)[truth == 0].mean()


def all_rates(truth: np.ndarray, probability: np.ndarray) -> list[tuple[float, float]]:
    return [rates(truth, probability >= each) for each in (*np.unique(probability), 2.0)]


@settings(deadline=None)
@given(rows, st.floats(0, 1))
def test_the_sensitivity_is_reached_at_the_best_specificity(drawn: Rows, value: float) -> None:
    assume(0 < drawn[0].sum() < drawn[0].size)
    point = choose("sensitivity", value, drawn)
    assert point.sensitivity >= value
    assert point.specificity == pytest.approx(max(spec for sens, spec in all_rates(*drawn) if sens >= value))


@settings(deadline=None)
@given(rows, st.floats(0, 1))
def test_the_specificity_is_reached_at_the_best_sensitivity(drawn: Rows, value: float) -> None:
    assume(0 < drawn[0].sum() < drawn[0].size)
    point = choose("specificity", value, drawn)
    assert point.specificity >= value
    assert point.sensitivity == pytest.approx(max(sens for sens, spec in all_rates(*drawn) if spec >= value))


@settings(deadline=None)
@given(rows)
def test_youden_has_the_largest_sum(drawn: Rows) -> None:
    assume(0 < drawn[0].sum() < drawn[0].size)
    point = choose("youden", data=drawn)
    assert point.sensitivity + point.specificity == pytest.approx(max(map(sum, all_rates(*drawn))))


@settings(deadline=None)
@given(rows, st.sampled_from([0.1, 0.3, 0.5, 0.8]))
def test_net_benefit_is_the_largest(drawn: Rows, value: float) -> None:
    truth, probability = drawn
    assume(0 < truth.sum() < truth.size)

    def benefit(threshold: float) -> float:
        called = probability >= threshold
        return called[truth == 1].sum() - called[truth == 0].sum() * value / (1 - value)

    best = max(benefit(each) for each in (*np.unique(probability), 2.0))
    assert benefit(choose("net-benefit", value, drawn).threshold) == pytest.approx(best)


@pytest.mark.parametrize("tenths", range(11))
@pytest.mark.parametrize("rule", ["sensitivity", "specificity"])
def test_a_share_that_is_reached_exactly_counts_as_reached(rule: str, tenths: int) -> None:
    truth, probability = np.repeat([0, 1], 10), np.tile(np.arange(10) / 10, 2)
    assert getattr(choose(rule, tenths / 10, (truth, probability)), rule) == tenths / 10


def test_a_chosen_threshold_lies_between_two_probabilities() -> None:
    assert choose("sensitivity", 0.8).threshold == pytest.approx(0.35)


def test_rounding_of_probabilities_flips_no_decision() -> None:
    threshold = choose("sensitivity", 0.8).threshold
    noisy = PROBABILITY - 1e-9
    assert np.array_equal(noisy >= threshold, threshold <= PROBABILITY)


def test_probabilities_that_touch_keep_their_decision() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    point = choose("specificity", 1.0, (np.array([0, 1]), np.array([low, high])))
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_a_specificity_of_1_may_call_nothing() -> None:
    point = choose("specificity", 1.0, (np.array([0, 1]), np.array([0.9, 0.1])))
    assert (point.threshold > 0.9, point.sensitivity) == (True, 0.0)


def test_a_fixed_threshold_is_taken_as_given() -> None:
    point = choose("threshold", 0.4)
    assert (point.threshold, point.rule, point.sensitivity, point.specificity) == (0.4, "threshold = 0.4", 0.8, 0.8)


def test_a_fixed_threshold_needs_no_positive() -> None:
    point = choose("threshold", 0.4, (np.zeros(3), PROBABILITY[:3]))
    assert (point.sensitivity, point.specificity) == (None, 1.0)


def test_a_fixed_threshold_needs_no_negative() -> None:
    assert choose("threshold", 0.4, (np.ones(3), PROBABILITY[:3])).specificity is None


@pytest.mark.parametrize("rule", ["sensitivity", "specificity", "youden", "net-benefit"])
def test_a_rule_needs_both_classes(rule: str) -> None:
    with pytest.raises(DataError, match="'tumour' on val: there is no positive image"):
        choose(rule, data=(np.zeros(3), PROBABILITY[:3]))


def test_net_benefit_at_certainty_is_refused() -> None:
    with pytest.raises(DataError, match="threshold probability 1"):
        choose("net-benefit", 1.0)


@pytest.mark.parametrize("rule", ["threshold", "sensitivity", "specificity", "youden", "net-benefit"])
def test_only_youden_is_exploratory(rule: str) -> None:
    assert choose(rule).exploratory == (rule == "youden")


def test_the_rule_names_its_value() -> None:
    assert choose("specificity", 0.8).rule == "specificity >= 0.8"


def test_the_counts_are_of_the_data_that_chose() -> None:
    point = choose("sensitivity")
    assert (point.n, point.n_events, point.class_name, point.chosen_on) == (10, 5, "tumour", "val")


def test_the_digest_does_not_depend_on_the_order() -> None:
    assert choose("youden").digest == choose("youden", data=(TRUTH[::-1], PROBABILITY[::-1])).digest


def test_the_digest_depends_on_every_truth() -> None:
    other = TRUTH.copy()
    other[:4] = [1, 0, 0, 0]
    assert choose("youden").digest != choose("youden", data=(other, PROBABILITY)).digest


def test_an_operating_point_survives_json() -> None:
    point = choose("sensitivity")
    assert OperatingPoint.model_validate_json(point.model_dump_json()) == point


def test_an_operating_point_is_closed() -> None:
    with pytest.raises(ValidationError):
        OperatingPoint.model_validate(choose("sensitivity").model_dump() | {"more": 1})
