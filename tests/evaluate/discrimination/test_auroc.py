from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from effmed.evaluate.discrimination import auroc, auroc_contrast, auroc_difference, auroc_intervals
from effmed.evaluate.discrimination.auroc import auroc_covariance, newcombe_interval, place
from effmed.evaluate.intervals import make_units

Rows = tuple[np.ndarray, np.ndarray]
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8)), min_size=4, max_size=60).map(
    lambda pairs: (np.array([y for y, _ in pairs]), np.array([x / 4 for _, x in pairs]))
)


def made(n: int = 60, *, seed: int = 0, shift: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) % 3 == 0).astype(int)
    return truth, rng.normal(size=n) + shift * truth


@settings(deadline=None)
@given(rows)
def test_auroc_equals_scikit_learn_with_ties(drawn: Rows) -> None:
    truth, logits = drawn
    assume(0 < truth.sum() < truth.size)
    assert auroc(truth, logits).value == pytest.approx(roc_auc_score(truth, logits), abs=1e-12)


@settings(deadline=None)
@given(rows)
def test_auroc_is_invariant_under_monotone_maps(drawn: Rows) -> None:
    truth, logits = drawn
    mapped = np.exp(logits) * 3 - 1
    assert auroc(truth, logits) == auroc(truth, mapped)


@settings(deadline=None)
@given(rows)
def test_turning_the_logits_around_turns_the_auroc_around(drawn: Rows) -> None:
    truth, logits = drawn
    assume(0 < truth.sum() < truth.size)
    assert auroc(truth, -logits).value == pytest.approx(1 - auroc(truth, logits).value, abs=1e-12)


@settings(deadline=None)
@given(rows)
def test_the_interval_holds_the_auroc_and_stays_within_0_and_1(drawn: Rows) -> None:
    estimate = auroc(*drawn)
    if estimate.low is not None:
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@settings(deadline=None, max_examples=30)
@given(rows)
def test_the_order_of_rows_does_not_matter(drawn: Rows) -> None:
    truth, logits = drawn
    turned, straight = auroc(truth[::-1], logits[::-1]), auroc(truth, logits)
    assert turned.value == pytest.approx(straight.value, abs=1e-12)
    assert turned.low == pytest.approx(straight.low, abs=1e-9)


def delong_variance(truth: np.ndarray, logits: np.ndarray) -> float:
    """Compute it from every pair, as DeLong's paper defines it."""
    positives, negatives = logits[truth == 1], logits[truth == 0]
    wins = (positives[:, None] > negatives) + (positives[:, None] == negatives) / 2
    return wins.mean(axis=1).var(ddof=1) / positives.size + wins.mean(axis=0).var(ddof=1) / negatives.size


@settings(deadline=None, max_examples=50)
@given(rows)
def test_one_image_per_patient_makes_obuchowski_delong(drawn: Rows) -> None:
    truth, logits = drawn
    assume(2 <= truth.sum() <= truth.size - 2)
    placements = place(truth, logits)
    variance = auroc_covariance(placements, placements, truth, make_units(np.arange(truth.size), truth.size))
    assert variance == pytest.approx(delong_variance(truth, logits), abs=1e-12)


def test_patients_with_like_images_widen_the_interval() -> None:
    truth, logits = made(40)
    truth, logits, patients = np.repeat(truth, 4), np.repeat(logits, 4), np.repeat(np.arange(40), 4)
    alone, clustered = auroc(truth, logits), auroc(truth, logits, patients)
    assert clustered.high - clustered.low > 1.7 * (alone.high - alone.low)


def test_the_method_names_variance_scale_and_degrees_of_freedom() -> None:
    assert auroc(*made(60)).method == "DeLong, logit scale, t(19)"


def test_repeated_patients_are_named_obuchowski() -> None:
    estimate = auroc(*made(60), np.repeat(np.arange(20), 3))
    assert (estimate.method[:10], estimate.n_patients) == ("Obuchowski", 20)


def test_perfect_separation_is_not_certain() -> None:
    estimate = auroc(np.array([0, 0, 0, 1, 1, 1]), np.arange(6.0))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert 0.4 < estimate.low < 0.8


def test_perfect_separation_rests_on_patients_not_images() -> None:
    truth, logits = np.repeat([0, 0, 0, 1, 1, 1], 5), np.repeat(np.arange(6.0), 5)
    few = auroc(np.array([0, 0, 0, 1, 1, 1]), np.arange(6.0))
    assert auroc(truth, logits, np.repeat(np.arange(6), 5)).low == pytest.approx(few.low)


