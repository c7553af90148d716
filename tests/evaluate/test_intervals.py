from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effmed.errors import DataError
from effmed.evaluate.intervals import (
    Counts,
    Estimate,
    Units,
    absent_class,
    bootstrap,
    bootstrap_totals,
    check_numbers,
    check_probability,
    check_truth,
    checked,
    clopper_pearson_interval,
    effective_number,
    make_units,
    mean_estimate,
    percentile_estimate,
    proportion,
    row_text,
    wilson_interval,
)

COUNTS = Counts(10, 4, None)


@pytest.mark.parametrize("field", ["value", "low", "high"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_an_estimate_is_never_nan_or_infinite(field: str, number: float) -> None:
    fields = {"value": 0.5, "low": 0.4, "high": 0.6} | {field: number}
    with pytest.raises(ValueError, match="finite"):
        Estimate(**fields, method="", n=1, n_events=1, n_patients=None)


def test_without_patients_every_row_is_a_unit() -> None:
    units = make_units(None, 3)
    assert (units.codes.tolist(), units.count, units.n_patients, units.clustered) == ([0, 1, 2], 3, None, False)


def test_patients_with_one_image_each_are_not_clustered() -> None:
    units = make_units(np.array(["b", "a"]), 2)
    assert (units.n_patients, units.clustered) == (2, False)


def test_images_of_a_patient_share_a_unit() -> None:
    units = make_units(np.array(["b", "a", "b"]), 3)
    assert (units.codes[0] == units.codes[2], units.count, units.clustered) == (True, 2, True)


def test_patients_may_be_of_any_kind() -> None:
    assert make_units(np.array([1, "1", 1], dtype=object), 3).count == 2


def test_a_missing_patient_is_named_by_row() -> None:
    with pytest.raises(DataError, match=r"row 1$"):
        make_units(np.array(["a", None], dtype=object), 2)


def test_another_number_of_patients_is_refused() -> None:
    with pytest.raises(DataError, match="1 patients for 2 images"):
        make_units(np.array(["a"]), 2)


@pytest.mark.parametrize("value", [-1, 2, 0.5, math.nan])
def test_a_truth_that_is_neither_0_nor_1_is_named_by_row(value: float) -> None:
    with pytest.raises(DataError, match="row 2: "):
        check_truth(np.array([0, 1, value]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named_by_row(value: float) -> None:
    with pytest.raises(DataError, match=r"logits are not finite in row 1$"):
        check_numbers(np.array([0.0, value]), 2, "logits")


def test_a_bad_number_in_any_column_names_its_row() -> None:
    with pytest.raises(DataError, match=r"row 2$"):
        check_numbers(np.array([[0.0, 0.0], [0.0, 0.0], [0.0, math.nan]]), 3, "logits")


def test_infinite_logits_pass_where_they_mean_saturated_probabilities() -> None:
    assert check_numbers(np.array([-math.inf]), 1, "logits", infinite=True)[0] == -math.inf


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_decisions_are_no_probabilities(dtype: type) -> None:
    with pytest.raises(DataError, match="decisions instead of"):
        check_numbers(np.array([0, 1], dtype=dtype), 2, "probabilities")


def test_another_number_of_logits_is_refused() -> None:
    with pytest.raises(DataError, match="3 logits for 2 images"):
        check_numbers(np.zeros(3), 2, "logits")


def test_float32_is_computed_in_float64() -> None:
    assert check_numbers(np.zeros(1, dtype=np.float32), 1, "logits").dtype == np.float64


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_probability_outside_0_to_1_is_named_by_row(value: float) -> None:
    with pytest.raises(DataError, match=r"outside 0 to 1 in row 1$"):
        check_probability(np.array([0.5, value]), 2)


def test_of_many_rows_ten_are_shown_with_the_total() -> None:
    text = row_text(np.ones(12, dtype=bool))
    assert text == "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 ... (12 in all)"


def test_counts_hold_images_events_and_patients() -> None:
    *_, counts = checked(np.array([1, 0, 1]), np.zeros(3), np.array(["a", "a", "b"]))
    assert counts == Counts(3, 2, 2)


@pytest.mark.parametrize(("n_events", "text"), [(0, "no positive"), (10, "no negative"), (4, "")])
def test_the_absent_class_is_named(n_events: int, text: str) -> None:
    assert text in absent_class(Counts(10, n_events, None))


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0, 1))
def test_wilson_lies_within_0_and_1_and_holds_the_proportion(n: int, share: float) -> None:
    low, high = wilson_interval(share, n)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


@pytest.mark.parametrize(("successes", "n", "limits"), [(0, 5, (0.0, 0.5218238)), (5, 5, (0.4781762, 1.0))])
def test_the_exact_interval_is_one_sided_at_the_ends(successes: int, n: int, limits: tuple[float, float]) -> None:
    assert clopper_pearson_interval(successes, n) == pytest.approx(limits, abs=1e-6)


def test_a_proportion_of_nothing_is_not_estimable() -> None:
    estimate = proportion(np.ones(2, dtype=bool), np.zeros(2, dtype=bool))
    assert (estimate.status, estimate.value) == ("not_estimable", None)


def test_a_perfect_proportion_keeps_its_uncertainty() -> None:
    estimate = proportion(np.ones(3, dtype=bool), np.ones(3, dtype=bool))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.43850, abs=1e-5)


def test_one_image_per_patient_is_plain_wilson() -> None:
    successes, mask = np.array([True, True, False, True]), np.ones(4, dtype=bool)
    alone, named = proportion(successes, mask), proportion(successes, mask, np.arange(4))
    assert (alone.low, alone.high, named.n_patients) == (named.low, named.high, 4)


def test_images_of_one_single_patient_give_no_interval() -> None:
    estimate = proportion(np.array([True, False]), np.ones(2, dtype=bool), np.array(["a", "a"]))
    assert (estimate.value, estimate.low) == (0.5, None)


def test_perfectly_correlated_images_count_as_patients() -> None:
    patients = np.repeat(np.arange(20), 5)
    successes = np.repeat(np.arange(20) < 12, 5)
    assert effective_number(successes, make_units(patients, 100)) == pytest.approx(19)  # G - 1, the variance's divisor


def test_where_all_images_agree_the_effective_number_is_that_of_patients() -> None:
    assert effective_number(np.ones(6, dtype=bool), make_units(np.repeat([0, 1, 2], 2), 6)) == 3


def test_the_effective_number_never_exceeds_the_images() -> None:
    successes = np.tile([True, False], 20)
    successes[:2] = True  # nearly every patient has one of each: the totals vary less than by chance
    assert effective_number(successes, make_units(np.repeat(np.arange(20), 2), 40)) == 40


def test_the_mean_of_independent_terms_has_the_textbook_error() -> None:
    terms = np.array([1.0, 2.0, 4.0, 5.0])
    estimate = mean_estimate(terms, COUNTS, make_units(None, 4))
    assert estimate.high - estimate.value == pytest.approx(3.182446305 * terms.std(ddof=1) / 2)


def test_one_unit_has_no_standard_error() -> None:
    assert mean_estimate(np.ones(2), COUNTS, make_units(np.array([0, 0]), 2)).low is None


def total(weights: np.ndarray) -> np.ndarray:
    return np.array([float(weights.sum())])


def test_a_bootstrap_draw_keeps_patients_whole() -> None:
    units = make_units(np.array([0, 0, 1, 2, 2, 2]), 6)
    weights: list[np.ndarray] = []
    bootstrap(lambda each: weights.append(each) or total(each), units, replicates=20, seed=0)
    assert all(w[0] == w[1] and w[3] == w[4] == w[5] for w in weights)


def test_a_bootstrap_draws_as_many_patients_as_there_are() -> None:
    assert set(bootstrap(total, make_units(None, 7), replicates=20, seed=0).ravel()) == {7.0}


def test_the_same_seed_gives_the_same_bootstrap() -> None:
    first, again = (bootstrap(lambda w: w[:2].astype(float), make_units(None, 9), replicates=5, seed=3) for _ in "ab")
    assert first.tolist() == again.tolist()


def test_a_replicate_does_not_depend_on_how_many_there_are() -> None:
    few, many = (bootstrap(lambda w: w[:2].astype(float), make_units(None, 9), replicates=n, seed=3) for n in (5, 50))
    assert few.tolist() == many[:5].tolist()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=30), st.integers(0, 99))
