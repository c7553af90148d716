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
from effmed.evaluate.decisions import sensitivity, specificity
from effmed.evaluate.discrimination import auroc
from effmed.evaluate.discrimination.auroc import place
from effmed.evaluate.intervals import t_quantile
from effmed.evaluate.subgroups import make_judged
from effmed.evaluate.subgroups.compare import PARTS
from effmed.evaluate.subgroups.measures import auroc_part, correlation, place_ranks
from tests.evaluate.subgroups.make import drawn, judged

STEP = 1e-5  # of a row's weight, for derivatives by central differences
IMAGES_PER_PATIENT = (1, 4)


def estimate(name, truth, logits, called, patients):
    if name in {"sensitivity", "specificity"}:
        return {"sensitivity": sensitivity, "specificity": specificity}[name](truth, called, patients)
    return {"auroc": auroc, "citl": citl, "slope": slope}[name](truth, logits, patients)


def weighted(name, truth, logits, called, weights) -> float:
    """Each measure from weights, by its definition."""
    if name == "auroc":
        positive = truth == 1
        won = (logits[positive][:, None] > logits[~positive]) + (logits[positive][:, None] == logits[~positive]) / 2
        pairs = weights[positive][:, None] * weights[~positive]
        return float((won * pairs).sum() / pairs.sum())
    if name in {"sensitivity", "specificity"}:
        mask = truth == (name == "sensitivity")
        right = called == (name == "sensitivity")
        return float((weights * right * mask).sum() / (weights * mask).sum())
    ones = np.ones((truth.size, 1))
    design, offset = (ones, logits) if name == "citl" else (np.column_stack([ones, logits]), 0.0)
    return float(fit_logistic(design, truth.astype(float), offset, weights).coefficients[-1])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60), st.integers(0, 40))
def test_placements_by_counting_are_those_by_sorting(rows: list[tuple[bool, int]], unused: int) -> None:
    truth = np.array([1, 0, *(int(row[0]) for row in rows)])
    values = np.array([0.0, 0.0, *(row[1] for row in rows)])
    ranks = np.unique(values, return_inverse=True)[1] + unused  # ranks that only other parts have
    counted, ordered = place_ranks(truth, ranks), place(truth, values)
    assert counted.value == pytest.approx(ordered.value, abs=1e-14)
    np.testing.assert_allclose(counted.excess, ordered.excess, atol=1e-14)


@pytest.mark.parametrize("images_per_patient", IMAGES_PER_PATIENT)
@pytest.mark.parametrize("name", PARTS)
def test_value_and_interval_are_those_of_the_report(name: str, images_per_patient: int) -> None:
    """Of independent images, the report's calibration has Wald's interval, and a part the sandwich: near 5 %."""
    part = PARTS[name](judged(images_per_patient=images_per_patient))
    want = estimate(name, *drawn(images_per_patient=images_per_patient))
    low, high = part.spread.limits(t_quantile(part.spread.df))
    near = 0.05 * (want.high - want.low) if images_per_patient == 1 and name in {"citl", "slope"} else 1e-8
    assert part.value == pytest.approx(want.value, abs=1e-12)
    assert (low, high) == (pytest.approx(want.low, abs=near), pytest.approx(want.high, abs=near))


def test_calibration_in_the_large_of_extreme_logits_is_less_certain_than_walds_interval() -> None:
    """The variance by definition, of repeated draws, is the sandwich's."""
    rng, logits = np.random.default_rng(0), drawn(300)[1] * 3
    draws = [(rng.random(300) < expit(logits / 3)).astype(int) for _ in range(400)]
    parts = [PARTS["citl"](make_judged(truth, logits, logits)) for truth in draws]
    variance = np.var([part.value for part in parts])
    wald = np.mean(
        [((each.high - each.low) / 2 / t_quantile(np.inf)) ** 2 for each in (citl(y, logits) for y in draws)]
    )
    assert np.mean([part.spread.variance for part in parts]) == pytest.approx(variance, rel=0.15)
    assert wald < 0.7 * variance


@pytest.mark.parametrize("name", PARTS)
def test_the_influence_is_the_derivative_by_the_weight_of_a_row(name: str) -> None:
    truth, logits, called, _ = drawn(60, seed=3)
    totals = PARTS[name](judged(60, seed=3)).spread.totals
    for row in (0, 7, 31, 59):
        up, down = np.ones(60), np.ones(60)
        up[row], down[row] = 1 + STEP, 1 - STEP
        change = weighted(name, truth, logits, called, up) - weighted(name, truth, logits, called, down)
        assert totals[row] == pytest.approx(change / (2 * STEP), abs=1e-6)


@pytest.mark.parametrize("images_per_patient", IMAGES_PER_PATIENT)
@pytest.mark.parametrize("name", PARTS)
def test_influences_add_up_to_0(name: str, images_per_patient: int) -> None:
    totals = PARTS[name](judged(images_per_patient=images_per_patient)).spread.totals
    assert totals.size == 400 // images_per_patient
    assert totals.sum() == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(20, 80))
