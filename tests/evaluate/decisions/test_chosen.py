"""Operating point, prediction sets and referral are chosen together, on the same images."""

import numpy as np
import pytest

from effmed.errors import DataError
from effmed.evaluate.decisions import (
    choose_decisions,
    choose_label_points,
    choose_operating_point,
    choose_referral,
    fit_sets,
    one_per_patient,
)
from effmed.recipe import DecisionSettings

RNG = np.random.default_rng(0)
TRUTH = (np.arange(60) % 3 == 0).astype(np.int64)
POSITIVE = np.clip(0.3 + 0.3 * TRUTH + RNG.normal(size=60) / 6, 0.01, 0.99)
TWO = np.column_stack([1 - POSITIVE, POSITIVE])
PATIENTS = np.arange(60) // 2
SETTINGS = DecisionSettings(value=0.8, miss_fraction=0.2, max_error_fraction=0.1)


def test_each_is_what_its_own_function_chooses():
    chosen = choose_decisions(TWO, TRUTH, PATIENTS, SETTINGS, classes=("no", "yes"), chosen_on="val")
    point = choose_operating_point(TRUTH, POSITIVE, SETTINGS, class_name="yes")
    called = (point.threshold <= POSITIVE).astype(np.int64)
    alone = one_per_patient(PATIENTS, 60)
    assert chosen.points == (point,)
    assert chosen.sets == fit_sets(TRUTH[alone], TWO[alone], miss_fraction=0.2)
    certainty = TWO[np.arange(60), called]
    assert chosen.referral == choose_referral(TRUTH, called, certainty, max_error_fraction=0.1)


def test_more_than_two_classes_have_no_point_and_decide_by_the_largest():
    truth = np.arange(60) % 3
    probability = np.eye(3)[truth] * 0.4 + 0.2
    chosen = choose_decisions(probability, truth, None, SETTINGS, classes=("a", "b", "c"), chosen_on="site: x")
    assert (chosen.points, chosen.sets.chosen_on, chosen.referral.chosen_on) == ((), "site: x", "site: x")
    assert chosen.referral.decided_fraction == 1.0


def test_one_image_of_every_patient_is_taken_the_same_each_time():
    patients = np.array(list("aabbbc"))
    taken = one_per_patient(patients, 6)
    assert sorted(patients[taken]) == ["a", "b", "c"]
    assert one_per_patient(patients, 6).tolist() == taken.tolist()
    assert one_per_patient(None, 4).tolist() == [0, 1, 2, 3]
    chosen = {tuple(one_per_patient(patients, 6, seed=seed)) for seed in range(20)}
    assert len(chosen) > 2


def test_a_rule_without_events_is_refused():
    with pytest.raises(DataError, match="no operating point"):
        choose_decisions(TWO, np.zeros(60, dtype=np.int64), None, SETTINGS, classes=("no", "yes"))


def test_each_label_has_the_point_of_its_own_known_images_or_a_reason():
    probability = np.column_stack([POSITIVE, 1 - POSITIVE, POSITIVE])
    truth = np.column_stack([TRUTH, 1 - TRUTH, np.where(TRUTH == 1, -1, TRUTH)])
    truth[:10, 1] = -1
    points, reasons = choose_label_points(probability, truth, SETTINGS, classes=("a", "b", "c"))
    first = choose_operating_point(TRUTH, POSITIVE, SETTINGS, class_name="a")
    second = choose_operating_point(truth[10:, 1], probability[10:, 1], SETTINGS, class_name="b")
    assert points == (first, second)
    assert len(reasons) == 1
    assert reasons[0].startswith("no operating point for class 'c' on val")
