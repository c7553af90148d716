from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy.special import expit

from effmed.errors import DataError
from effmed.evaluate.calibration import citl, shift_logits, slope
from effmed.evaluate.calibrators import (
    Affine,
    calibrate,
    identity_calibrator,
    join_calibrators,
    prevalence_with_limits,
    probabilities,
    recalibrate,
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


def binary(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 1)) * 2
    return logits, (rng.random(n) < expit(0.5 * logits[:, 0] - 1)).astype(int)


def test_a_constant_makes_the_site_right_on_average_and_leaves_the_slope() -> None:
    logits, truth = binary(400)
    old = make.calibrator()
    new = recalibrate(old, logits, truth, update="in-the-large", fitted_on="site: a")
    before, after = (calibrate(each, logits)[:, 0] for each in (old, new))
    assert citl(truth, after).value == pytest.approx(0, abs=1e-9)
    assert slope(truth, after).value == pytest.approx(slope(truth, before).value)
    assert new.maps[:-1] == old.maps


def test_constant_and_slope_are_those_of_logistic_recalibration() -> None:
    logits, truth = binary(400)
    old = make.calibrator()
    new = recalibrate(old, logits, truth, update="slope", fitted_on="site: a")
    (added,) = new.maps[len(old.maps) :]
    assert isinstance(added, Affine)
    assert added.scale[0] == pytest.approx(slope(truth, calibrate(old, logits)[:, 0]).value)
    assert (new.method, new.fitted_on, new.n, new.n_events) == ("platt", "site: a", 400, truth.sum())
    assert new.prevalence == pytest.approx((1 - truth.mean(), truth.mean()))


@pytest.mark.parametrize("update", ["in-the-large", "slope"])
def test_several_classes_are_right_on_average_too(update: Literal["in-the-large", "slope"]) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 3
    logits = np.eye(3)[truth] + rng.normal(size=(300, 3)) + [2.0, 0.0, 0.0]
    new = recalibrate(make.calibrator(3), logits, truth, update=update, fitted_on="site: a")
    assert probabilities(calibrate(new, logits)).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_what_was_not_calibrated_takes_the_name_of_what_was_fitted() -> None:
    old, rows = identity_calibrator(1, "3 events"), binary(400)
    assert recalibrate(old, *rows, update="slope", fitted_on="site: a").method == "platt"
    new = recalibrate(old, *rows, update="in-the-large", fitted_on="site: a")
    assert (new.method, new.reason) == ("intercept", "")


@pytest.mark.parametrize(("update", "needed"), [("in-the-large", 10), ("slope", 20)])
def test_a_site_with_few_events_is_refused(update: Literal["in-the-large", "slope"], needed: int) -> None:
    truth = np.repeat([0, 1], [100, needed - 1])
    logits = np.random.default_rng(0).normal(size=(truth.size, 1))
    with pytest.raises(DataError, match=f"site: a: {needed - 1} images of the rarest class, at least {needed}"):
        recalibrate(make.calibrator(), logits, truth, update=update, fitted_on="site: a")


def test_limits_of_a_mean_are_its_bootstrap_limits_by_patient() -> None:
    rng = np.random.default_rng(0)
    p = np.repeat(rng.random((200, 1)), 3, axis=0)
    p = np.hstack([1 - p, p])
    found = prevalence_with_limits(
        lambda rows: rows.mean(axis=0), p, np.repeat(np.arange(200), 3), replicates=2_000, seed=0
    )
    half = 1.96 * p[::3, 1].std() / np.sqrt(200)
    np.testing.assert_allclose(found[1], [p[:, 1].mean(), p[:, 1].mean() - half, p[:, 1].mean() + half], atol=0.005)


def test_draws_without_an_estimate_are_left_out() -> None:
    def only_mixed(rows: np.ndarray) -> np.ndarray:
        if rows[:, 1].max() < 1:
            raise DataError("none", hint="none")
        return np.array([0.3, 0.7])

    p = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = prevalence_with_limits(only_mixed, p, None, replicates=100, seed=0)
    np.testing.assert_allclose(found, [[0.3] * 3, [0.7] * 3])