def test_totals_by_patient_equal_totals_by_row(patients: list[int], seed: int) -> None:
    units = make_units(np.array(patients), len(patients))
    terms = np.random.default_rng(0).normal(size=(len(patients), 2))
    slow = bootstrap(lambda w: w @ terms, units, replicates=4, seed=seed)
    np.testing.assert_allclose(bootstrap_totals(terms, units, replicates=4, seed=seed), slow, atol=1e-12)


def test_the_bootstrap_mean_is_the_mean_and_its_spread_the_standard_error() -> None:
    terms = np.random.default_rng(0).normal(size=(400, 1))
    draws = bootstrap_totals(terms, make_units(None, 400), replicates=2000, seed=0)[:, 0] / 400
    assert draws.mean() == pytest.approx(terms.mean(), abs=4 * terms.std() / 20 / math.sqrt(2000))
    assert draws.std() == pytest.approx(terms.std() / 20, rel=0.08)


def test_a_few_undefined_replicates_are_left_out_and_counted() -> None:
    draws = np.append(np.linspace(0, 1, 199), [math.nan])
    estimate = percentile_estimate(0.5, draws, COUNTS)
    assert (estimate.reason, estimate.low) == ("1 replicates left out", pytest.approx(0.025))


def test_many_undefined_replicates_leave_no_interval() -> None:
    draws = np.append(np.linspace(0, 1, 97), [math.nan] * 3)
    estimate = percentile_estimate(0.5, draws, COUNTS)
    assert (estimate.value, estimate.low) == (0.5, None)
    assert "3 of 100" in estimate.reason


def test_the_unit_of_the_bootstrap_is_named() -> None:
    draws = np.linspace(0, 1, 100)
    assert "of patients" in percentile_estimate(0.5, draws, Counts(10, 4, 5)).method
    assert "of images" in percentile_estimate(0.5, draws, COUNTS).method


def test_sums_are_by_unit() -> None:
    assert Units(np.array([1, 0, 1]), 2, 2, clustered=True).sums(np.array([1.0, 2.0, 4.0])).tolist() == [2.0, 5.0]


def test_draws_that_are_all_the_same_give_no_interval() -> None:
    estimate = percentile_estimate(1.0, np.ones(100), Counts(20, 10, None))
    assert (estimate.value, estimate.low, estimate.high) == (1.0, None, None)
    assert estimate.reason == "the value is the same in all bootstrap replicates: no interval"
