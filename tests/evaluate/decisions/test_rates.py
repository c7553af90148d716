from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from effmed.errors import DataError
from effmed.evaluate import decisions

TRUTH = np.array([1] * 8 + [0] * 12)
CALLED = np.array([True] * 6 + [False] * 2 + [True] * 3 + [False] * 9)
RATES = [decisions.sensitivity, decisions.specificity, decisions.ppv, decisions.npv]
RATIOS = [decisions.lr_positive, decisions.lr_negative]

rows = st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=2, max_size=40).map(
    lambda pairs: (np.array([y for y, _ in pairs]), np.array([d for _, d in pairs], dtype=bool))
)
Rows = tuple[np.ndarray, np.ndarray]


@settings(deadline=None)
@given(rows)
def test_the_table_equals_scikit_learn(drawn: Rows) -> None:
    table = decisions.two_by_two(*drawn)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(*drawn, labels=[0, 1])
    assert vars(table) == {"true_positive": tp, "false_positive": fp, "false_negative": fn, "true_negative": tn}


@pytest.mark.parametrize(("measure", "value"), list(zip(RATES, [6 / 8, 9 / 12, 6 / 9, 9 / 11], strict=True)))
def test_a_rate_is_its_share_of_the_table(measure, value: float) -> None:
    estimate = measure(TRUTH, CALLED)
    assert estimate.value == pytest.approx(value)
    assert estimate.low < value < estimate.high


@pytest.mark.parametrize(("measure", "value"), list(zip(RATIOS, [0.75 / 0.25, 0.25 / 0.75], strict=True)))
def test_a_likelihood_ratio_is_a_ratio_of_rates(measure, value: float) -> None:
    estimate = measure(TRUTH, CALLED)
    assert estimate.value == pytest.approx(value)
    assert estimate.low < value < estimate.high


@pytest.mark.parametrize("measure", [*RATES, decisions.two_by_two, *RATIOS])
def test_numbers_are_not_taken_for_decisions(measure) -> None:
    with pytest.raises(DataError, match="not bool"):
        measure(TRUTH, CALLED.astype(int))


@pytest.mark.parametrize("measure", [*RATES, *RATIOS, decisions.accuracy, decisions.balanced_accuracy])
def test_another_number_of_decisions_is_refused(measure) -> None:
    with pytest.raises(DataError, match="3 decisions for 20 images"):
        measure(TRUTH, CALLED[:3])


def test_without_a_positive_there_is_no_sensitivity() -> None:
    assert decisions.sensitivity(np.zeros(3), CALLED[:3]).status == "not_estimable"


def test_without_a_positive_call_there_is_no_ppv() -> None:
    assert decisions.ppv(TRUTH, np.zeros(20, dtype=bool)).status == "not_estimable"


@pytest.mark.parametrize("measure", RATIOS)
@pytest.mark.parametrize("value", [0, 1])
def test_without_a_class_there_is_no_likelihood_ratio(measure, value: int) -> None:
    assert measure(np.full(20, value), CALLED).status == "not_estimable"


def test_without_a_false_positive_the_positive_ratio_is_not_estimable() -> None:
    assert decisions.lr_positive(TRUTH, TRUTH == 1).reason == "no negative image is called positive"


def test_without_a_true_negative_the_negative_ratio_is_not_estimable() -> None:
    assert decisions.lr_negative(TRUTH, np.ones(20, dtype=bool)).reason == "no negative image is called negative"


def test_a_likelihood_ratio_of_0_has_no_interval() -> None:
    estimate = decisions.lr_negative(TRUTH, CALLED | (TRUTH == 1))
    assert (estimate.value, estimate.low) == (0.0, None)


@pytest.mark.parametrize("measure", [*RATES, *RATIOS, decisions.accuracy, decisions.balanced_accuracy])
def test_patients_with_like_images_widen_the_interval(measure) -> None:
    truth, called = np.repeat(TRUTH, 5), np.repeat(CALLED, 5)
    alone, clustered = measure(truth, called), measure(truth, called, np.repeat(np.arange(20), 5))
    assert clustered.high - clustered.low > 1.7 * (alone.high - alone.low)


@pytest.mark.parametrize("name", ["ppv", "npv"])
def test_at_the_own_prevalence_the_predictive_value_is_the_share(name: str) -> None:
    adjusted = getattr(decisions, f"{name}_at_prevalence")(TRUTH, CALLED, 8 / 20)
    assert adjusted.value == pytest.approx(getattr(decisions, name)(TRUTH, CALLED).value)
    assert adjusted.low < adjusted.value < adjusted.high


def test_rarer_disease_lowers_ppv_and_raises_npv() -> None:
    assert decisions.ppv_at_prevalence(TRUTH, CALLED, 0.01).value < 0.05
    assert decisions.npv_at_prevalence(TRUTH, CALLED, 0.01).value > 0.99


