"""Differences of Brier score, log loss and net benefit against R, scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from effmed.evaluate import calibration, decisions
from effmed.evaluate.intervals import bootstrap, make_units
from effmed.recipe import ReportSettings
from tests.evaluate.comparison.make import EXPECTED, FEW_DRAWS, one, rows, several, some, table, two, vectors

EXACT = 1e-12


def test_the_bootstrap_against_a_network_that_knows_everything_is_that_of_r():
    """Its Brier score is 0 in every draw, so that the difference is the other's Brier score, which R has drawn."""
    first = vectors("clustered", "a")
    oracle = table(first.truth, first.truth.astype(float), patient=first.frame["patient"])
    found = one(first, oracle, "brier", ReportSettings())
    want = EXPECTED["clustered"]["cluster_bootstrap_R"]["ci95_percentile_brier"]
    assert (found.first, found.second) == (pytest.approx(EXPECTED["clustered"]["brier"]["est"], abs=EXACT), 0)
    assert (found.low, found.high) == pytest.approx(want, abs=0.005)
    assert found.method == "bootstrap of patients, percentile, 2000 replicates"


def test_values_of_two_classes_are_scikit_learn_s():
    first, second = two()
    found = rows(first, second)
    for name, score in (("brier", brier_score_loss), ("log_loss", log_loss)):
        want = [score(each.truth, each.probability[:, 1]) for each in (first, second)]
        each = found[name, "opacity", None]
        assert (each.first, each.second) == pytest.approx(want, abs=EXACT)
        assert each.difference == pytest.approx(want[0] - want[1], abs=EXACT)


def test_values_of_several_classes_are_those_of_the_report():
    first, second = several()
    found = rows(first, second)
    want = [calibration.multiclass_brier(each.truth, each.probability).value for each in (first, second)]
    assert (found["brier", None, None].first, found["brier", None, None].second) == pytest.approx(want, abs=EXACT)
    want = [log_loss(each.truth, each.probability) for each in (first, second)]
    assert (found["log_loss", None, None].first, found["log_loss", None, None].second) == pytest.approx(want, abs=EXACT)
    want = brier_score_loss(first.truth == 1, first.probability[:, 1])
    assert found["brier", "b", None].first == pytest.approx(want, abs=EXACT)


def test_net_benefit_is_given_at_the_thresholds_that_were_asked_for():
    first, second = two()
    found = rows(first, second, ReportSettings(bootstrap_replicates=100, net_benefit_at=(0.0, 0.25)))
    assert [key[2] for key in found if key[0] == "net_benefit"] == [0.0, 0.25]
    for judged, field in ((first, "first"), (second, "second")):
        (want,) = decisions.net_benefit(judged.truth, judged.probability[:, 1], (0.25,))
        assert getattr(found["net_benefit", "opacity", 0.25], field) == pytest.approx(want.value, abs=EXACT)


def test_a_probability_at_the_threshold_is_a_call():
    truth = [0, 0, 1, 1] * 5
    tables = table(truth, [0.2, 0.1, 0.2, 0.9] * 5), table(truth, [0.1, 0.1, 0.1, 0.9] * 5)
    each, turned = (rows(*pair)["net_benefit", "opacity", 0.2] for pair in (tables, tables[::-1]))
    assert (each.first, each.second) == pytest.approx((0.5 - 0.25 * 0.25, 0.25), abs=EXACT)
    assert (turned.first, turned.second) == (each.second, each.first)


def test_intervals_are_those_of_resampled_patients():
    truth, first, second, patient = some(images=4)
    tables = [table(truth, each, patient=patient) for each in (first, second)]
    found = rows(*tables)

    def brute_force(weights):
        drawn = np.repeat(np.arange(truth.size), weights)
        one, other = (each[drawn] for each in (first, second))
        brier = brier_score_loss(truth[drawn], one) - brier_score_loss(truth[drawn], other)
        loss = log_loss(truth[drawn], one, labels=[0, 1]) - log_loss(truth[drawn], other, labels=[0, 1])
        benefit = [
            ((each >= 0.2) & (truth[drawn] == 1)).mean() - ((each >= 0.2) & (truth[drawn] == 0)).mean() / 4
            for each in (one, other)
        ]
        return np.array([brier, loss, benefit[0] - benefit[1]])

    draws = bootstrap(brute_force, make_units(np.array(patient), truth.size), replicates=100, seed=0)
    for column, key in enumerate([("brier", None), ("log_loss", None), ("net_benefit", 0.2)]):
        each = found[key[0], "opacity", key[1]]
        assert (each.low, each.high) == pytest.approx(np.percentile(draws[:, column], (2.5, 97.5)), abs=1e-9)
        assert each.p_value is None


def test_a_class_that_got_probability_0_has_no_log_loss_and_says_whose():
    truth, first, second, _ = some(30)
    wrong = np.where(np.arange(30) == 3, 0.0, second)
    assert truth[3] == 1
    found = one(table(truth, first), table(truth, wrong), "log_loss")
    assert (found.status, found.difference, found.second) == ("not_estimable", None, None)
    assert found.first == pytest.approx(log_loss(truth, first), abs=EXACT)
    assert found.reason == "infinite: probability 0 for the class of 1 images by B"
    assert one(table(truth, first), table(truth, wrong), "brier").status == "ok"


def test_thresholds_at_which_no_image_changes_sides_have_no_interval():
    truth, first, _, _ = some(30)
    second = np.where(first >= 0.2, (1 + first) / 2, first)
    found = rows(table(truth, first), table(truth, second))["net_benefit", "opacity", 0.2]
    assert (found.difference, found.low, found.high) == (0, None, None)
    assert found.reason == "the value is the same in all bootstrap replicates: no interval"


def test_a_handful_of_images_that_make_the_difference_is_said():
    truth, first, _, _ = some(30)
    second = np.where(np.arange(30) < 2, 1 - first, first)
    found = one(table(truth, first), table(truth, second), "brier")
    assert found.reason == "rests on only 2 of 30 images: the interval is rough"
    assert found.low is not None


def test_one_image_has_no_interval():
    found = rows(table([1], [0.7]), table([1], [0.6]))
    for name in ("brier", "log_loss"):
        assert found[name, "opacity", None].low is None
        assert found[name, "opacity", None].difference < 0


def test_identical_tables_differ_by_0_without_a_test():
    first, _ = two()
    for each in rows(first, first, FEW_DRAWS).values():
        if each.name in {"brier", "log_loss", "net_benefit"}:
            assert (each.difference, each.low, each.high, each.p_value) == (0, 0, 0, None)
            assert each.reason == "both give every image the same probabilities"