@pytest.mark.parametrize("value", [0, 1])
def test_without_a_class_there_is_no_auroc(value: int) -> None:
    estimate = auroc(np.full(5, value), np.arange(5.0))
    assert (estimate.status, estimate.value, estimate.low) == ("not_estimable", None, None)


def test_constant_logits_have_an_auroc_but_no_interval() -> None:
    estimate = auroc(np.array([0, 1, 0, 1]), np.zeros(4))
    assert (estimate.value, estimate.low, estimate.status) == (0.5, None, "ok")


def test_one_positive_image_gives_no_interval() -> None:
    estimate = auroc(np.array([1, 0, 0, 0]), np.arange(4.0))
    assert (estimate.value, estimate.low) == (0.0, None)


def test_positives_of_one_patient_give_no_interval() -> None:
    estimate = auroc(np.array([1, 1, 0, 0]), np.array([1.0, 2, 0, 3]), np.array(["a", "a", "b", "c"]))
    assert (estimate.low, "patients" in estimate.reason) == (None, True)


def test_few_images_also_get_a_conservative_interval() -> None:
    intervals = auroc_intervals(*made(60))
    newcombe = newcombe_interval(intervals.estimate.value, 20, 40)
    low, high = intervals.estimate.low, intervals.estimate.high
    assert intervals.conservative == (min(low, newcombe[0]), max(high, newcombe[1]))


def test_many_images_need_no_conservative_interval() -> None:
    assert auroc_intervals(*made(300)).conservative is None


def test_the_wald_interval_stays_within_1() -> None:
    truth = np.array([0] * 10 + [1] * 10)
    logits = np.append(np.arange(10.0), np.arange(8.5, 18.5))
    assert auroc_intervals(truth, logits).wald[1] == 1.0


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(2, 200), st.integers(2, 200))
def test_newcombe_holds_the_value(value: float, n_positive: int, n_negative: int) -> None:
    low, high = newcombe_interval(value, n_positive, n_negative)
    assert -1e-9 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= 1 + 1e-9


def test_identical_networks_do_not_differ() -> None:
    truth, logits = made()
    difference = auroc_difference(truth, logits, logits)
    assert (difference.z, difference.p_value, difference.estimate.value) == (0.0, 1.0, 0.0)


def test_exchanging_the_networks_turns_the_difference_around() -> None:
    truth, logits = made()
    other = made(seed=1)[1]
    one, two = auroc_difference(truth, logits, other), auroc_difference(truth, other, logits)
    assert (one.z, one.p_value) == (pytest.approx(-two.z), pytest.approx(two.p_value))


def test_without_a_class_there_is_no_difference() -> None:
    assert auroc_difference(np.zeros(4), np.arange(4.0), np.arange(4.0)).estimate.status == "not_estimable"


def test_a_single_positive_gives_a_difference_without_interval() -> None:
    difference = auroc_difference(np.array([1, 0, 0]), np.array([2.0, 1, 0]), np.array([0.0, 1, 2]))
    assert (difference.estimate.value, difference.estimate.low, difference.p_value) == (1.0, None, None)


def test_opposite_perfect_rankings_have_no_test() -> None:
    difference = auroc_difference(np.array([1, 1, 0, 0]), np.array([2.0, 3, 0, 1]), np.array([0.0, 1, 2, 3]))
    assert (difference.estimate.value, difference.p_value) == (1.0, None)


def test_variances_of_separate_groups_add_up() -> None:
    one, two = auroc_intervals(*made(60)), auroc_intervals(*made(90, seed=1))
    contrast = auroc_contrast(one, two)
    assert contrast.se == pytest.approx((one.variance + two.variance) ** 0.5)
    assert (contrast.estimate.n, contrast.estimate.n_patients) == (150, None)


def test_patients_of_separate_groups_add_up() -> None:
    one = auroc_intervals(*made(60), np.arange(60) // 2)
    assert auroc_contrast(one, one).estimate.n_patients == 60


def test_a_group_without_auroc_has_no_contrast() -> None:
    one, none = auroc_intervals(*made(60)), auroc_intervals(np.ones(3), np.arange(3.0))
    assert auroc_contrast(one, none).estimate.reason == "there is no negative image"


def test_a_group_without_variance_has_a_contrast_without_interval() -> None:
    one, sure = auroc_intervals(*made(60)), auroc_intervals(np.array([0, 0, 1, 1]), np.arange(4.0))
    assert (auroc_contrast(one, sure).estimate.low, auroc_contrast(one, sure).p_value) == (None, None)
