from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.special import expit, logit

from effmed.evaluate.calibrators import Affine, Beta, Each, Map, Steps, VennAbers
from effmed.evaluate.calibrators.maps import apply_map

AFFINE = Affine(scale=(0.5,), bias=(-1.0,))
BETA = Beta(a=0.4, b=0.6, c=-0.3)
STEPS = Steps(at=(-2.0, -1.0, 1.0), probability=(0.0, 0.25, 1.0), clip=0.01)
VENN = VennAbers(at=(-1.0, 1.0), low=(0.0, 0.2, 0.7), high=(0.1, 0.3, 1.0), grid=0.0)
ONE = pytest.mark.parametrize("each", [AFFINE, BETA, STEPS, VENN, Each(maps=(BETA,))], ids=lambda each: each.kind)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def probability(each: Map, *values: float) -> np.ndarray:
    return expit(apply_map(each, column(*values)))[:, 0]


@ONE
def test_a_map_survives_json_and_is_told_by_its_kind(each: Map) -> None:
    reader: TypeAdapter[Map] = TypeAdapter(Map)
    assert reader.validate_json(each.model_dump_json()) == each


@ONE
def test_what_is_missing_stays_missing_and_the_infinite_becomes_no_such_thing(each: Map) -> None:
    mapped = apply_map(each, column(np.nan, np.inf, -np.inf, 0.0))
    assert np.isnan(mapped[:, 0]).tolist() == [True, False, False, False]


@ONE
@given(first=st.floats(-800, 800), second=st.floats(-800, 800))
def test_ranks_stay_or_become_ties(each: Map, first: float, second: float) -> None:
    lower, higher = apply_map(each, column(min(first, second), max(first, second)))[:, 0]
    assert lower <= higher


def test_affine_has_a_scale_and_a_bias_per_column() -> None:
    mapped = apply_map(Affine(scale=(2.0, 3.0), bias=(1.0, 0.0)), np.array([[1.0, 1.0]]))
    assert mapped.tolist() == [[3.0, 3.0]]


def test_beta_is_the_published_curve() -> None:
    p = np.array([0.02, 0.5, 0.9])
    wanted = 1 / (1 + 1 / (np.exp(-0.3) * p**0.4 / (1 - p) ** 0.6))
    np.testing.assert_allclose(probability(BETA, *logit(p)), wanted)


def test_beta_without_a_coefficient_has_a_limit_and_no_hole() -> None:
    assert apply_map(Beta(a=0.0, b=1.0, c=0.5), column(-np.inf))[0, 0] == 0.5
    assert apply_map(Beta(a=1.0, b=0.0, c=0.5), column(np.inf))[0, 0] == 0.5


def test_steps_run_straight_over_the_probability_and_stay_beyond_the_ends() -> None:
    middle = (expit(-1) + expit(1)) / 2
    values = probability(STEPS, -50.0, -1.0, float(logit(middle)), 1.0, 50.0)
    np.testing.assert_allclose(values, [0.01, 0.25, 0.625, 0.99, 0.99])


def test_venn_abers_merges_its_two_probabilities() -> None:
    np.testing.assert_allclose(probability(VENN, 0.0), 0.3 / (1 - 0.2 + 0.3))


def test_at_a_calibration_logit_the_pair_is_the_narrow_one() -> None:
    np.testing.assert_allclose(probability(VENN, -1.0), 0.1 / (1 - 0.2 + 0.1))


def test_each_column_has_its_own_map() -> None:
    logits = np.array([[0.3, -0.7], [np.nan, 2.0]])
    mapped = apply_map(Each(maps=(BETA, STEPS)), logits)
    np.testing.assert_array_equal(mapped[:, :1], apply_map(BETA, logits[:, :1]))
    np.testing.assert_array_equal(mapped[:, 1:], apply_map(STEPS, logits[:, 1:]))


@pytest.mark.parametrize(
    "damaged",
    [
        {"kind": "affine", "scale": [0.0], "bias": [0.0]},
        {"kind": "affine", "scale": [1.0, 1.0], "bias": [0.0]},
        {"kind": "affine", "scale": [1.0], "bias": ["nan"]},
        {"kind": "beta", "a": -1.0, "b": 1.0, "c": 0.0},
        {"kind": "steps", "at": [0.0, 0.0], "probability": [0.1, 0.2], "clip": 0.0},
        {"kind": "steps", "at": [0.0, 1.0], "probability": [0.2, 0.1], "clip": 0.0},
        {"kind": "steps", "at": [0.0, 1.0], "probability": [0.2], "clip": 0.0},
        {"kind": "venn-abers", "at": [0.0], "low": [0.1], "high": [0.2], "grid": 0.0},
        {"kind": "each", "maps": [{"kind": "each", "maps": []}]},
        {"kind": "spline", "at": [0.0]},
    ],
    ids=lambda damaged: f"{damaged['kind']} {len(str(damaged))}",
)
def test_a_damaged_map_is_refused(damaged: dict[str, object]) -> None:
    reader: TypeAdapter[Map] = TypeAdapter(Map)
    with pytest.raises(ValidationError):
        reader.validate_python(damaged)


def test_maps_say_what_they_do() -> None:
    assert AFFINE.text == "scale 0.5, bias -1"
    assert Each(maps=(BETA, STEPS)).text == "a 0.4, b 0.6, c -0.3 | 3 points, at least 0.01 from 0 and 1"
    assert VENN.text == "3 pairs of probabilities"
