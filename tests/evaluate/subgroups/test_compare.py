from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfc, logit

from effmed.errors import DataError
from effmed.evaluate.calibration import citl, slope
from effmed.evaluate.decisions import sensitivity, specificity
from effmed.evaluate.discrimination import auroc, auroc_contrast, auroc_difference, auroc_intervals
from effmed.evaluate.intervals import Z, t_quantile
from effmed.evaluate.subgroups import holm, make_groups, make_judged, subgroup_estimates
from effmed.evaluate.subgroups.compare import PARTS, difference_limits, quantile_at_0
from effmed.evaluate.subgroups.measures import Spread
from tests.evaluate.subgroups.make import drawn, judged

VECTORS = Path(__file__).parent.parent / "vectors"
MEASURES = {"auroc", "citl", "slope", "sensitivity", "specificity"}


def found(estimates, name="auroc", value=None, column=None):
    return next(
        each
        for each in estimates
        if each.name == name and value in {None, each.value} and column in {None, each.column}
    )


def thirds(n=400):
    return make_groups(np.array(list("abc"))[np.arange(n) % 3].astype(object))


def halves(n=400):
    return make_groups(np.array(["F", "M"])[np.arange(n) % 2].astype(object))


# ---------------------------------------------------------------- estimates


def test_every_group_has_every_measure() -> None:
    estimates = subgroup_estimates(judged(), {"site": thirds(), "sex": halves()})
    assert len(estimates) == 5 * len(MEASURES)
    assert {(each.column, each.value) for each in estimates} == {("site", s) for s in "abc"} | {
        ("sex", s) for s in "FM"
    }
    assert {each.name for each in estimates} == MEASURES


@pytest.mark.parametrize("images_per_patient", [1, 4])
def test_an_estimate_is_what_a_report_on_the_group_alone_says(images_per_patient: int) -> None:
    truth, logits, called, patients = (each[:133] for each in drawn(images_per_patient=images_per_patient))
    groups = make_groups(np.where(np.arange(400) < 133, "a", "b").astype(object))
    estimates = subgroup_estimates(judged(images_per_patient=images_per_patient), {"site": groups})
    for measure in (citl, slope):
        assert found(estimates, measure.__name__, "a").estimate == measure(truth, logits, patients)
    for rate in (sensitivity, specificity):
        assert found(estimates, rate.__name__, "a").estimate == rate(truth, called, patients)
    assert found(estimates, "auroc", "a").estimate == auroc(truth, logits, patients)


def test_counts_are_those_of_the_group() -> None:
    truth, *_ = drawn(images_per_patient=2)
    each = found(subgroup_estimates(judged(images_per_patient=2), {"site": thirds()}), value="a")
    assert (each.counts.n, each.counts.n_events, each.counts.n_patients) == (134, int(truth[::3].sum()), 134)


def test_without_decisions_there_are_no_rates() -> None:
    truth, logits, *_ = drawn()
    estimates = subgroup_estimates(make_judged(truth, logits, logits), {"site": thirds()})
    assert {each.name for each in estimates} == {"auroc", "citl", "slope"}


def test_images_whose_value_is_missing_are_in_no_group_and_no_difference() -> None:
    values = np.array(["a", "b", None, None], dtype=object)[np.arange(400) % 4]
    estimates = subgroup_estimates(judged(), {"site": make_groups(values)})
    assert {each.value for each in estimates} == {"a", "b"}
    assert found(estimates).difference.estimate.n == 200


def test_a_column_without_values_has_no_estimates() -> None:
    empty = make_groups(np.full(400, None, dtype=object))
    assert subgroup_estimates(judged(), {"site": empty}) == ()


def test_a_column_of_another_table_is_refused() -> None:
    with pytest.raises(DataError, match="399 values of site for 400 images"):
        subgroup_estimates(judged(), {"site": thirds(399)})


# ---------------------------------------------------------------- suppression


def small(n_events: int, n_patients: int, n: int = 40):
    """A group of n images "few" with so many events and patients, and 400 others."""
    truth, logits, called, _ = drawn(400 + n, seed=4)
    truth[:n] = np.arange(n) < n_events
    patients = np.append(np.arange(n) % n_patients, 1000 + np.arange(400))
    groups = make_groups(np.where(np.arange(400 + n) < n, "few", "many").astype(object))
    return make_judged(truth, logits, logits, called=called, patients=patients), {"site": groups}


@pytest.mark.parametrize(("n_events", "n_patients", "what"), [(9, 40, "events"), (12, 9, "patients")])
def test_groups_of_fewer_than_10_events_or_patients_are_suppressed(n_events: int, n_patients: int, what: str) -> None:
    estimates = subgroup_estimates(*small(n_events, n_patients))
    for name in MEASURES:
        few = found(estimates, name, "few")
        assert (few.estimate.status, few.estimate.value, few.difference) == ("suppressed", None, None)
        assert few.estimate.reason == f"fewer than 10 {what}"


