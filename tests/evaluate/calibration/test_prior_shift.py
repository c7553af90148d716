from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from effmed.errors import DataError
from effmed.evaluate.calibration import prevalence_by_confusion, prevalence_by_em, shift_logits

SOURCE, TARGET = np.array([0.5, 0.5]), np.array([0.9, 0.1])


def made(prevalence: float, *, n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make truths and the exact logits, at a prevalence of one half, of unit Gaussians two apart."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) < n * prevalence).astype(int)
    return truth, (2 * (rng.normal(size=n) + 2 * truth) - 2)[:, None]


def both(logits: np.ndarray) -> np.ndarray:
    return np.hstack([expit(-logits), expit(logits)])


def test_one_logit_moves_by_the_change_of_the_log_odds() -> None:
    moved = shift_logits(np.zeros((1, 1)), SOURCE, TARGET)
    assert expit(moved[0, 0]) == pytest.approx(0.1)


def test_several_logits_move_by_the_change_of_the_logs() -> None:
    source, target = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.3, 0.2])
    moved = softmax(shift_logits(np.log(source)[None, :], source, target), axis=1)
    assert moved[0] == pytest.approx(target)


@pytest.mark.parametrize("wrong", [[0.0, 1.0], [0.5, 0.6]])
def test_prevalences_are_above_0_and_add_up_to_1(wrong: list[float]) -> None:
    with pytest.raises(DataError, match="target prevalences"):
        shift_logits(np.zeros((1, 1)), SOURCE, np.array(wrong))


def test_em_finds_another_prevalence_without_labels() -> None:
    _, logits = made(0.1)
    assert prevalence_by_em(both(logits), SOURCE) == pytest.approx(TARGET, abs=0.01)


@pytest.mark.parametrize("hard", [False, True])
def test_the_confusion_finds_another_prevalence_without_labels(hard: bool) -> None:
    truth, source_logits = made(0.5, seed=1)
    found = prevalence_by_confusion(both(made(0.1)[1]), both(source_logits), truth, hard=hard)
    assert found == pytest.approx(TARGET, abs=0.015)


def test_em_of_uninformative_probabilities_keeps_the_source() -> None:
    assert prevalence_by_em(np.tile(SOURCE, (10, 1)), SOURCE) == pytest.approx(SOURCE)


def test_em_that_hardly_moves_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("effmed.evaluate.calibration.prior_shift.MAX_STEPS", 3)
    with pytest.raises(DataError, match="does not converge"):
        prevalence_by_em(both(made(0.1, n=100)[1]), SOURCE)


def test_a_class_without_images_has_no_confusion() -> None:
    p = both(logit(np.array([[0.2], [0.4]])))
    with pytest.raises(DataError, match="no labelled image"):
        prevalence_by_confusion(p, p, np.zeros(2, dtype=int))


def test_classes_that_are_not_told_apart_have_no_confusion() -> None:
    p = np.tile([0.5, 0.5], (4, 1))
    with pytest.raises(DataError, match="tell the classes apart"):
        prevalence_by_confusion(p, p, np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("spread", [0.4, 3.0])
def test_em_with_lengthened_steps_ends_where_plain_em_ends(spread: float) -> None:
    p = softmax(np.random.default_rng(0).normal(size=(200, 3)) * spread + [0.3, 0.0, 0.0], axis=1)
    source = np.array([0.3, 0.3, 0.4])
    plain = source
    for _ in range(20_000):
        weighted = p * plain / source
        plain = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(prevalence_by_em(p, source), plain, atol=1e-7)


def test_em_where_a_class_does_not_occur_ends_at_its_border() -> None:
    p = np.tile([[0.6, 0.39, 0.01], [0.3, 0.69, 0.01]], (50, 1))
    assert prevalence_by_em(p, np.array([0.3, 0.3, 0.4]))[2] == pytest.approx(0, abs=1e-9)
