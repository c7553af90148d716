"""Differences of AUROC, macro AUROC and average precision against R, scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from effmed.evaluate.comparison import compare
from effmed.evaluate.discrimination import macro_auroc
from effmed.evaluate.discrimination.ranking import make_ranking, ranking_measures
from effmed.evaluate.intervals import Z, bootstrap, make_units
from effmed.recipe import ReportSettings
from tests.evaluate.comparison.make import EXPECTED, FEW_DRAWS, one, rows, several, some, table, two, vectors

EXACT = 1e-9


@pytest.mark.parametrize("name", ["n40_ties", "n500_imb", "n5000"])
def test_the_paired_auroc_is_proc_s(name):
    want, found = EXPECTED[name]["paired"], one(vectors(name, "a"), vectors(name, "b"), "auroc")
    assert found.difference == pytest.approx(want["diff_a_minus_b"], abs=EXACT)
    assert found.p_value == pytest.approx(want["p_two_sided_pROC"], rel=1e-6)
    assert (found.low, found.high) == pytest.approx(want["ci95_diff_pROC"], abs=EXACT)
    assert 2 * Z * found.difference / (found.high - found.low) == pytest.approx(want["z_pROC"], rel=1e-8)
    assert (found.method, found.unit, found.class_name) == ("DeLong, paired, Wald", "image", "opacity")


def test_several_images_per_patient_give_obuchowski_s_p():
    want = EXPECTED["clustered"]["obuchowski_pair_doAUCcluster"]
    found = one(vectors("clustered", "a"), vectors("clustered", "b"), "auroc")
    assert found.p_value == pytest.approx(want["p.value"], abs=1e-10)
    assert found.p_value == pytest.approx(0.01776567, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((want["ci.bot.AminusB"], want["ci.top.AminusB"]), abs=EXACT)
    assert (found.unit, found.n_patients) == ("patient", 220)


def test_several_images_per_patient_agree_with_the_bootstrap_in_r():
    want = EXPECTED["clustered"]["cluster_bootstrap_R"]
    found = one(vectors("clustered", "a"), vectors("clustered", "b"), "auroc")
    assert (found.high - found.low) / (2 * Z) == pytest.approx(want["se_diff"], rel=0.02)
    assert (found.low, found.high) == pytest.approx(want["ci95_percentile_diff"], abs=0.005)


def test_both_values_are_scikit_learn_s():
    first, second = vectors("n500_imb", "a"), vectors("n500_imb", "b")
    for name, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        found = one(first, second, name)
        for value, judged in ((found.first, first), (found.second, second)):
            assert value == pytest.approx(score(judged.truth, judged.probability[:, 1]), abs=EXACT)
        assert found.difference == pytest.approx(found.first - found.second, abs=1e-15)


def test_one_draw_of_patients_weighs_both_networks():
    truth, first, second, patient = some(images=2)
    seen = one(*(table(truth, each, patient=patient) for each in (first, second)), "average_precision")

    def brute_force(weights):
        one, other = (average_precision_score(truth, each, sample_weight=weights) for each in (first, second))
        return np.array([one - other])

    draws = bootstrap(brute_force, make_units(np.array(patient), truth.size), replicates=100, seed=0)[:, 0]
    assert (seen.low, seen.high) == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=EXACT)
    assert seen.p_value is None
    assert seen.method == "bootstrap of patients, percentile, 100 replicates"


def test_every_class_is_compared_with_the_rest():
    first, second = several()
    found = rows(first, second)
    for number, name in enumerate(first.classes):
        want = [roc_auc_score(first.truth == number, each.probability[:, number]) for each in (first, second)]
        assert found["auroc", name, None].difference == pytest.approx(want[0] - want[1], abs=EXACT)
        assert found["auroc", name, None].n_events == 40


def test_the_macro_difference_against_chance_has_the_macro_auroc_s_own_interval():
    first, _ = several(images=2)
    chance = table(first.truth, np.full((120, 3), 1 / 3), classes=first.classes, patient=first.frame["patient"])
    found = one(first, chance, "macro_auroc")
    want = macro_auroc(np.eye(3, dtype=int)[first.truth], first.probability, first.patients)
    assert (found.first, found.second) == pytest.approx((want.value, 0.5), abs=EXACT)
    assert (found.low + 0.5, found.high + 0.5) == pytest.approx((want.low, want.high), abs=EXACT)


def test_the_macro_difference_agrees_with_the_bootstrap():
    first, second = several(240, images=2)
    truth, scores = np.eye(3, dtype=int)[first.truth], (first.probability, second.probability)
    found = one(first, second, "macro_auroc")
    rankings = [[make_ranking(truth[:, k], each[:, k]) for k in range(3)] for each in scores]

    def brute_force(weights):
        one, other = (np.mean([ranking_measures(r, weights[r.order])[0] for r in each]) for each in rankings)
        return np.array([one - other])

    draws = bootstrap(brute_force, make_units(first.patients, 240), replicates=1000, seed=1)[:, 0]
    assert (found.high - found.low) / (2 * Z) == pytest.approx(draws.std(), rel=0.1)
    assert 0 < found.p_value < 0.05


def test_a_class_with_few_images_is_named_and_left_out_of_the_macro_average():
    truth = np.array([0] * 30 + [1] * 30 + [2] * 5)
    rng = np.random.default_rng(0)
    tables = [table(truth, rng.dirichlet(np.ones(3), 65), classes=("a", "b", "c")) for _ in range(2)]
    found = one(*tables, "macro_auroc")
    assert found.reason == "left out for want of images: class c"
    assert found.method == "influence, paired, Wald, 2 classes"


def test_too_few_images_of_every_class_have_no_macro_average():
    found = one(*several(9), "macro_auroc")
    assert (found.status, found.difference) == ("not_estimable", None)
    assert found.reason == "no class has 10 images of each kind"


def test_a_single_patient_has_no_macro_interval():
    first, second = several(60, images=60)
    found = one(first, second, "macro_auroc")
    assert (found.low, found.p_value) == (None, None)
    assert "fewer than 2 patients" in found.reason
    assert found.difference is not None


@pytest.mark.parametrize("number", [0, 1])
def test_one_class_alone_is_not_estimable(number):
    _, first, second, _ = some(30)
    found = rows(table([number] * 30, first), table([number] * 30, second))
    for name in ("auroc", "average_precision"):
        each = found[name, "opacity", None]
        assert (each.status, each.difference, each.p_value) == ("not_estimable", None, None)
        assert each.reason == f"there is no {'negative' if number else 'positive'} image"


def test_one_image_of_a_class_has_no_interval():
    truth, first, second = [1, *[0] * 9], np.linspace(1, 0.1, 10), np.linspace(0.1, 1, 10)
    for name in ("auroc", "average_precision"):
        found = one(table(truth, first), table(truth, second), name)
        assert found.difference > 0
        assert (found.low, found.p_value) == (None, None)
        assert found.reason == "a class has fewer than 2 images: no interval"


def test_two_perfect_rankings_that_differ_have_no_interval_of_width_0():
    truth = [0, 0, 0, 1, 1, 1]
    first, second = table(truth, [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), table(truth, [0.3, 0.2, 0.1, 0.9, 0.8, 0.7])
    for name in ("auroc", "average_precision"):
        found = one(first, second, name)
        assert (found.first, found.second, found.difference) == (1, 1, 0)
        assert (found.low, found.high, found.p_value) == (None, None, None)
        assert "no interval" in found.reason


def test_probabilities_that_are_scaled_rank_alike():
    truth, first, _, _ = some()
    other = first**2 / (first**2 + (1 - first) ** 2)  # twice the logit
    for name, p_value in (("auroc", 1.0), ("average_precision", None)):
        found = one(table(truth, first), table(truth, other), name)
        assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, p_value)
        assert found.reason == "identical rankings"


def test_identical_tables_of_several_classes_have_a_macro_difference_of_0():
    first, _ = several()
    found = one(first, first, "macro_auroc")
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_certain_probabilities_are_ranked():
    truth, first, second, _ = some()
    certain = np.where(first > 0.6, 1.0, np.where(first < 0.3, 0.0, first))
    found = one(table(truth, certain), table(truth, second), "auroc")
    assert found.first == pytest.approx(roc_auc_score(truth, certain), abs=EXACT)
    assert found.p_value is not None


def test_the_seed_decides():
    first, second = two()
    draws = [one(first, second, "average_precision", ReportSettings(bootstrap_replicates=100, seed=s)) for s in (0, 1)]
    again = compare(first, second, FEW_DRAWS, names=("A", "B"))
    assert draws[0] in again.differences
    assert draws[1] not in again.differences
