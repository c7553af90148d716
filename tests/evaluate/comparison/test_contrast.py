"""Wald's interval and test, and the interval of bootstrap draws."""

import numpy as np
import pytest
from scipy import stats

from effmed.evaluate.comparison.contrast import Contrast, drawn, wald
from effmed.evaluate.intervals import Counts, estimated

COUNTS = Counts(50, 20, None)


@pytest.mark.parametrize("df", [4, np.inf])
def test_interval_and_p_are_those_of_the_distribution(df):
    estimate, p_value = wald(-0.1, 0.0025, "some", COUNTS, df)
    scipy_s = stats.t(df) if np.isfinite(df) else stats.norm
    assert p_value == pytest.approx(2 * scipy_s.sf(2), abs=1e-12)
    assert (estimate.low, estimate.high) == pytest.approx(
        -0.1 + 0.05 * np.array([-1, 1]) * scipy_s.ppf(0.975), abs=1e-12
    )


def test_no_variance_is_no_interval_and_no_test():
    estimate, p_value = wald(0.2, 0.0, "some", COUNTS)
    assert (estimate.value, estimate.low, p_value) == (0.2, None, None)
    assert "no interval" in estimate.reason


def test_draws_give_their_percentiles():
    draws = np.linspace(-1, 1, 401)
    estimate = drawn(0.3, draws, COUNTS, "")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.3, -0.95, 0.95))


def test_draws_without_a_spread_are_an_interval_only_with_a_reason():
    assert drawn(0.3, np.full(100, 0.3), COUNTS, "").low is None
    same = drawn(0.0, np.zeros(100), COUNTS, "they are the same")
    assert (same.low, same.high, same.reason) == (0, 0, "they are the same")


def test_draws_that_fail_too_often_are_no_interval():
    estimate = drawn(0.3, np.r_[np.full(50, np.nan), np.linspace(0, 1, 50)], COUNTS, "")
    assert estimate.low is None
    assert "undefined in 50 of 100" in estimate.reason


def test_what_is_written_says_everything():
    contrast = Contrast(
        "net_benefit", "opacity", (0.3, 0.1), estimated(0.2, (0.1, 0.3), "some", COUNTS), 0.04, 0.25, (5, 1)
    )
    assert contrast.written().model_dump(by_alias=True) == {
        **{"name": "net_benefit", "class": "opacity", "threshold": 0.25, "first": 0.3, "second": 0.1},
        **{"difference": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.04, "first_only": 5, "second_only": 1},
        **{
            "method": "some",
            "unit": "image",
            "n": 50,
            "n_events": 20,
            "n_patients": None,
            "status": "ok",
            "reason": "",
        },
    }