def test_groups_of_10_events_and_10_patients_are_shown() -> None:
    assert found(subgroup_estimates(*small(10, 10)), value="few").estimate.status == "ok"


def test_where_patients_are_unknown_images_count() -> None:
    whole, columns = small(10, 2)
    unknown = make_judged(whole.truth, whole.logits, whole.logits, called=whole.called)
    assert found(subgroup_estimates(whole, columns), value="few").estimate.status == "suppressed"
    assert found(subgroup_estimates(unknown, columns), value="few").estimate.status == "ok"


def test_there_is_no_difference_from_others_who_are_too_few() -> None:
    many = found(subgroup_estimates(*small(9, 40)), value="many")
    assert (many.estimate.status, many.difference.estimate.status) == ("ok", "suppressed")
    assert many.difference.estimate.reason == "the other images have fewer than 10 events"
    assert (many.difference.p_value, many.difference.p_adjusted) == (None, None)


def test_a_column_of_one_value_has_no_difference() -> None:
    one = make_groups(np.full(400, "a", dtype=object))
    assert found(subgroup_estimates(judged(), {"site": one})).difference.estimate.status == "suppressed"


def test_suppressed_groups_are_among_the_others() -> None:
    values = np.where(np.arange(400) < 6, "few", np.where(np.arange(400) % 2 == 0, "a", "b")).astype(object)
    estimates = subgroup_estimates(judged(), {"site": make_groups(values)})
    assert found(estimates, value="few").estimate.status == "suppressed"
    assert found(estimates, value="a").difference.estimate.n == 400


# ---------------------------------------------------------------- differences


def test_the_difference_is_the_group_minus_all_others() -> None:
    truth, logits, called, patients = drawn()
    others = np.arange(400) % 3 != 0
    estimates = subgroup_estimates(judged(), {"site": thirds()})
    for measure, column in ((auroc, logits), (citl, logits), (slope, logits), (sensitivity, called)):
        each = found(estimates, measure.__name__, "a")
        rest = measure(truth[others], column[others], patients[others])
        assert each.difference.estimate.value == pytest.approx(each.estimate.value - rest.value, abs=1e-12)


def test_the_difference_of_aurocs_is_delongs_unpaired_of_proc() -> None:
    """The z agrees to 1e-8; the p-value, made on the logit scale with t, to 2 % at 1,700 events in all."""
    frame = pd.read_csv(VECTORS / "n5000.csv")
    expected = json.loads((VECTORS / "expected.json").read_text(encoding="utf-8"))["r"]["n5000"]
    truth, probability = frame.y.to_numpy(), frame.p_a.to_numpy()
    whole = make_judged(truth, probability, logit(probability))
    difference = found(subgroup_estimates(whole, {"group": make_groups(frame.group.to_numpy(object))})).difference
    want = expected["subgroup_unpaired_delong"]["D"]
    assert difference.estimate.value / difference.se == pytest.approx(want, abs=1e-8)
    assert difference.p_value == pytest.approx(erfc(abs(want) / math.sqrt(2)), rel=0.02)


@pytest.mark.parametrize("images_per_patient", [1, 4])
def test_the_standard_error_is_that_of_the_unpaired_contrast(images_per_patient: int) -> None:
    truth, logits, _, patients = drawn(images_per_patient=images_per_patient)
    side = patients % 2
    one, other = (auroc_intervals(truth[side == s], logits[side == s], patients[side == s]) for s in (0, 1))
    groups = make_groups(side)
    difference = found(subgroup_estimates(judged(images_per_patient=images_per_patient), {"side": groups})).difference
    assert difference.se == pytest.approx(auroc_contrast(one, other).se, rel=1e-9)


def views(seed=0, n=300, noise=0.7):
    """Every patient with a frontal and a lateral image, one as good as the other: label and the two logits, (n,)."""
    truth, logits, *_ = drawn(n, seed=seed)
    frontal, lateral = logits + np.random.default_rng([seed, 1]).normal(size=(2, n)) * noise
    return truth, frontal, lateral


def judged_views(truth, frontal, lateral):
    n = truth.size
    both, logits = np.tile(truth, 2), np.append(frontal, lateral)
    whole = make_judged(both, logits, logits, called=logits > 0, patients=np.tile(np.arange(n), 2))
    return whole, {"view": make_groups(np.repeat(["frontal", "lateral"], n).astype(object))}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_views_of_the_same_patients_are_compared_like_two_networks_on_them(seed: int) -> None:
    truth, frontal, lateral = views(seed)
    difference = found(subgroup_estimates(*judged_views(truth, frontal, lateral))).difference
    paired = auroc_difference(truth, frontal, lateral)
    assert difference.estimate.value == pytest.approx(paired.estimate.value, abs=1e-12)
    assert difference.se == pytest.approx(paired.se, rel=0.02)
    assert "correlation by patient 0." in difference.estimate.method


