from __future__ import annotations

import numpy as np
import pytest

from effmed.errors import DataError
from effmed.evaluate.decisions import net_benefit, treat_all

TRUTH = np.array([1] * 8 + [0] * 12)
PROBABILITY = np.array([0.9] * 6 + [0.1] * 2 + [0.7] * 3 + [0.1] * 9)


def test_false_positives_cost_the_odds_of_the_threshold() -> None:
    (estimate,) = net_benefit(TRUTH, PROBABILITY, [0.2])
    assert estimate.value == pytest.approx((6 - 3 * 0.25) / 20)
    assert estimate.low < estimate.value < estimate.high


def test_a_probability_at_the_threshold_is_called() -> None:
    assert net_benefit(TRUTH, PROBABILITY, [0.7])[0].value == pytest.approx((6 - 3 * 7 / 3) / 20)


def test_at_threshold_0_everybody_is_called_at_no_cost() -> None:
    assert net_benefit(TRUTH, PROBABILITY, [0.0])[0].value == pytest.approx(0.4)


def test_calling_all_earns_the_prevalence_less_the_rest_at_its_odds() -> None:
    assert treat_all(TRUTH, [0.5])[0].value == pytest.approx(0.4 - 0.6)


def test_at_the_own_prevalence_nothing_changes() -> None:
    own = net_benefit(TRUTH, PROBABILITY, [0.2])[0].value
    assert net_benefit(TRUTH, PROBABILITY, [0.2], prevalence=0.4)[0].value == pytest.approx(own)


def test_another_prevalence_reweights_both_classes() -> None:
    (estimate,) = net_benefit(TRUTH, PROBABILITY, [0.2], prevalence=0.1)
    assert estimate.value == pytest.approx(0.1 * 6 / 8 - 0.9 * 3 / 12 * 0.25)
    assert estimate.low < estimate.value < estimate.high


@pytest.mark.parametrize("prevalence", [None, 0.2])
def test_patients_with_like_images_widen_the_interval(prevalence: float | None) -> None:
    truth, probability, patients = np.repeat(TRUTH, 5), np.repeat(PROBABILITY, 5), np.repeat(np.arange(20), 5)
    (alone,) = net_benefit(truth, probability, [0.2], prevalence=prevalence)
    (clustered,) = net_benefit(truth, probability, [0.2], patients, prevalence=prevalence)
    assert clustered.high - clustered.low > 1.7 * (alone.high - alone.low)


@pytest.mark.parametrize("threshold", [1.0, -0.1, 2.0])
def test_a_threshold_without_odds_is_refused(threshold: float) -> None:
    with pytest.raises(DataError, match=f"threshold probability {threshold:g}"):
        net_benefit(TRUTH, PROBABILITY, [threshold])


def test_without_a_class_only_the_own_prevalence_has_a_net_benefit() -> None:
    zeros = np.zeros(5)
    assert net_benefit(zeros, np.full(5, 0.9), [0.5])[0].value == -1
    assert net_benefit(zeros, np.full(5, 0.9), [0.5], prevalence=0.1)[0].status == "not_estimable"


def test_of_no_image_there_is_no_net_benefit() -> None:
    assert net_benefit(np.zeros(0), np.zeros(0), [0.5])[0].status == "not_estimable"


@pytest.mark.parametrize("prevalence", [None, 0.2])
def test_images_of_one_single_patient_give_no_interval(prevalence: float | None) -> None:
    assert net_benefit(TRUTH, PROBABILITY, [0.5], np.zeros(20), prevalence=prevalence)[0].low is None


def test_another_prevalence_has_the_error_of_both_rates() -> None:
    (estimate,) = net_benefit(TRUTH, PROBABILITY, [0.2], prevalence=0.1)
    variance = (0.1**2 * 0.75 * 0.25 / 8 + (0.9 * 0.25) ** 2 * 0.25 * 0.75 / 12) * 20 / 19
    assert estimate.high - estimate.value == pytest.approx(2.364624252 * variance**0.5)  # t(7): of 8 positives
