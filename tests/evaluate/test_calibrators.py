from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit, log_expit, softmax
from sklearn.isotonic import IsotonicRegression

from effmed.errors import DataError, RecipeError
from effmed.evaluate.calibration import citl, slope
from effmed.evaluate.calibration.regression import fit_logistic
from effmed.evaluate.calibrators import (
    Affine,
    Beta,
    Calibrator,
    VennAbers,
    calibrate,
    fit_calibrator,
    fit_label_calibrators,
    probabilities,
)
from effmed.evaluate.calibrators.maps import venn_abers_pair
from effmed.evaluate.calibrators.ranks import fit_venn_abers
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


def scale_of(calibrator: Calibrator) -> tuple[float, ...]:
    (affine,) = calibrator.maps
    assert isinstance(affine, Affine)
    return affine.scale


def bias_of(calibrator: Calibrator) -> tuple[float, ...]:
    (affine,) = calibrator.maps
    assert isinstance(affine, Affine)
    return affine.bias


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
    assert scale_of(calibrator)[0] == pytest.approx(scale_of(fit(rows, "temperature"))[0] / 2.5, rel=1e-5)
    assert set(bias_of(calibrator)) == {0.0}


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
    assert sum(bias_of(fit(several()))) == pytest.approx(0, abs=1e-9)


def test_bias_correction_matches_the_observed_shares() -> None:
    logits, truth = several()
    mean = probabilities(calibrate(fit((logits + np.array([1.0, 0, 0]), truth)), logits + np.array([1.0, 0, 0])))
    assert mean.mean(axis=0) == pytest.approx(np.bincount(truth) / truth.size, abs=1e-5)


def test_the_prior_shift_is_subtracted_first() -> None:
    logits, truth = binary()
    plain, shifted = fit((logits, truth)), fit((logits + 2.4, truth), shift=2.4)
    assert scale_of(shifted) == pytest.approx(scale_of(plain))
    assert bias_of(shifted) == pytest.approx(bias_of(plain))
    np.testing.assert_allclose(calibrate(shifted, logits + 2.4), calibrate(plain, logits))


def test_without_calibration_the_prior_shift_is_still_undone() -> None:
    logits, truth = binary()
    calibrator = fit((logits + 2.4, truth), "none", shift=2.4)
    np.testing.assert_allclose(calibrate(calibrator, logits + 2.4), logits)
    assert (calibrator.method, calibrator.fitted_on) == ("none", "")


def with_events(rows: Rows, n: int) -> Rows:
    """Keep the first n images of the last class, and all others."""
    logits, truth = rows
    keep = (truth != truth.max()) | (np.cumsum(truth == truth.max()) <= n)
    return logits[keep], truth[keep]


def test_few_events_openly_leave_two_classes_alone() -> None:
    calibrator = fit(with_events(binary(), 9))
    assert (calibrator.method, calibrator.maps, calibrator.prevalence) == ("none", (), ())
    assert calibrator.reason == (
        "no platt: 9 images of the rarest class, at least 20 are needed; "
        "no intercept: 9 images of the rarest class, at least 10 are needed"
    )


@pytest.mark.parametrize("n", [10, 19])
def test_10_to_19_events_openly_leave_the_intercept(n: int) -> None:
    calibrator = fit(with_events(binary(), n))
    assert (calibrator.method, scale_of(calibrator)) == ("intercept", (1.0,))
    assert calibrator.reason == f"no platt: {n} images of the rarest class, at least 20 are needed"


def test_an_intercept_asked_for_by_name_needs_one_image_of_each_class() -> None:
    assert fit(with_events(binary(), 1), "intercept").method == "intercept"
    logits, truth = binary()
    with pytest.raises(DataError, match="0 images of the rarest class, at least 1 are needed"):
        fit((logits, np.zeros_like(truth)), "intercept")


def test_after_an_intercept_the_logits_are_right_on_average_and_as_steep_as_before() -> None:
    logits, truth = binary()
    calibrator = fit((2 * logits + 3, truth), "intercept")
    calibrated = calibrate(calibrator, 2 * logits + 3)
    assert citl(truth, calibrated[:, 0]).value == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(np.diff(calibrated, axis=0), np.diff(2 * logits, axis=0))