@pytest.mark.parametrize("name", PARTS)
def test_views_that_are_the_same_have_no_test(name: str) -> None:
    truth, frontal, _ = views()
    difference = found(subgroup_estimates(*judged_views(truth, frontal, frontal)), name).difference
    assert (difference.estimate.value, difference.p_value, difference.se) == (0.0, None, None)
    assert difference.estimate.reason == "the variance of the difference is 0"


def test_groups_in_which_every_call_is_right_do_not_differ() -> None:
    truth, logits, _, patients = drawn()
    whole = make_judged(truth, logits, logits, called=truth == 1, patients=patients)
    difference = found(subgroup_estimates(whole, {"sex": halves()}), "sensitivity").difference
    assert (difference.estimate.value, difference.se, difference.p_value) == (0.0, 0.0, 1.0)
    assert difference.estimate.low < 0 < difference.estimate.high


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]))
def test_the_p_value_is_below_5_percent_where_the_interval_leaves_out_0(seed: int, images_per_patient: int) -> None:
    site = np.random.default_rng(seed).integers(0, 3, 150)
    whole = judged(150, seed=seed, images_per_patient=images_per_patient)
    for each in subgroup_estimates(whole, {"site": make_groups(site)}):
        if each.difference is not None and each.difference.p_value is not None:
            estimate = each.difference.estimate
            assert estimate.low <= estimate.value <= estimate.high
            assert (each.difference.p_value < 0.05) == (estimate.low > 0 or estimate.high < 0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.permutations(["a", "b", "c"]))
def test_other_names_for_the_groups_change_no_number(seed: int, names: list[str]) -> None:
    site = np.random.default_rng(seed).integers(0, 3, 300)
    plain, renamed = (
        subgroup_estimates(judged(300, seed=seed), {"site": make_groups(np.array(each, dtype=object)[site])})
        for each in (["a", "b", "c"], names)
    )
    back = dict(zip(names, "abc", strict=True))
    assert {replace(each, value=back[each.value]) for each in renamed} == set(plain)


def test_two_groups_are_one_comparison_told_from_both_sides() -> None:
    estimates = subgroup_estimates(judged(images_per_patient=3), {"sex": halves()})
    for name in MEASURES:
        women, men = (found(estimates, name, value).difference for value in "FM")
        assert women.estimate.value == -men.estimate.value
        assert (women.estimate.low, women.estimate.high) == (-men.estimate.high, -men.estimate.low)
        assert women.p_adjusted == men.p_adjusted == women.p_value == men.p_value


def test_all_right_in_a_small_group_is_no_proof_of_a_difference() -> None:
    truth, logits, _, patients = drawn(300)
    called = np.where(np.arange(300) < 30, truth == 1, (truth == 1) & (np.arange(300) % 8 != 0))
    groups = make_groups(np.where(np.arange(300) < 30, "few", "many").astype(object))
    whole = make_judged(truth, logits, logits, called=called, patients=patients)
    few = found(subgroup_estimates(whole, {"site": groups}), "sensitivity", "few")
    assert few.estimate.value == 1.0
    assert few.difference.p_value > 0.05


def test_a_group_ranked_perfectly_has_a_difference_without_interval() -> None:
    truth, logits, *_ = drawn()
    perfect = np.arange(400) < 100
    groups = make_groups(np.where(perfect, "a", "b").astype(object))
    whole = make_judged(truth, np.where(perfect, truth * 1.0, logits), logits)
    estimates = subgroup_estimates(whole, {"site": groups})
    for value, start in (("a", "the variance"), ("b", "of the other images: the variance")):
        difference = found(estimates, value=value).difference
        assert (difference.estimate.low, difference.p_value, difference.p_adjusted) == (None, None, None)
        assert difference.estimate.reason.startswith(start)


def test_where_the_others_have_infinite_logits_calibration_has_no_difference() -> None:
    truth, logits, *_ = drawn()
    infinite = np.where(np.arange(400) == 399, math.inf, logits)
    groups = make_groups(np.where(np.arange(400) < 200, "a", "b").astype(object))
    estimates = subgroup_estimates(make_judged(truth, logits, infinite), {"site": groups})
    for name in ("citl", "slope"):
        one, other = (found(estimates, name, value) for value in "ab")
        assert (one.estimate.status, one.difference.estimate.status) == ("ok", "not_estimable")
        assert one.difference.estimate.reason.startswith("of the other images: 1 probabilities are exactly")
        assert other.difference.estimate.reason.startswith("1 probabilities are exactly")


