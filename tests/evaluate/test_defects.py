"""What other packages get wrong, each as a claim about ours: no traceback, no silent wrong number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import logit

from effmed.errors import DataError
from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.intervals import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(0)
TRUTH = np.arange(40) % 5 < 2
P = np.clip(0.4 + 0.2 * TRUTH + RNG.normal(size=40) / 5, 0.01, 0.99)

Measure = "Callable[[np.ndarray, np.ndarray], Any]"


def ranked(name: str) -> Measure:
    return lambda y, p: discrimination.ranking_estimates(y, p, replicates=100, seed=0)[name]


def against_null(measure: Callable[..., Any]) -> Measure:
    return lambda y, p: measure(y, p, draws=20).estimate


def of_logits(measure: Callable[..., Any]) -> Measure:
    def of_probabilities(y: np.ndarray, p: np.ndarray) -> Any:
        with np.errstate(divide="ignore"):
            return measure(y, logit(p))

    return of_probabilities


def of_decision(measure: Callable[..., Any]) -> Measure:
    return lambda y, p: measure(y, p >= 0.5)


OF_NUMBERS: dict[str, Measure] = {
    "auroc": discrimination.auroc,
    "average_precision": ranked("average_precision"),
    "partial_auroc": ranked("partial_auroc"),
    "difference": lambda y, p: discrimination.auroc_difference(y, p, np.sqrt(p)).estimate,
    "citl": of_logits(calibration.citl),
    "slope": of_logits(calibration.slope),
    "observed_expected": calibration.observed_expected,
    "brier": calibration.brier,
    "scaled_brier": lambda y, p: calibration.scaled_brier(y, p, replicates=100),
    "log_loss": of_logits(calibration.log_loss),
    "smece": against_null(calibration.smece),
    "ece": against_null(calibration.ece),
    "miscalibration": against_null(calibration.miscalibration),
    "ici": lambda y, p: of_logits(lambda y, z: calibration.curve_errors(y, z, draws=5)["ici"].estimate)(y, p),
    "net_benefit": lambda y, p: decisions.net_benefit(y, p, [0.2])[0],
}
OF_DECISIONS: dict[str, Measure] = {
    name: of_decision(getattr(decisions, name))
    for name in ("sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "balanced_accuracy")
}
MEASURES = OF_NUMBERS | OF_DECISIONS

HARD_INPUTS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "no image": (np.zeros(0, dtype=int), np.zeros(0)),
    "one image": (np.ones(1, dtype=int), np.full(1, 0.7)),
    "no positive": (np.zeros(12, dtype=int), P[:12]),
    "no negative": (np.ones(12, dtype=int), P[:12]),
    "one positive": (np.arange(12) == 3, P[:12]),
    "two positives": (np.arange(12) < 2, P[:12]),
    "constant": (TRUTH, np.full(40, 0.3)),
    "ties": (TRUTH, np.round(P, 1)),
    "perfect separation": (np.arange(12) > 5, np.arange(1, 13) / 13),
    "perfectly wrong": (np.arange(12) < 6, np.arange(1, 13) / 13),
    "probability 0 and 1": (TRUTH, np.where(np.arange(40) < 4, np.arange(40) % 2, P)),
    "certain and wrong": (TRUTH, np.where(np.arange(40) < 4, 1 - TRUTH, P)),
    "all certain and right": (TRUTH, TRUTH.astype(float)),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("hard", HARD_INPUTS)
def test_a_hard_input_gives_a_number_or_a_reason(name: str, hard: str) -> None:
    truth, probability = HARD_INPUTS[hard]
    estimate = MEASURES[name](truth.astype(int), probability.astype(float))
    assert isinstance(estimate, Estimate)  # which refuses NaN and infinity itself
    assert (estimate.value is None) == (estimate.status == "not_estimable")
    assert estimate.low is not None or estimate.reason or "null band" in estimate.method


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("hard", HARD_INPUTS)
def test_an_interval_holds_its_estimate(name: str, hard: str) -> None:
    truth, probability = HARD_INPUTS[hard]
    estimate = MEASURES[name](truth.astype(int), probability.astype(float))
    if estimate.low is not None and "bootstrap" not in estimate.method:
        assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_missing_number_is_refused_by_row(name: str) -> None:
    probability = P.copy()
    probability[17] = math.nan
    with pytest.raises(DataError, match=r"not finite in row 17$"):
        OF_NUMBERS[name](TRUTH.astype(int), probability)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_an_uncertain_label_is_refused_by_row(name: str) -> None:
    truth = TRUTH.astype(int)
    truth[5] = -1
    with pytest.raises(DataError, match="neither 0 nor 1 in row 5"):
        OF_NUMBERS[name](truth, P)


@pytest.mark.parametrize("name", ["auroc", "average_precision", "brier", "ece", "net_benefit"])
def test_decisions_are_not_evaluated_as_probabilities(name: str) -> None:
    with pytest.raises(DataError, match="int64, not floating point"):
        OF_NUMBERS[name](TRUTH.astype(int), (P > 0.5).astype(int))


def test_identical_networks_have_p_of_1() -> None:
    assert discrimination.auroc_difference(TRUTH.astype(int), P, P).p_value == 1.0


def test_a_high_auroc_has_no_limit_above_1() -> None:
    truth = np.repeat([0, 1], 20)
    logits = np.concatenate([np.arange(20.0), np.arange(17.0, 37.0)])
    intervals = discrimination.auroc_intervals(truth, logits)
    assert intervals.estimate.value > 0.97
    assert intervals.estimate.high < 1
    assert intervals.wald[1] <= 1


def test_three_of_three_is_exactly_1() -> None:
    assert decisions.sensitivity(np.array([1, 1, 1, 0]), np.array([True, True, True, False])).value == 1.0


def test_precision_steps_and_is_not_interpolated() -> None:
    truth, p = np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7])
    assert discrimination.average_precision(truth, p) == pytest.approx((1 + 2 / 3) / 2)


def test_every_distinct_value_is_a_threshold() -> None:
    truth, p = np.arange(5000) % 2, np.random.default_rng(1).permutation(5000) / 5000
    pairs = p[truth == 1][:, None] > p[truth == 0]
    assert discrimination.auroc(truth, p).value == pytest.approx(pairs.mean(), abs=1e-12)


def test_bin_edges_are_not_lost_to_rounding() -> None:
    p = np.repeat(np.arange(0, 11) / 10, 2)
    binned = calibration.ece(np.zeros(22, dtype=int), p, bins="width", draws=1)
    assert binned.estimate.value == pytest.approx(p.mean())


def test_half_precision_is_not_needed_to_be_undone() -> None:
    logits = np.linspace(10, 30, 50)
    truth = (np.arange(50) > 25).astype(int)
    saturated = (1 / (1 + np.exp(-logits))).astype(np.float16)
    assert discrimination.auroc(truth, logits).value > discrimination.auroc(truth, saturated).value == 0.5
