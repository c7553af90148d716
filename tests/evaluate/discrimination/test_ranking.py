from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from effmed.errors import DataError
from effmed.evaluate.discrimination import average_precision, partial_auroc, pr_curve, ranking_estimates, roc_curve
from effmed.evaluate.discrimination.ranking import make_ranking, ranking_measures

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8), st.integers(0, 3)), min_size=4, max_size=60).map(
    lambda triples: tuple(
        np.array(column) / scale for column, scale in zip(zip(*triples, strict=True), (1, 4, 1), strict=True)
    )
)


def whole(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64)


@settings(deadline=None, max_examples=200)
@given(rows)
def test_weighted_measures_equal_scikit_learn_with_ties(drawn: Rows) -> None:
    truth, logits, weights = whole(drawn[0]), drawn[1], whole(drawn[2])
    assume(0 < (weights * truth).sum() < weights.sum())
    ranking = make_ranking(truth, logits)
    area, precision, partial = ranking_measures(ranking, weights[ranking.order])
    assert area == pytest.approx(metrics.roc_auc_score(truth, logits, sample_weight=weights), abs=1e-12)
    kept = weights > 0
    expected = metrics.average_precision_score(truth[kept], logits[kept], sample_weight=weights[kept])
    assert precision == pytest.approx(expected, abs=1e-12)
    expected = metrics.roc_auc_score(truth, logits, sample_weight=weights, max_fpr=0.1)
    assert partial == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(rows)
def test_replicates_without_a_class_are_undefined(drawn: Rows) -> None:
    truth, logits = whole(drawn[0]), drawn[1]
    ranking = make_ranking(truth, logits)
    assert np.isnan(ranking_measures(ranking, truth[ranking.order])).all()


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_partial_auroc_equals_scikit_learn_at_any_limit(max_fpr: float) -> None:
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 2, 50), np.round(rng.normal(size=50), 1)
    expected = metrics.roc_auc_score(truth, logits, max_fpr=max_fpr)
    assert partial_auroc(truth, logits, max_fpr=max_fpr) == pytest.approx(expected)


def test_without_a_positive_there_is_no_average_precision() -> None:
    assert average_precision(np.zeros(3), np.arange(3.0)) is None


def test_of_positives_alone_the_average_precision_is_1() -> None:
    assert average_precision(np.ones(3), np.arange(3.0)) == 1.0


@pytest.mark.parametrize("value", [0, 1])
def test_without_a_class_there_is_no_partial_auroc(value: int) -> None:
    assert partial_auroc(np.full(3, value), np.arange(3.0)) is None


def test_constant_logits_have_the_prevalence_as_average_precision() -> None:
    assert average_precision(np.array([1, 0, 0, 0]), np.zeros(4)) == 0.25


def test_the_roc_curve_equals_scikit_learn() -> None:
    truth, logits = np.array([0, 1, 0, 1, 1, 0]), np.array([0.1, 0.4, 0.4, 0.8, 0.2, 0.0])
    expected = metrics.roc_curve(truth, logits, drop_intermediate=False)
    for ours, theirs in zip(roc_curve(truth, logits), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_the_precision_recall_curve_equals_scikit_learn() -> None:
    truth, logits = np.array([0, 1, 0, 1, 1, 0]), np.array([0.1, 0.4, 0.4, 0.8, 0.2, 0.0])
    precision, recall, thresholds = metrics.precision_recall_curve(truth, logits)
    ours = pr_curve(truth, logits)
    for mine, theirs in zip(ours, (recall[:-1], precision[:-1], thresholds), strict=True):
        np.testing.assert_allclose(mine, theirs[::-1])


@pytest.mark.parametrize("value", [0, 1])
def test_a_roc_curve_needs_both_classes(value: int) -> None:
    with pytest.raises(DataError, match="class is absent"):
        roc_curve(np.full(3, value), np.arange(3.0))


def test_a_precision_recall_curve_needs_a_positive() -> None:
    with pytest.raises(DataError, match="no image is positive"):
        pr_curve(np.zeros(3), np.arange(3.0))


def test_the_bootstrap_interval_holds_the_average_precision() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 80)
    estimate = ranking_estimates(truth, rng.normal(size=80) + truth, replicates=200, seed=0)["average_precision"]
    assert estimate.low < estimate.value < estimate.high


def test_the_bootstrap_does_not_depend_on_the_order_of_equal_rows() -> None:
    truth, logits = np.array([0, 1, 0, 1, 1, 0] * 5), np.array([0.1, 0.4, 0.4, 0.8, 0.2, 0.0] * 5)
    patients = np.repeat(np.arange(6), 5)
    one = ranking_estimates(truth, logits, patients, replicates=100, seed=0)
    two = ranking_estimates(truth, logits * 2 - 1, patients, replicates=100, seed=0)
    assert one == two


def test_the_bootstrap_is_reproducible() -> None:
    truth, logits = np.array([0, 1] * 20), np.random.default_rng(0).normal(size=40)
    runs = [ranking_estimates(truth, logits, replicates=50, seed=seed) for seed in (1, 1, 2)]
    assert (runs[0] == runs[1], runs[0] == runs[2]) == (True, False)


def test_without_a_class_nothing_is_ranked() -> None:
    estimates = ranking_estimates(np.zeros(3), np.arange(3.0), replicates=100, seed=0)
    assert {estimate.status for estimate in estimates.values()} == {"not_estimable"}


def test_a_single_positive_gives_values_without_intervals() -> None:
    estimate = ranking_estimates(np.array([1, 0, 0]), np.array([3.0, 1, 2]), replicates=100, seed=0)
    assert (estimate["average_precision"].value, estimate["average_precision"].low) == (1.0, None)


def test_two_positives_often_vanish_from_replicates_so_there_is_no_interval() -> None:
    truth = np.array([1, 1] + [0] * 30)
    estimate = ranking_estimates(truth, np.arange(32.0), replicates=200, seed=0)["average_precision"]
    assert (estimate.low, "replicates" in estimate.reason) == (None, True)
