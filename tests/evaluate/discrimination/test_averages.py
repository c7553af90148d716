from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from effmed.errors import DataError
from effmed.evaluate.discrimination import auroc, hand_till_auroc, macro_auroc, micro_auroc
from effmed.evaluate.discrimination.auroc import auroc_intervals


def made(n: int = 120, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_classes)) + np.eye(n_classes)[truth]
    weight = np.exp(logits)
    return truth, weight / weight.sum(axis=1, keepdims=True)


def test_hand_till_equals_scikit_learn() -> None:
    truth, probability = made()
    expected = roc_auc_score(truth, probability, multi_class="ovo", average="macro")
    assert hand_till_auroc(truth, probability).value == pytest.approx(expected)


def test_hand_till_without_replicates_says_so() -> None:
    estimate = hand_till_auroc(*made())
    assert (estimate.low, estimate.reason) == (None, "no bootstrap was asked for")


def test_the_bootstrap_interval_holds_hand_till() -> None:
    truth, probability = made()
    estimate = hand_till_auroc(truth, probability, np.arange(120) // 2, replicates=100)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.n_patients == 60


def test_hand_till_names_the_absent_class() -> None:
    truth, probability = made()
    estimate = hand_till_auroc(truth[truth != 1], probability[truth != 1])
    assert (estimate.status, estimate.reason) == ("not_estimable", "no image of class number 1")


def test_hand_till_refuses_missing_probabilities() -> None:
    truth, probability = made()
    probability[7, 0] = np.nan
    with pytest.raises(DataError, match=r"row 7$"):
        hand_till_auroc(truth, probability)


def test_the_macro_average_is_the_mean_of_its_classes() -> None:
    truth, probability = made()
    members = np.eye(3, dtype=int)[truth]
    expected = np.mean([auroc(members[:, k], probability[:, k]).value for k in range(3)])
    assert macro_auroc(members, probability).value == pytest.approx(expected)


def test_of_one_class_the_macro_average_has_its_delong_interval() -> None:
    truth, probability = made()
    column = (truth == 0).astype(int)[:, None]
    one = auroc_intervals(column[:, 0], probability[:, 0])
    half = 1.959964 * one.variance**0.5
    assert macro_auroc(column, probability[:, :1]).low == pytest.approx(one.estimate.value - half, abs=2e-3)


def test_classes_with_few_images_are_left_out_and_named() -> None:
    truth, probability = made()
    members = np.eye(3, dtype=int)[truth]
    members[:, 1] = np.arange(120) < 9
    estimate = macro_auroc(members, probability)
    assert estimate.reason == "left out for want of images: class number 1"
    assert "2 classes" in estimate.method


def test_without_any_class_of_ten_there_is_no_macro_average() -> None:
    truth, probability = made(12)
    assert macro_auroc(np.eye(3, dtype=int)[truth], probability).status == "not_estimable"


def test_unknown_labels_are_left_out_of_their_class_only() -> None:
    truth, probability = made()
    members = np.eye(3, dtype=int)[truth]
    members[:30, 0] = -1
    known = auroc(members[30:, 0], probability[30:, 0]).value
    others = [auroc(members[:, k], probability[:, k]).value for k in (1, 2)]
    assert macro_auroc(members, probability).value == pytest.approx(np.mean([known, *others]))


def test_the_micro_average_pools_all_cells() -> None:
    truth, probability = made()
    expected = roc_auc_score(truth, probability, multi_class="ovr", average="micro")
    assert micro_auroc(np.eye(3, dtype=int)[truth], probability).value == pytest.approx(expected)


def test_the_cells_of_an_image_vary_together() -> None:
    truth, probability = made()
    assert micro_auroc(np.eye(3, dtype=int)[truth], probability).n_patients == 120


def test_the_micro_average_leaves_unknown_cells_out() -> None:
    truth, probability = made()
    members = np.eye(3, dtype=int)[truth]
    members[0, 0] = -1
    assert micro_auroc(members, probability, np.arange(120) // 2).n == 359


def test_the_micro_average_refuses_another_number_of_patients() -> None:
    truth, probability = made()
    with pytest.raises(DataError, match="3 patients for 120 images"):
        micro_auroc(np.eye(3, dtype=int)[truth], probability, np.arange(3))


def test_images_of_a_patient_count_once_in_the_macro_average() -> None:
    truth, probability = made()
    members = np.eye(3, dtype=int)[truth]
    once = macro_auroc(members, probability)
    again = macro_auroc(np.repeat(members, 3, axis=0), np.repeat(probability, 3, axis=0), np.repeat(np.arange(120), 3))
    assert (again.low, again.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_images_of_one_patient_have_a_macro_average_without_an_interval() -> None:
    truth, probability = made()
    estimate = macro_auroc(np.eye(3, dtype=int)[truth], probability, np.full(120, "A"))
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.reason == "all images are of one patient: no interval"


def test_perfect_ranking_has_no_macro_interval_of_width_0() -> None:
    truth, _ = made()
    members = np.eye(3, dtype=int)[truth]
    estimate = macro_auroc(members, members * 0.5 + 0.1)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, None, None)
    assert estimate.reason == "the variance between placements is 0: no interval"