def proportion(hits: int, n: int) -> Spread:
    return Spread(hits / n, hits / n * (1 - hits / n) / n, math.inf, np.zeros(0), "wilson", n)


@pytest.mark.parametrize(
    ("one", "other", "limits"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
    ],
)
def test_proportions_have_the_intervals_that_newcombe_published(one, other, limits) -> None:
    """Statistics in Medicine 1998, 17:873, table II, method 10."""
    assert difference_limits(proportion(*one), proportion(*other), Z) == pytest.approx(limits, abs=5e-5)


@given(st.floats(0.01, 1), st.floats(0.01, 3), st.floats(0.01, 3))
def test_symmetrical_intervals_combine_to_walds(narrowing: float, one: float, other: float) -> None:
    spreads = [Spread(value, se**2, math.inf, np.zeros(0)) for value, se in ((2.0, one), (0.5, other))]
    half = Z * narrowing * math.sqrt(one**2 + other**2)
    assert difference_limits(*spreads, Z, narrowing) == pytest.approx((1.5 - half, 1.5 + half))
    assert quantile_at_0(*spreads, narrowing) == pytest.approx(1.5 * Z / half)


def test_the_interval_of_calibration_in_views_is_walds() -> None:
    for name in ("citl", "slope"):
        difference = found(subgroup_estimates(*judged_views(*views())), name).difference
        half = t_quantile(difference.df) * difference.se
        assert difference.estimate.high - difference.estimate.value == pytest.approx(half)
        assert difference.df == 299  # patients - 1


def test_where_the_interval_reaches_0_its_p_value_is_that_of_its_level() -> None:
    one, other = proportion(56, 70), proportion(48, 80)
    quantile = quantile_at_0(one, other, 0.8)
    assert difference_limits(one, other, quantile, 0.8)[0] == pytest.approx(0, abs=1e-9)
    assert quantile_at_0(other, one, 0.8) == pytest.approx(quantile)


def test_parts_so_alike_that_no_interval_reaches_0_are_tested_by_wald() -> None:
    one, other = (Spread(value, 0.01, math.inf, np.zeros(0), "logit") for value in (0.9, 0.1))
    assert difference_limits(one, other, 1e6, 0.1)[0] > 0
    assert quantile_at_0(one, other, 0.1) == pytest.approx(0.8 / (0.1 * math.sqrt(0.02)))


# ---------------------------------------------------------------- many comparisons


def textbook(p_values: list[float]) -> list[float]:
    """Reject the smallest p at level / m, the next at level / (m - 1) ...; adjusted: the least such level."""
    return [
        min(1.0, max(other * sum(q >= other for q in p_values) for other in p_values if other <= each))
        for each in p_values
    ]


@given(st.lists(st.floats(0, 1), max_size=12, unique=True))
def test_holm_is_the_textbooks(p_values: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p_values)), textbook(p_values), rtol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values_keep_their_order_and_lie_between_p_and_1(p_values: list[float]) -> None:
    values = np.array(p_values)
    adjusted = holm(values)
    assert (np.diff(adjusted[np.argsort(values)]) >= 0).all()
    assert ((adjusted >= values) & (adjusted <= 1)).all()


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_p_values_are_adjusted_over_all_columns_and_two_groups_count_once(name: str) -> None:
    estimates = subgroup_estimates(judged(), {"site": thirds(), "sex": halves()})
    shown = [each.difference for each in estimates if each.name == name]
    want = holm(np.array([each.p_value for each in shown[:4]]))  # three sites and one comparison of the sexes
    assert [each.p_adjusted for each in shown] == [*want, want[3]]


def test_differences_without_a_p_value_do_not_count_among_the_comparisons() -> None:
    whole, columns = small(9, 40)
    estimates = subgroup_estimates(whole, columns | {"sex": halves(440)})
    sex = found(estimates, column="sex").difference
    assert sex.p_adjusted == sex.p_value


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["patients", "views"])
def test_groups_that_do_not_differ_are_found_to_in_at_most_about_5_percent(shape: str) -> None:
    """60 patients a group, seeded; 8 % is 5 % and 3.1 standard errors of 500 draws."""
    rejected: dict[str, list[bool]] = {name: [] for name in PARTS}
    for seed in range(500):
        if shape == "views":
            whole, columns = judged_views(*views(seed, n=60))
        else:
            whole, columns = judged(120, seed=seed), {"side": halves(120)}
        for each in subgroup_estimates(whole, columns)[: len(PARTS)]:
            if each.difference is not None and each.difference.p_value is not None:
                rejected[each.name].append(each.difference.p_value < 0.05)
    assert min(len(each) for each in rejected.values()) > 450
    assert max(float(np.mean(each)) for each in rejected.values()) < 0.08
