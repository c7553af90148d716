from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from effmed.evaluate.calibrators import (
    Affine,
    Beta,
    Calibrator,
    Each,
    VennAbers,
    calibrate,
    identity_calibrator,
    join_calibrators,
    probabilities,
    probability_interval,
)
from tests.evaluate import make

VENN = VennAbers(at=(-1.0, 1.0), low=(0.0, 0.2, 0.7), high=(0.1, 0.3, 1.0), grid=0.0)
LOGITS = np.array([[-3.0], [0.0], [0.5], [4.0]])


def chain(*maps: object, **changes: object) -> Calibrator:
    return make.calibrator(maps=maps, **changes)


def test_maps_are_applied_in_their_order_after_the_prior_shift() -> None:
    calibrator = chain(Affine(scale=(2.0,), bias=(0.0,)), Affine(scale=(1.0,), bias=(5.0,)), prior_shift=(1.0,))
    assert calibrate(calibrator, np.array([[4.0]])).tolist() == [[11.0]]


def test_identity_takes_logits_as_they_are_and_says_why() -> None:
    calibrator = identity_calibrator(3, "as given")
    logits = np.array([[1.0, np.inf, np.nan]])
    np.testing.assert_array_equal(calibrate(calibrator, logits), logits)
    assert (calibrator.method, calibrator.reason, calibrator.fitted_on) == ("none", "as given", "")


def test_infinite_logits_have_probabilities() -> None:
    p = probabilities(np.array([[np.inf, 0.0, -np.inf], [np.inf, np.inf, 0.0], [-np.inf, -np.inf, 0.0]]))
    assert p.tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]


def test_a_missing_logit_leaves_no_probability_of_its_row() -> None:
    p = probabilities(np.array([[np.nan, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(p[0]).all()
    assert p[1].tolist() == pytest.approx([1 / 3] * 3)


def test_the_interval_of_venn_abers_holds_its_probability() -> None:
    interval = probability_interval(chain(VENN), LOGITS)
    assert interval is not None
    np.testing.assert_allclose(interval, [[0.0, 0.1], [0.2, 0.3], [0.2, 0.3], [0.7, 1.0]])
    p = probabilities(calibrate(chain(VENN), LOGITS))[:, 1]
    assert ((interval[:, 0] <= p) & (p <= interval[:, 1])).all()


def test_the_interval_follows_the_maps_before_and_after() -> None:
    calibrator = chain(Affine(scale=(1.0,), bias=(9.0,)), VENN, Affine(scale=(1.0,), bias=(-2.0,)))
    interval = probability_interval(calibrator, LOGITS)
    assert interval is not None
    np.testing.assert_allclose(interval, [[expit(np.log(0.7 / 0.3) - 2), 1.0]] * 4)


def test_other_methods_have_no_interval() -> None:
    assert probability_interval(make.calibrator(), LOGITS) is None


def test_joined_calibrators_do_to_each_label_what_they_did_alone() -> None:
    alone = [
        chain(Affine(scale=(0.5,), bias=(1.0,)), prior_shift=(0.3,)),
        chain(Beta(a=0.5, b=1.5, c=0.0), Affine(scale=(1.0,), bias=(-1.0,)), method="beta"),
        identity_calibrator(1, "3 events"),
    ]
    logits = np.random.default_rng(0).normal(size=(20, 3))
    joined = calibrate(join_calibrators(alone), logits)
    for column, calibrator in enumerate(alone):
        np.testing.assert_allclose(joined[:, [column]], calibrate(calibrator, logits[:, [column]]))


def test_joined_calibrators_say_how_each_label_was_calibrated() -> None:
    joined = join_calibrators([make.calibrator(n_events=40), identity_calibrator(1, "3 events")])
    assert (joined.method, joined.fitted_on, joined.n_events, joined.prevalence) == ("mixed", "val", 0, ())
    assert joined.reason == "label 1: platt; label 2: none (3 events)"


def test_labels_of_one_method_keep_its_name_and_plain_numbers() -> None:
    joined = join_calibrators([make.calibrator(prevalence=(0.9, 0.1)), make.calibrator(prevalence=(0.8, 0.2))])
    assert (joined.method, joined.reason, joined.prevalence) == ("platt", "", (0.1, 0.2))
    assert joined.maps == (Affine(scale=(0.7, 0.7), bias=(0.2, 0.2)),)
    assert not any(isinstance(each, Each) for each in joined.maps)


def test_only_calibrators_of_one_logit_are_joined() -> None:
    with pytest.raises(ValueError, match="of one logit each"):
        join_calibrators([make.calibrator(3)])


def test_a_calibrator_says_its_chain_and_what_it_undoes() -> None:
    calibrator = chain(Affine(scale=(0.5,), bias=(1.0,)), Affine(scale=(1.0,), bias=(-2.0,)), prior_shift=(0.25,))
    assert calibrator.text == "platt: scale 0.5, bias 1; then scale 1, bias -2; undone prior shift 0.25"
    assert identity_calibrator(2, "").text == "none: logits as they are"
