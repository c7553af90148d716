from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit, softmax

from effmed.errors import DataError, RecipeError
from effmed.evaluate.calibration import citl, slope
from effmed.evaluate.calibrators import Calibrator, calibrate, fit_calibrator, probabilities
from effmed.evaluate.discrimination import auroc

Rows = tuple[np.ndarray, np.ndarray]


def binary(n: int = 600, *, seed: int = 0, centre: float = 0.0) -> Rows:
    """Make logits (n, 1) that are calibrated, and truths."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 1.5 + centre
    return logits[:, None], (rng.random(n) < expit(logits)).astype(int)


def several(n: int = 900, *, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 1.5
    truth = (rng.random(n)[:, None] > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    return logits, truth


def fit(rows: Rows, method: str = "auto", shift: float | list[float] = 0.0) -> Calibrator:
    logits, truth = rows
    prior_shift = np.broadcast_to(np.asarray(shift, dtype=float), logits.shape[1:])
    return fit_calibrator(logits, truth, method=method, prior_shift=prior_shift)


def test_two_classes_get_platt() -> None:
    calibrator = fit(binary())
    assert (calibrator.method, calibrator.fitted_on, calibrator.reason) == ("platt", "val", "")


def test_several_classes_get_bias_corrected_temperature() -> None:
    assert fit(several()).method == "bias-corrected-temperature"


def test_platt_undoes_a_stretch_and_a_move() -> None:
    logits, truth = binary()
    plain, moved = fit((logits, truth)), fit((3 * logits + 2, truth))
    np.testing.assert_allclose(calibrate(moved, 3 * logits + 2), calibrate(plain, logits), atol=1e-7)


def test_after_platt_the_images_it_was_fitted_on_are_calibrated() -> None:
    logits, truth = binary()
    calibrated = calibrate(fit((4 * logits - 1, truth)), 4 * logits - 1)[:, 0]
    assert citl(truth, calibrated).value == pytest.approx(0, abs=1e-7)
    assert slope(truth, calibrated).value == pytest.approx(1, abs=1e-7)


def test_platt_leaves_the_ranking_alone() -> None:
    logits, truth = binary()
    assert auroc(truth, calibrate(fit((logits, truth)), logits)[:, 0]) == auroc(truth, logits[:, 0])


@pytest.mark.parametrize("rows", [binary(), several()], ids=["two", "several"])
def test_temperature_undoes_a_stretch(rows: Rows) -> None:
    logits, truth = rows
    calibrator = fit((logits * 2.5, truth), "temperature")
    assert calibrator.scale == pytest.approx(fit(rows, "temperature").scale / 2.5, rel=1e-5)
    assert set(calibrator.bias) == {0.0}


def test_temperature_keeps_the_largest_class() -> None:
    logits, truth = several()
    calibrated = calibrate(fit((logits, truth), "temperature"), logits)
    assert (calibrated.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_bias_correction_undoes_moved_classes() -> None:
    logits, truth = several()
    moved = fit((logits + np.array([1.0, 0.0, -1.0]), truth))
    plain = fit((logits, truth))
    p = [probabilities(calibrate(plain, logits)), probabilities(calibrate(moved, logits + np.array([1.0, 0.0, -1.0])))]
    np.testing.assert_allclose(p[0], p[1], atol=1e-5)


def test_biases_add_up_to_0() -> None:
    assert sum(fit(several()).bias) == pytest.approx(0, abs=1e-9)


def test_bias_correction_matches_the_observed_shares() -> None:
    logits, truth = several()
    mean = probabilities(calibrate(fit((logits + np.array([1.0, 0, 0]), truth)), logits + np.array([1.0, 0, 0])))
    assert mean.mean(axis=0) == pytest.approx(np.bincount(truth) / truth.size, abs=1e-5)


def test_the_prior_shift_is_subtracted_first() -> None:
    logits, truth = binary()
    plain, shifted = fit((logits, truth)), fit((logits + 2.4, truth), shift=2.4)
    assert (shifted.scale, shifted.bias) == (pytest.approx(plain.scale), pytest.approx(plain.bias))
    np.testing.assert_allclose(calibrate(shifted, logits + 2.4), calibrate(plain, logits))


def test_without_calibration_the_prior_shift_is_still_undone() -> None:
    logits, truth = binary()
    calibrator = fit((logits + 2.4, truth), "none", shift=2.4)
    np.testing.assert_allclose(calibrate(calibrator, logits + 2.4), logits)
    assert (calibrator.method, calibrator.fitted_on) == ("none", "")


def test_few_events_openly_leave_two_classes_alone() -> None:
    calibrator = fit(binary(200, centre=-4.5))
    assert (calibrator.method, calibrator.scale, calibrator.bias) == ("none", 1.0, (0.0,))
    assert calibrator.reason == f"no platt: {calibrator.n_events} images of the rarest class, at least 20 are needed"


def test_a_rare_class_openly_leaves_the_temperature() -> None:
    logits, truth = several()
    keep = (truth != 2) | (np.cumsum(truth == 2) <= 5)
    calibrator = fit((logits[keep], truth[keep]))
    assert (calibrator.method, calibrator.n_events) == ("temperature", 5)
    assert "no bias-corrected-temperature: 5 images" in calibrator.reason


def test_hardly_any_image_leaves_several_classes_alone() -> None:
    logits, truth = several(15)
    calibrator = fit((logits, truth))
    assert (calibrator.method, calibrator.reason.count("no ")) == ("none", 2)


@pytest.mark.parametrize("method", ["platt", "temperature", "bias-corrected-temperature"])
def test_a_method_asked_for_by_name_is_refused_when_events_are_few(method: str) -> None:
    with pytest.raises(DataError, match="at least 20 are needed"):
        fit(binary(200, centre=-4.5), method)


def test_platt_of_several_classes_is_refused() -> None:
    with pytest.raises(RecipeError, match="for two classes, not for 3"):
        fit(several(), "platt")


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(RecipeError, match="'isotonic' does not exist"):
        fit(binary(), "isotonic")


def test_few_events_draw_platts_targets_in() -> None:
    truth = np.repeat([0, 1], 25)
    logits = (2.0 * truth - 1)[:, None]  # separated, but smoothed targets have an optimum
    assert probabilities(calibrate(fit((logits, truth)), logits))[-1, 1] == pytest.approx(26 / 27)


def test_many_separated_events_have_no_platt() -> None:
    truth = np.repeat([0, 1], 60)
    assert "separate the classes" in fit(((2.0 * truth - 1)[:, None], truth)).reason


@pytest.mark.parametrize("n_logits", [1, 3])
def test_separated_classes_have_no_temperature(n_logits: int) -> None:
    truth = np.arange(90) % max(n_logits, 2)
    logits = np.eye(3)[truth] if n_logits == 3 else (2.0 * truth - 1)[:, None]
    with pytest.raises(DataError, match="separate the classes perfectly"):
        fit((logits, truth), "temperature")


@pytest.mark.parametrize("method", ["temperature", "bias-corrected-temperature"])
def test_logits_of_several_classes_that_fall_with_the_truth_are_refused(method: str) -> None:
    logits, truth = several()
    with pytest.raises(DataError, match="do not rise"):
        fit((-logits, truth), method)


@pytest.mark.parametrize("rows", [binary(), several()], ids=["two", "several"])
def test_a_temperature_near_0_is_refused(rows: Rows) -> None:
    logits, truth = rows
    with pytest.raises(DataError, match=r"falls below 0\.05"):
        fit((logits / 100, truth), "temperature")


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_logits_that_fall_with_the_truth_are_refused(method: str) -> None:
    logits, truth = binary()
    with pytest.raises(DataError, match="do not rise"):
        fit((-logits, truth), method)


def test_constant_logits_are_refused() -> None:
    with pytest.raises(DataError, match="do not rise"):
        fit((np.ones((60, 1)), np.arange(60) % 2), "platt")


def test_missing_logits_are_named_by_row() -> None:
    logits, truth = binary()
    logits[5] = np.nan
    with pytest.raises(DataError, match=r"row 5$"):
        fit((logits, truth))


def test_a_truth_that_is_no_class_is_named_by_row() -> None:
    logits, truth = several()
    truth[4] = 3
    with pytest.raises(DataError, match="from 0 to 2 in row 4"):
        fit((logits, truth))


def test_a_calibrator_survives_json() -> None:
    calibrator = fit(several(), shift=[0.1, 0.2, 0.3])
    assert Calibrator.model_validate_json(calibrator.model_dump_json()) == calibrator


def test_a_calibrator_is_closed_and_frozen() -> None:
    calibrator = fit(binary())
    with pytest.raises(ValidationError):
        Calibrator.model_validate(calibrator.model_dump() | {"temperature": 1})
    with pytest.raises(ValidationError):
        calibrator.scale = 2.0


def test_one_logit_has_two_probabilities() -> None:
    np.testing.assert_allclose(probabilities(np.array([[0.0], [2.0]])), [[0.5, 0.5], [expit(-2), expit(2)]])


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-500, 500), min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_add_up_to_1(rows: list[list[float]]) -> None:
    assert probabilities(np.array(rows)).sum(axis=1) == pytest.approx(1)


def test_probabilities_of_half_precision_are_computed_in_float64() -> None:
    assert probabilities(np.array([[12.0]], dtype=np.float16))[0, 1] == expit(12.0) < 1