@pytest.mark.parametrize("measure", [decisions.ppv_at_prevalence, decisions.npv_at_prevalence])
@pytest.mark.parametrize("called", [TRUTH == 1, CALLED | (TRUTH == 1), CALLED & (TRUTH == 1)], ids=str)
def test_empty_cells_are_flagged_and_leave_an_interval(measure, called: np.ndarray) -> None:
    estimate = measure(TRUTH, called, 0.1)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


def test_an_empty_cell_is_named_in_the_method() -> None:
    assert "1/2 added" in decisions.ppv_at_prevalence(TRUTH, TRUTH == 1, 0.1).method


@pytest.mark.parametrize("prevalence", [0.0, 1.0, 5.0])
def test_a_prevalence_lies_between_0_and_1(prevalence: float) -> None:
    with pytest.raises(DataError, match=f"prevalence {prevalence:g}"):
        decisions.ppv_at_prevalence(TRUTH, CALLED, prevalence)


def test_without_a_positive_call_there_is_no_ppv_at_any_prevalence() -> None:
    estimate = decisions.ppv_at_prevalence(TRUTH, np.zeros(20, dtype=bool), 0.1)
    assert (estimate.status, estimate.reason) == ("not_estimable", "no image is called so")


def test_without_a_class_there_is_no_npv_at_any_prevalence() -> None:
    assert decisions.npv_at_prevalence(np.zeros(20), CALLED, 0.1).status == "not_estimable"


@settings(deadline=None)
@given(rows)
def test_accuracy_equals_scikit_learn(drawn: Rows) -> None:
    assert decisions.accuracy(*drawn).value == pytest.approx(metrics.accuracy_score(*drawn))


@settings(deadline=None)
@given(rows)
def test_balanced_accuracy_equals_scikit_learn(drawn: Rows) -> None:
    truth, called = drawn
    assume(0 < truth.sum() < truth.size)
    expected = metrics.balanced_accuracy_score(truth, called)
    assert decisions.balanced_accuracy(truth, called).value == pytest.approx(expected)


def test_one_class_has_no_balanced_accuracy() -> None:
    assert decisions.balanced_accuracy(np.ones(3), np.ones(3)).status == "not_estimable"


def test_images_of_one_single_patient_give_no_interval() -> None:
    assert decisions.balanced_accuracy(TRUTH, CALLED, np.zeros(20)).low is None


def test_the_same_decisions_do_not_differ() -> None:
    assert decisions.mcnemar(TRUTH, CALLED, CALLED).p_value == 1.0


def test_only_images_that_one_gets_right_count() -> None:
    test = decisions.mcnemar(np.ones(8), np.array([1] * 6 + [0] * 2), np.array([0] * 6 + [1, 0]))
    assert (test.first_only, test.second_only) == (6, 1)
    assert test.p_value == pytest.approx(2 * 8 / 2**7)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=40))
def test_quadratic_kappa_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, decided = np.array(pairs).T
    assume(np.unique([truth, decided]).size > 1)
    expected = metrics.cohen_kappa_score(truth, decided, weights="quadratic", labels=range(4))
    found = decisions.kappa_quadratic(truth, decided, n_classes=4, replicates=5)
    assert found.value == pytest.approx(expected)


def test_the_bootstrap_interval_holds_kappa() -> None:
    truth = np.arange(60) % 3
    decided = np.where(np.arange(60) % 7 == 0, (truth + 1) % 3, truth)
    estimate = decisions.kappa_quadratic(truth, decided, np.arange(60) // 3, n_classes=3, replicates=200)
    assert estimate.low < estimate.value < estimate.high


def test_one_grade_has_no_kappa() -> None:
    assert decisions.kappa_quadratic(np.ones(3, int), np.ones(3, int), n_classes=3).status == "not_estimable"


def test_balanced_accuracy_has_the_error_of_two_independent_shares() -> None:
    estimate = decisions.balanced_accuracy(TRUTH, CALLED)
    variance = (0.75 * 0.25 / 8 + 0.75 * 0.25 / 12) / 4 * 20 / 19
    assert estimate.high - estimate.value == pytest.approx(2.093024054 * variance**0.5)


def test_the_clustered_likelihood_ratio_has_the_t_quantile_of_patients() -> None:
    truth, called = np.repeat(TRUTH, 5), np.repeat(CALLED, 5)
    estimate = decisions.lr_positive(truth, called, np.repeat(np.arange(20), 5))
    variance = ((1 - 6 / 8) / 6 + (1 - 3 / 12) / 3) * 20 / 19
    assert np.log(estimate.high / estimate.value) == pytest.approx(2.093024054 * variance**0.5)


def test_decisions_without_an_error_have_no_interval_of_width_0() -> None:
    for measure in (decisions.balanced_accuracy, decisions.mean_absolute_error):
        estimate = measure(TRUTH, TRUTH)
        assert estimate.status == "ok"
        assert (estimate.low, estimate.high) == (None, None)
        assert estimate.reason.endswith("alike: no interval") or estimate.reason.endswith("the same: no interval")