def test_after_an_intercept_of_several_classes_their_mean_probabilities_are_their_shares() -> None:
    logits, truth = several()
    calibrator = fit((logits * 2 + [1.0, 0.0, -2.0], truth), "intercept")
    mean = probabilities(calibrate(calibrator, logits * 2 + [1.0, 0.0, -2.0])).mean(axis=0)
    assert mean == pytest.approx(np.bincount(truth) / truth.size, abs=1e-6)
    assert (scale_of(calibrator), sum(bias_of(calibrator))) == ((1.0, 1.0, 1.0), pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize("rows", [binary(), several()], ids=["two", "several"])
def test_a_constant_beyond_all_logits_is_refused(rows: Rows) -> None:
    logits, truth = rows
    with pytest.raises(DataError, match="no constant up to 20"):
        fit((logits + 40 * np.eye(3)[0, : logits.shape[1]], truth), "intercept")


def test_vector_scaling_undoes_a_stretch_of_every_class() -> None:
    logits, truth = several()
    stretch = np.array([2.0, 0.5, 3.0])
    plain, stretched = fit((logits, truth), "vector"), fit((logits * stretch, truth), "vector")
    np.testing.assert_allclose(np.array(scale_of(stretched)) * stretch, scale_of(plain), rtol=1e-4)


def test_vector_scaling_of_a_class_whose_logits_fall_with_it_is_refused() -> None:
    logits, truth = several()
    with pytest.raises(DataError, match="do not rise"):
        fit((logits * [1.0, 1.0, -1.0], truth), "vector")


def test_beta_of_logits_that_are_right_changes_hardly_anything() -> None:
    logits, truth = binary(20_000)
    before, after = (probabilities(each) for each in (logits, calibrate(fit((logits, truth), "beta"), logits)))
    assert np.abs(after - before).max() < 0.02


def test_a_negative_coefficient_of_beta_is_set_to_0_and_the_rest_fitted_again() -> None:
    z = np.linspace(-3, 3, 4_000)[:, None]
    falling = expit(-1 - 1.5 * np.log1p(np.exp(-z[:, 0])) - 0.2 * np.log1p(np.exp(z[:, 0])))
    truth = (np.random.default_rng(0).random(z.size) < falling).astype(int)
    (beta,) = fit((z, truth), "beta").maps
    assert isinstance(beta, Beta)
    alone = fit_logistic(np.hstack([log_expit(z), np.ones_like(z)]), truth.astype(float))
    assert alone is not None
    assert (beta.a, beta.b, beta.c) == pytest.approx((alone.coefficients[0], 0, alone.coefficients[1]))


def test_isotonic_asks_for_a_thousand_events() -> None:
    with pytest.raises(DataError, match="at least 1000 are needed"):
        fit(binary(), "isotonic")


def test_isotonic_is_what_scikit_learn_fits_and_never_certain() -> None:
    logits, truth = binary(4_000)
    logits = np.round(logits, 1)  # ties
    oracle = IsotonicRegression(out_of_bounds="clip").fit(expit(logits[:, 0]), truth)
    at = np.linspace(-9, 9, 301)[:, None]
    calibrated = probabilities(calibrate(fit((logits, truth), "isotonic"), at))[:, 1]
    wanted = np.clip(oracle.predict(expit(at[:, 0])), 1 / 4_002, 1 - 1 / 4_002)
    np.testing.assert_allclose(calibrated, wanted, atol=1e-12)
    assert np.isfinite(calibrate(fit((logits, truth), "isotonic"), at)).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=25))
def test_venn_abers_is_two_isotonic_regressions_with_one_more_image(rows: list[tuple[int, bool]]) -> None:
    logits, truth = np.array([z for z, _ in rows], dtype=float), np.array([int(y) for _, y in rows])
    fitted = fit_venn_abers(logits[:, None], truth)
    if isinstance(fitted, str):
        return
    new = np.arange(-5, 5.5, 0.5)
    for column, label in zip(venn_abers_pair(fitted, new[:, None]), (0, 1), strict=True):
        wanted = [IsotonicRegression().fit([*logits, z], [*truth, label]).predict([z])[0] for z in new]
        np.testing.assert_allclose(column[:, 0], wanted, atol=1e-12)


