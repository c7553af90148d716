"""Differences of decisions: McNemar's test where images are independent, the variance by patient where not."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from effmed.evaluate.comparison.decisions import bonett_price_interval
from effmed.evaluate.intervals import Z
from tests.evaluate.comparison.make import EXPECTED, one, rows, several, some, table, two, vectors


@pytest.mark.parametrize("name", ["n40_ties", "n500_imb", "n5000"])
@pytest.mark.parametrize("rate", ["sensitivity", "specificity"])
def test_mcnemar_of_each_class_is_r_s(name, rate):
    want = EXPECTED[name]["mcnemar"][rate]
    found = one(vectors(name, "a", threshold=0.5), vectors(name, "b", threshold=0.5), rate)
    assert (found.first_only, found.second_only) == (want["a_right_b_wrong"], want["a_wrong_b_right"])
    assert found.p_value == pytest.approx(want["exact_p"], abs=1e-10)
    assert found.difference == pytest.approx((found.first_only - found.second_only) / found.n, abs=1e-15)
    assert found.difference == pytest.approx(found.first - found.second, abs=1e-12)
    assert found.low < found.difference < found.high
    assert found.method == "exact McNemar test, interval of Bonett and Price"


def test_accuracy_is_tested_among_all_images():
    first, second = two()
    found = one(first, second, "accuracy")
    right = [(each.probability[:, 1] >= 0.5) == (each.truth == 1) for each in (first, second)]
    n = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert (found.first_only, found.second_only) == n
    assert (found.first, found.second) == (right[0].mean(), right[1].mean())
    assert found.p_value == pytest.approx(binomtest(n[0], sum(n)).pvalue, abs=1e-12)
    assert (found.class_name, found.n, found.n_events) == (None, 80, sum(n))


def test_several_images_per_patient_give_the_t_test_of_their_means():
    truth, first, second, patient = some(images=4)
    tables = [table(truth, each, patient=patient, threshold=0.5) for each in (first, second)]
    found = one(*tables, "accuracy")
    gain = ((first >= 0.5) == truth).astype(float) - ((second >= 0.5) == truth)
    want = ttest_1samp(gain.reshape(-1, 4).mean(axis=1), 0)
    low, high = want.confidence_interval()
    assert found.p_value == pytest.approx(want.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.method == "difference of proportions, variance by patient, t(19)"
    assert found.unit == "patient"


def test_mcnemar_is_kept_where_no_patient_has_two_images_of_the_class():
    truth = np.array([1, 0, 0] * 20)
    patient = [f"P{row // 3}" for row in range(60)]
    rng = np.random.default_rng(0)
    tables = [table(truth, rng.random(60), patient=patient, threshold=0.5) for _ in range(2)]
    found = {key[0]: each for key, each in rows(*tables).items()}
    assert found["sensitivity"].method == "exact McNemar test, interval of Bonett and Price"
    assert found["sensitivity"].n_patients == 20
    assert found["specificity"].method == "difference of proportions, variance by patient, t(19)"


def test_of_several_classes_the_most_probable_is_called():
    first, second = several()
    found = rows(first, second)
    assert [key[0] for key in found if key[0] in {"accuracy", "sensitivity", "specificity"}] == ["accuracy"]
    each = found["accuracy", None, None]
    assert each.first == (first.probability.argmax(axis=1) == first.truth).mean()


@pytest.mark.parametrize("without", [0, 1])
def test_missing_decisions_are_a_reason(without):
    truth, first, second, _ = some()
    tables = [table(truth, each, threshold=None if k == without else 0.5) for k, each in enumerate((first, second))]
    found = rows(*tables)
    for name, about in (("sensitivity", "opacity"), ("specificity", "opacity"), ("accuracy", None)):
        each = found[name, about, None]
        assert (each.status, each.difference, each.p_value) == ("not_estimable", None, None)
        assert each.reason == f"images without a decision (no operating point): 80 of 80 in {'AB'[without]}"


def test_a_class_without_images_has_no_rate():
    _, first, second, _ = some(30)
    found = rows(*(table([0] * 30, each, threshold=0.5) for each in (first, second)))
    assert found["sensitivity", "opacity", None].reason == "there is no such image"
    assert found["specificity", "opacity", None].status == "ok"


@pytest.mark.parametrize("images", [1, 2])
def test_the_same_decisions_differ_by_0_with_p_1_and_an_interval_that_has_a_width(images):
    first, _ = two(images=images)
    found = one(first, first, "accuracy")
    half = Z * np.sqrt(2) / (80 / images + 2)
    assert (found.difference, found.p_value) == (0, 1)
    assert (found.low, found.high) == pytest.approx((-half, half), abs=1e-12)


def test_images_of_one_patient_have_no_interval():
    first, second = two(images=80)
    found = one(first, second, "accuracy")
    assert (found.low, found.p_value) == (None, None)
    assert found.reason == "all images are of one patient: no interval"


def test_gains_and_losses_that_cancel_within_every_patient_have_no_variance():
    tables = [
        table([1, 1] * 5, p * 5, threshold=0.5, patient=[f"P{k // 2}" for k in range(10)]) for p in ([1, 0], [0, 1])
    ]
    found = one(*tables, "accuracy")
    assert (found.difference, found.low, found.p_value) == (0, None, None)
    assert found.reason == "the variance of the difference is 0: no interval"


@pytest.mark.parametrize(("first_only", "second_only", "n"), [(1, 7, 21), (0, 0, 5), (20, 0, 20), (3, 3, 50)])
def test_bonett_and_price_is_wald_s_interval_of_the_table_with_more_images(first_only, second_only, n):
    gain = np.repeat([1, -1, 0], [first_only + 1, second_only + 1, n - first_only - second_only])
    half = Z * gain.std() / np.sqrt(gain.size)
    want = np.clip([gain.mean() - half, gain.mean() + half], -1, 1)
    assert bonett_price_interval(first_only, second_only, n) == pytest.approx(want, abs=1e-12)


def test_bonett_and_price_holds_what_wald_does_not():
    """Paired proportions 0.98 and 0.90 of 40 images, 20,000 draws."""
    cells = np.random.default_rng(0).multinomial(40, [0.09, 0.01, 0.90], size=20_000)
    limits = np.array([bonett_price_interval(a, b, 40) for a, b, _ in cells.tolist()])
    assert ((limits[:, 0] <= 0.08) & (limits[:, 1] >= 0.08)).mean() > 0.945
    share = cells / 40
    middle = share[:, 0] - share[:, 1]
    half = Z * np.sqrt((share[:, 0] + share[:, 1] - middle**2) / 40)
    assert (np.abs(middle - 0.08) <= half).mean() < 0.93
