from __future__ import annotations

import numpy as np
import pytest

from effmed.errors import DataError
from effmed.evaluate.calibration import shift_logits
from effmed.evaluate.calibrators import (
    calibrate,
    identity_calibrator,
    join_calibrators,
    probabilities,
    shift_prevalence,
)
from tests.evaluate import make

LOGITS = np.random.default_rng(0).normal(size=(12, 3))


def test_two_classes_move_by_the_difference_of_their_log_odds() -> None:
    calibrator = make.calibrator(prevalence=(0.6, 0.4))
    moved = shift_prevalence(calibrator, (0.95, 0.05))
    difference = calibrate(moved, LOGITS[:, :1]) - calibrate(calibrator, LOGITS[:, :1])
    np.testing.assert_allclose(difference, np.log(0.05 / 0.95) - np.log(0.4 / 0.6))
    assert moved.prevalence == (0.95, 0.05)


def test_several_classes_are_weighted_by_the_ratio_of_prevalences() -> None:
    calibrator = make.calibrator(3, prevalence=(0.5, 0.3, 0.2))
    before = probabilities(calibrate(calibrator, LOGITS))
    weighted = before * np.array([0.1, 0.1, 0.8]) / np.array([0.5, 0.3, 0.2])
    moved = probabilities(calibrate(shift_prevalence(calibrator, (0.1, 0.1, 0.8)), LOGITS))
    np.testing.assert_allclose(moved, weighted / weighted.sum(axis=1, keepdims=True))


def test_labels_that_do_not_exclude_each_other_move_one_by_one() -> None:
    alone = [make.calibrator(prevalence=(0.9, 0.1)), make.calibrator(prevalence=(0.5, 0.5))]
    joined = shift_prevalence(join_calibrators(alone), (0.2, 0.9), independent=True)
    moved = calibrate(joined, LOGITS[:, :2])
    for column, (calibrator, share) in enumerate(zip(alone, (0.2, 0.9), strict=True)):
        wanted = calibrate(shift_prevalence(calibrator, (1 - share, share)), LOGITS[:, [column]])
        np.testing.assert_allclose(moved[:, [column]], wanted)


def test_there_and_back_again_changes_nothing() -> None:
    calibrator = make.calibrator(3, prevalence=(0.5, 0.3, 0.2))
    back = shift_prevalence(shift_prevalence(calibrator, (0.1, 0.2, 0.7)), (0.5, 0.3, 0.2))
    np.testing.assert_allclose(calibrate(back, LOGITS), calibrate(calibrator, LOGITS))


def test_the_move_is_the_published_one() -> None:
    calibrator = make.calibrator(prevalence=(0.6, 0.4))
    wanted = shift_logits(calibrate(calibrator, LOGITS[:, :1]), np.array([0.6, 0.4]), np.array([0.3, 0.7]))
    np.testing.assert_allclose(calibrate(shift_prevalence(calibrator, (0.3, 0.7)), LOGITS[:, :1]), wanted)


def test_a_calibrator_that_was_not_fitted_cannot_be_moved() -> None:
    with pytest.raises(DataError, match="nobody knows for what prevalence"):
        shift_prevalence(identity_calibrator(1, ""), (0.5, 0.5))


@pytest.mark.parametrize("target", [(0.5,), (0.2, 0.2), (0.0, 1.0)])
def test_a_target_that_is_no_prevalence_is_refused(target: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="prevalence"):
        shift_prevalence(make.calibrator(), target)