def test_venn_abers_rounds_more_than_ten_thousand_logits() -> None:
    logits, truth = binary(12_000)
    (fitted,) = fit((logits, truth), "venn-abers").maps
    assert isinstance(fitted, VennAbers)
    assert fitted.grid == pytest.approx(np.ptp(logits) / 9_999)
    low, high = venn_abers_pair(fitted, logits)
    assert ((low <= high) & (high - low < 0.2)).all()
    assert citl(truth, calibrate(fit((logits, truth), "venn-abers"), logits)[:, 0]).value == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("method", ["beta", "isotonic", "venn-abers"])
def test_logits_that_say_nothing_are_refused(method: str) -> None:
    with pytest.raises(DataError, match="do not rise"):
        fit((np.ones((2_400, 1)), np.arange(2_400) % 2), method)


def test_the_prevalence_is_that_of_the_images() -> None:
    logits, truth = several()
    assert fit((logits, truth)).prevalence == tuple(np.bincount(truth) / truth.size)


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


@pytest.mark.parametrize("method", ["platt", "temperature", "bias-corrected-temperature", "beta", "venn-abers"])
def test_a_method_asked_for_by_name_is_refused_when_events_are_few(method: str) -> None:
    with pytest.raises(DataError, match="at least 20 are needed"):
        fit(binary(200, centre=-4.5), method)


def test_methods_for_two_classes_are_refused_for_several() -> None:
    for method in ("platt", "beta", "isotonic", "venn-abers"):
        with pytest.raises(RecipeError, match=f"'{method}' is not for 3 classes"):
            fit(several(), method)


def test_vector_scaling_of_two_classes_is_refused() -> None:
    with pytest.raises(RecipeError, match="'vector' is not for 2 classes"):
        fit(binary(), "vector")


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(RecipeError, match="'histogram' does not exist"):
        fit(binary(), "histogram")


def test_few_events_draw_platts_targets_in() -> None:
    truth = np.repeat([0, 1], 25)
    logits = (2.0 * truth - 1)[:, None]  # separated, but smoothed targets have an optimum
    assert probabilities(calibrate(fit((logits, truth)), logits))[-1, 1] == pytest.approx(26 / 27)


def test_many_separated_events_have_no_platt() -> None:
    truth = np.repeat([0, 1], 60)
    calibrator = fit(((2.0 * truth - 1)[:, None], truth))
    assert (calibrator.method, calibrator.reason) == (
        "intercept",
        "no platt: the logits separate the classes perfectly",
    )


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
        calibrator.method = "none"


def test_one_logit_has_two_probabilities() -> None:
    np.testing.assert_allclose(probabilities(np.array([[0.0], [2.0]])), [[0.5, 0.5], [expit(-2), expit(2)]])


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-500, 500), min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_add_up_to_1(rows: list[list[float]]) -> None:
    assert probabilities(np.array(rows)).sum(axis=1) == pytest.approx(1)


def test_probabilities_of_half_precision_are_computed_in_float64() -> None:
    assert probabilities(np.array([[12.0]], dtype=np.float16))[0, 1] == expit(12.0) < 1


def test_each_of_several_labels_is_calibrated_by_its_own_known_images():
    logits, truth = binary()
    wide = np.column_stack([logits[:, 0], 2 * logits[:, 0], logits[:, 0], logits[:, 0]])
    labels = np.column_stack([truth, truth, truth, np.full_like(truth, -1)])
    labels[100:, 1] = -1
    labels[np.flatnonzero(truth == 1)[5:], 2] = -1  # five events are too few
    shift = np.array([0.0, 0.5, 0.0, 0.3])
    joined = fit_label_calibrators(wide, labels, method="auto", prior_shift=shift)
    found = calibrate(joined, wide)
    second = fit_calibrator(wide[:100, 1:2], truth[:100], method="auto", prior_shift=shift[1:2])
    assert found[:, 1] == pytest.approx(calibrate(second, wide[:, 1:2])[:, 0])
    assert found[:, 2] == pytest.approx(wide[:, 2])
    assert found[:, 3] == pytest.approx(wide[:, 3] - 0.3)
    assert joined.method == "mixed"
    assert "label 3: none" in joined.reason
    assert "label 4: none (not known of any image of val)" in joined.reason
    with pytest.raises(DataError, match="cannot be fitted"):
        fit_label_calibrators(wide, labels, method="platt", prior_shift=shift)