def test_squared_influences_are_delongs_variance_up_to_n_over_n_minus_1(seed: int, n: int) -> None:
    truth, *_ = drawn(n, seed=seed)
    part = auroc_part(judged(n, seed=seed))
    if part.spread is None:
        return
    parts = [(part.spread.totals[truth == value] ** 2).sum() for value in (0, 1)]
    n_each = np.bincount(truth)
    assert (parts * n_each / (n_each - 1)).sum() == pytest.approx(part.spread.variance, rel=1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_patients_of_other_parts_have_no_influence(name: str) -> None:
    whole = judged()
    first = whole.take(np.arange(400) < 200)
    totals = PARTS[name](first).spread.totals
    assert totals.size == 400
    assert not totals[200:].any()


@pytest.mark.parametrize("name", PARTS)
def test_parts_without_patients_in_both_are_not_correlated(name: str) -> None:
    whole = judged()
    one, other = (PARTS[name](whole.take(np.arange(400) % 2 == side)).spread for side in (0, 1))
    assert correlation(one, other) == 0


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_wholly_correlated_with_itself(name: str) -> None:
    spread = PARTS[name](judged()).spread
    assert correlation(spread, spread) == pytest.approx(1)


@pytest.mark.parametrize("name", PARTS)
def test_independent_images_are_never_correlated(name: str) -> None:
    spread = PARTS[name](judged(patients=False)).spread
    assert (correlation(spread, spread), spread.totals.size) == (0, 0)


@pytest.mark.parametrize("name", ["auroc", "citl", "slope"])
@pytest.mark.parametrize("value", [0, 1])
def test_without_a_class_there_is_no_value(name: str, value: int) -> None:
    part = PARTS[name](make_judged(np.full(5, value), np.arange(5.0), np.arange(5.0)))
    assert (part.value, part.spread, part.reason[:11]) == (None, None, "there is no")


@pytest.mark.parametrize(("name", "value"), [("sensitivity", 0), ("specificity", 1)])
def test_without_its_images_there_is_no_rate(name: str, value: int) -> None:
    part = PARTS[name](make_judged(np.full(5, value), np.arange(5.0), np.arange(5.0), called=np.ones(5, bool)))
    assert (part.value, part.reason) == (None, "the denominator is empty")


@pytest.mark.parametrize("name", ["sensitivity", "specificity"])
def test_without_decisions_there_is_no_rate(name: str) -> None:
    truth, logits, _, patients = drawn()
    assert PARTS[name](make_judged(truth, logits, logits, patients=patients)).reason == "there is no threshold"


@pytest.mark.parametrize("name", ["citl", "slope", "sensitivity", "specificity"])
def test_images_of_one_patient_have_a_value_without_spread(name: str) -> None:
    truth, logits, called, _ = drawn(50)
    part = PARTS[name](make_judged(truth, logits, logits, called=called, patients=np.zeros(50)))
    assert (part.value is None, part.spread, "one patient" in part.reason) == (False, None, True)


def test_positives_of_one_patient_give_an_auroc_without_spread() -> None:
    logits = np.array([1.0, 2, 0, 3])
    part = auroc_part(make_judged(np.array([1, 1, 0, 0]), logits, logits, patients=np.array(list("aabc"))))
    assert (part.value, part.spread, "fewer than 2 patients" in part.reason) == (0.5, None, True)


def test_perfect_separation_gives_an_auroc_without_spread_and_no_slope() -> None:
    truth, logits = np.repeat([0, 1], 10), np.arange(20.0)
    whole = make_judged(truth, logits, logits)
    assert (PARTS["auroc"](whole).value, PARTS["auroc"](whole).spread) == (1.0, None)
    assert "perfectly" in PARTS["slope"](whole).reason


def test_constant_logits_have_no_slope_and_no_spread_of_the_auroc() -> None:
    whole = make_judged(np.array([0, 1, 0, 1]), np.zeros(4), np.zeros(4))
    assert PARTS["slope"](whole).reason == "all logits are the same"
    assert (PARTS["auroc"](whole).value, PARTS["auroc"](whole).spread) == (0.5, None)


@pytest.mark.parametrize("name", ["citl", "slope"])
def test_infinite_logits_have_no_regression(name: str) -> None:
    truth, logits, *_ = drawn(50)
    infinite = np.where(np.arange(50) == 4, math.inf, logits)
    assert "exactly 0 or 1" in PARTS[name](make_judged(truth, expit(infinite), infinite)).reason


def test_all_positives_found_is_not_certain() -> None:
    truth = np.repeat([0, 1], 12)
    spread = PARTS["sensitivity"](make_judged(truth, truth * 1.0, truth * 1.0, called=truth == 1)).spread
    assert spread.limits(1.96) == pytest.approx((0.757, 1.0), abs=1e-3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"truth": np.full(400, 2)}, "truth is neither 0 nor 1"),
        ({"ranking": np.full(400, math.inf)}, "logits are not finite"),
        ({"logits": np.full(400, math.nan)}, "logits are not finite"),
        ({"logits": np.zeros(3)}, "3 logits for 400 images"),
        ({"called": np.zeros(3, bool)}, "3 decisions for 400 images"),
        ({"called": np.zeros(400)}, "decisions are float64, not bool"),
        ({"patients": np.array([None] * 400)}, "no patient is given"),
    ],
)
def test_values_that_cannot_be_judged_are_refused(changed: dict[str, np.ndarray], message: str) -> None:
    truth, logits, called, patients = drawn()
    values = {"truth": truth, "ranking": logits, "logits": logits, "called": called, "patients": patients} | changed
    with pytest.raises(DataError, match=message):
        make_judged(values.pop("truth"), values.pop("ranking"), values.pop("logits"), **values)
