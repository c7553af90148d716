"""From what a focusing loss makes a network say back to what its data hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from effmed.evaluate.calibrators import Unfocus, fit_calibrator, probabilities
from effmed.evaluate.calibrators.maps import apply_map

EXPONENTS = [(2.0, 2.0), (0.5, 0.5), (0.0, 4.0), (1.0, 4.0), (0.0, 0.0), (5.0, 5.0)]


def mapped(present, absent, logits):
    return apply_map(Unfocus(present=present, absent=absent), np.asarray(logits, dtype=float))


@pytest.mark.parametrize(("present", "absent"), EXPONENTS)
@pytest.mark.parametrize("share", [0.001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_the_minimum_of_the_loss_becomes_the_share_that_it_was_learned_from(present, absent, share):
    def loss(z):
        with_class = -((1 - expit(z)) ** present) * np.log(expit(z))
        without = -(expit(z) ** absent) * np.log(expit(-z))
        return share * with_class + (1 - share) * without

    learned = minimize_scalar(loss, bounds=(-40, 40), method="bounded", options={"xatol": 1e-10}).x
    assert expit(mapped(present, absent, [[learned]]))[0, 0] == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 4.0])
def test_the_minimum_of_the_focal_loss_of_classes_becomes_their_shares(gamma):
    shares = np.array([0.7, 0.25, 0.05])

    def loss(z):
        return float(-(shares * (1 - softmax(z)) ** gamma * log_softmax(z)).sum())

    learned = minimize(
        loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14, "maxiter": 9999}
    )
    found = probabilities(mapped(gamma, gamma, learned.x[None]))[0]
    assert found == pytest.approx(shares, abs=1e-4)


def test_two_classes_by_one_logit_or_by_two_are_the_same():
    logits = np.linspace(-6, 6, 25)[:, None]
    one = expit(mapped(2.0, 2.0, logits)[:, 0])
    two = probabilities(mapped(2.0, 2.0, np.hstack([np.zeros_like(logits), logits])))[:, 1]
    assert two == pytest.approx(one)


@given(st.floats(-700, 700), st.floats(1e-6, 5), st.sampled_from(EXPONENTS))
def test_the_order_of_the_images_stays(logit, step, exponents):
    low, high = mapped(*exponents, [[logit], [logit + step]])[:, 0]
    assert np.isfinite([low, high]).all()
    assert low <= high


def test_infinite_logits_stay_and_missing_ones_too():
    found = mapped(2.0, 2.0, [[np.inf], [-np.inf], [np.nan]])[:, 0]
    assert found[0] == np.inf
    assert found[1] == -np.inf
    assert np.isnan(found[2])


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_far_apart_classes_stay_numbers(gamma):
    found = mapped(gamma, gamma, [[0.0, 900.0, -900.0], [40.0, 0.0, 1.0]])
    assert not np.isnan(found).any()
    assert found.argmax(axis=1).tolist() == [1, 0]


def test_a_calibrator_undoes_it_before_anything_is_fitted():
    chance = np.random.default_rng(0)
    share = expit(chance.normal(0, 2, 4000))
    truth = (chance.random(4000) < share).astype(int)
    grid = np.linspace(-12, 12, 20001)
    focused = np.interp(np.log(share / (1 - share)), mapped(2.0, 2.0, grid[:, None])[:, 0], grid)[:, None]
    before = (Unfocus(present=2.0, absent=2.0),)
    fitted = fit_calibrator(focused, truth, method="platt", prior_shift=np.zeros(1), before=before)
    assert fitted.maps[0] == before[0]
    assert fitted.maps[1].scale == pytest.approx((1.0,), abs=0.1)
    assert fitted.maps[1].bias == pytest.approx((0.0,), abs=0.1)
    assert "focusing by exponents 2 and 2 undone; then scale" in fitted.text
