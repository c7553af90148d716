from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import chi2, t

from effmed.errors import DataError
from effmed.evaluate.discrimination import auroc_intervals
from effmed.evaluate.subgroups import heterogeneity, make_groups, make_judged, random_effects
from tests.evaluate.subgroups.make import drawn, judged

# BCG vaccine trials (Colditz, JAMA 1994, 271:698): tuberculosis and none among vaccinated, and among others
BCG = np.array(
    [
        (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
        (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232),
        (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
    ],
    dtype=float,
)  # fmt: skip
ESTIMATES = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.01, 2)), min_size=2, max_size=8)


def sites(n=600, n_sites=4):
    return make_groups(np.array([f"site {1 + row % n_sites}" for row in range(n)], dtype=object))


def test_the_bcg_trials_give_the_published_odds_ratio() -> None:
    """R metafor, rma(measure="OR", method="DL"), as printed in its documentation."""
    effects = random_effects(np.log(BCG[:, 0] * BCG[:, 3] / BCG[:, 1] / BCG[:, 2]), (1 / BCG).sum(axis=1))
    assert (effects.q, effects.df) == (pytest.approx(163.1649, abs=5e-5), 12)
    assert effects.i_squared == pytest.approx(0.9265, abs=5e-5)
    assert effects.tau_squared == pytest.approx(0.3663, abs=5e-5)
    assert (effects.mean, effects.se) == (pytest.approx(-0.7474, abs=5e-5), pytest.approx(0.1923, abs=5e-5))


def test_the_bcg_trials_give_the_published_risk_ratio() -> None:
    """R metafor's own test against Stata: -0.7141, 95 % -1.0644 to -0.3638, Q 152.2330."""
    n, n_other = BCG[:, 0] + BCG[:, 1], BCG[:, 2] + BCG[:, 3]
    ratios = np.log(BCG[:, 0] / n / (BCG[:, 2] / n_other))
    effects = random_effects(ratios, 1 / BCG[:, 0] - 1 / n + 1 / BCG[:, 2] - 1 / n_other)
    assert effects.q == pytest.approx(152.2330, abs=5e-5)
    wald = effects.mean - 1.959964 * effects.se, effects.mean, effects.mean + 1.959964 * effects.se
    assert wald == pytest.approx((-1.0644, -0.7141, -0.3638), abs=5e-5)


@given(ESTIMATES)
def test_q_is_the_weighted_variance_about_the_weighted_mean(rows: list[tuple[float, float]]) -> None:
    values, variances = np.array(rows).T
    effects = random_effects(values, variances)
    fixed = np.average(values, weights=1 / variances)
    q = sum((value - fixed) ** 2 / variance for value, variance in rows)
    assert effects.q == pytest.approx(q, rel=1e-9, abs=1e-9)
    assert effects.p_value == pytest.approx(chi2.sf(q, len(rows) - 1), rel=1e-6, abs=1e-12)
    assert 0 <= effects.i_squared < 1


@given(ESTIMATES)
def test_with_tau_squared_the_expected_q_is_reached_or_tau_is_0(rows: list[tuple[float, float]]) -> None:
    """DerSimonian and Laird's defining equation: E(Q) = k - 1 + tau^2 (sum w - sum w^2 / sum w)."""
    values, variances = np.array(rows).T
    effects, weights = random_effects(values, variances), 1 / variances
    expected = effects.df + effects.tau_squared * (weights.sum() - (weights**2).sum() / weights.sum())
    assert expected == pytest.approx(max(effects.q, effects.df), rel=1e-9)


@given(ESTIMATES)
def test_the_interval_of_the_mean_is_that_of_a_weighted_regression_or_walds(rows: list[tuple[float, float]]) -> None:
    values, variances = np.array(rows).T
    effects = random_effects(values, variances)
    weights = 1 / (variances + effects.tau_squared)
    (mean,), *_ = np.linalg.lstsq(np.sqrt(weights)[:, None], np.sqrt(weights) * values, rcond=None)
    residual = ((values - mean) ** 2 * weights).sum() / effects.df
    half = t.ppf(0.975, effects.df) * max(np.sqrt(residual / weights.sum()), effects.se)
    assert effects.mean == pytest.approx(mean, abs=1e-9)
    assert effects.interval == pytest.approx((mean - half, mean + half), rel=1e-7, abs=1e-7)


@given(st.floats(-3, 3), st.lists(st.floats(0.01, 2), min_size=3, max_size=8))
def test_identical_values_are_not_heterogeneous(value: float, variances: list[float]) -> None:
    effects = random_effects(np.full(len(variances), value), np.array(variances))
    assert (effects.q, effects.p_value) == (pytest.approx(0, abs=1e-20), pytest.approx(1))
    assert (effects.i_squared, effects.tau_squared, effects.mean) == (0, 0, pytest.approx(value))


