import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import make_divisible

from effmed.learn.scaling.law import (
    ALPHA,
    BETA,
    GAMMA,
    compound_scaling,
    round_channels,
    round_layers,
    round_resolution,
)


def test_each_step_of_phi_doubles_the_work_about():
    assert compound_scaling(1.0) == (ALPHA, BETA, GAMMA)
    depth, width, resolution = compound_scaling(1.0)
    assert depth * width**2 * resolution**2 == pytest.approx(2.0, abs=0.1)


def test_phi_zero_is_the_base_network():
    assert compound_scaling(0.0) == (1.0, 1.0, 1.0)


def test_steps_of_phi_multiply():
    there, back, whole = compound_scaling(1.7), compound_scaling(0.8), compound_scaling(2.5)
    assert [a * b for a, b in zip(there, back, strict=True)] == pytest.approx(whole)


@pytest.mark.parametrize(
    ("channels", "width", "rounded"),
    [(32, 1.1, 32), (24, 1.1, 24), (320, 1.1, 352), (16, 1.2, 24), (40, 1.4, 56), (1280, 2.0, 2560), (1, 1.0, 8)],
)
def test_channels_are_rounded_as_in_the_reference(channels, width, rounded):
    assert round_channels(channels, width) == rounded


def test_halves_are_rounded_up():
    assert round_channels(20, 1.0) == 24


def test_a_rounding_that_loses_more_than_a_tenth_goes_up_unless_the_table_allows_it():
    assert round_channels(16, 1.2) == 24  # 19.2 is nearer to 16, which is 83 % of it
    assert round_channels(16, 1.2, kept_fraction=0.0) == 16


@given(st.integers(1, 3000), st.floats(0.25, 6.0))
def test_channels_are_multiples_of_eight_and_at_least_nine_tenths(channels, width):
    rounded = round_channels(channels, width)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels * width
    assert rounded <= channels * width + 8
    assert rounded == make_divisible(channels * width)  # timm's own


@pytest.mark.parametrize(("layers", "depth", "rounded"), [(1, 1.0, 1), (1, 1.1, 2), (3, 1.4, 5), (4, 3.1, 13)])
def test_layers_are_rounded_up(layers, depth, rounded):
    assert round_layers(layers, depth) == rounded


def test_the_side_is_the_laws_to_the_nearest_multiple_of_eight():
    assert [round_resolution(phi) for phi in (0.0, 1.0, 2.5, 3.0)] == [224, 256, 320, 344]
    for step in range(71):
        wanted = 224 * compound_scaling(step / 10)[2]
        assert abs(round_resolution(step / 10) - wanted) <= 4