def test_another_group_is_less_certain_than_the_mean() -> None:
    effects = random_effects(np.array([0.0, 1.0, 2.5]), np.array([0.1, 0.2, 0.1]))
    reach = t.ppf(0.975, 1) * np.sqrt(effects.tau_squared + effects.se**2)
    assert effects.prediction == pytest.approx((effects.mean - reach, effects.mean + reach))
    assert effects.prediction[0] < effects.interval[0]


def test_two_groups_say_nothing_about_another() -> None:
    assert random_effects(np.array([0.0, 1.0]), np.array([0.1, 0.2])).prediction is None


# ---------------------------------------------------------------- of AUROCs


def test_aurocs_are_combined_on_the_logit_scale() -> None:
    truth, logits, _, patients = drawn(600)
    found = heterogeneity(judged(600), "site", sites())
    parts = [auroc_intervals(truth[s::4], logits[s::4], patients[s::4]) for s in range(4)]
    value = np.array([part.estimate.value for part in parts])
    variance = np.array([part.variance for part in parts]) / (value * (1 - value)) ** 2
    assert found.effects.q == pytest.approx(random_effects(logit(value), variance).q)
    assert found.pooled == pytest.approx(expit(found.effects.mean))
    assert found.interval == pytest.approx(tuple(expit(found.effects.interval)))
    assert found.prediction == pytest.approx(tuple(expit(found.effects.prediction)))
    assert (found.lowest[1], found.highest[1]) == (pytest.approx(value.min()), pytest.approx(value.max()))
    assert found.lowest[0] == f"site {1 + value.argmin()}"


def test_all_limits_are_in_order() -> None:
    found = heterogeneity(judged(600), "site", sites())
    assert 0 < found.prediction[0] <= found.interval[0] < found.pooled < found.interval[1] <= found.prediction[1] < 1


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 500), st.permutations(range(4)))
def test_other_names_for_the_groups_change_nothing_but_names(seed: int, order: list[int]) -> None:
    renamed = make_groups(np.array([f"site {1 + order[row % 4]}" for row in range(600)], dtype=object))
    one, other = (heterogeneity(judged(600, seed=seed), "site", groups) for groups in (sites(), renamed))
    assert one.effects.q == pytest.approx(other.effects.q)
    assert one.pooled == pytest.approx(other.pooled)


def test_a_site_with_a_worse_network_is_found() -> None:
    truth, logits, _, patients = drawn(1200)
    worse = np.where(np.arange(1200) % 4 == 1, np.random.default_rng(99).normal(size=1200), logits)
    found = heterogeneity(make_judged(truth, worse, worse, patients=patients), "site", sites(1200))
    assert (found.lowest[0], found.effects.p_value < 0.001, found.effects.i_squared > 0.5) == ("site 2", True, True)


def test_groups_that_are_too_small_or_perfect_are_left_out_with_the_reason() -> None:
    truth, logits, _, patients = drawn(600)
    names = np.array([f"site {1 + row % 2}" for row in range(600)], dtype=object)
    names[:8], names[100:150] = "small", "perfect"
    logits[100:150] = truth[100:150]
    found = heterogeneity(make_judged(truth, logits, logits, patients=patients), "site", make_groups(names))
    assert found.used == ("site 1", "site 2")
    assert found.left_out == {
        "small": "fewer than 10 events",
        "perfect": "the variance between placements is 0",
    }
    assert found.effects.df == 1
    assert found.prediction is None


def test_missing_values_are_in_no_group() -> None:
    values = np.array(["a", "b", None], dtype=object)[np.arange(600) % 3]
    assert heterogeneity(judged(600), "site", make_groups(values)).used == ("a", "b")


@pytest.mark.parametrize("names", [["a"], [None]])
def test_fewer_than_two_groups_have_no_heterogeneity(names: list[str | None]) -> None:
    found = heterogeneity(judged(), "site", make_groups(np.array(names * 400, dtype=object)))
    assert (found.effects, found.pooled, found.interval, found.prediction) == (None, None, None, None)
    assert found.reason == "fewer than 2 groups can be used"
    assert (found.lowest is None) == (names == [None])


def test_groups_that_share_patients_have_a_range_and_no_test() -> None:
    found = heterogeneity(judged(600, images_per_patient=3), "view", sites(n_sites=2))
    assert found.reason == "200 patients are in several groups, which are not independent"
    assert (found.effects, found.lowest is None) == (None, False)


def test_without_patients_images_are_independent() -> None:
    found = heterogeneity(judged(600, patients=False), "site", sites())
    assert found == heterogeneity(judged(600), "site", sites())


def test_a_column_of_another_table_is_refused() -> None:
    with pytest.raises(DataError, match="600 values of site for 400 images"):
        heterogeneity(judged(), "site", sites())
