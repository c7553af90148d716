"""Curves as coordinates: round axes around all values, gaps where nothing is known, nothing outside the plane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effmed.evaluate.render.curves import BOTTOM, LEFT, RIGHT, TOP, Curve, Panel, draw, epoch_ticks, round_ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))


def panel(values, **more):
    return Panel("loss", "Loss.", (Curve("train", values),), list(range(1, len(values) + 1)), **more)


@given(NUMBERS, NUMBERS)
def test_ticks_enclose_all_values_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    ticks = round_ticks(low, high)
    reach = 1e-6 * max(abs(low), abs(high), high - low)
    assert ticks[0] <= low + reach
    assert ticks[-1] >= high - reach
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


def test_ticks_are_round():
    assert round_ticks(0.312, 0.689) == [0.3, 0.4, 0.5, 0.6, 0.7]
    assert round_ticks(0.0, 212.0) == [0.0, 100.0, 200.0, 300.0]
    assert round_ticks(0.0, 0.0) == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("n", "ticks"), [(1, [1]), (5, [1, 2, 3, 4, 5]), (20, [1, 5, 10, 15, 20]), (200, [1, 50, 100, 150, 200])]
)
def test_epochs_are_told_in_whole_numbers(n, ticks):
    assert epoch_ticks(n) == ticks


@pytest.mark.parametrize("n", [9, 40, 41, 100, 999, 12345])
def test_ticks_of_epochs_are_never_many(n):
    assert 3 <= len(epoch_ticks(n)) <= 9


def test_a_curve_stays_in_the_plane_and_falls_when_its_values_do():
    drawing = draw(panel([0.9, 0.5, 0.1]), 10, 3)
    (line,) = drawing.lines
    xs, ys = zip(*line.dots, strict=True)
    assert all(LEFT <= x <= RIGHT for x in xs)
    assert all(TOP <= y <= BOTTOM for y in ys)
    assert list(ys) == sorted(ys)
    assert (xs[0], drawing.best_x) == (LEFT, xs[2])


def test_an_epoch_without_a_value_is_a_gap():
    (line,) = draw(panel([0.9, 0.8, None, 0.6, 0.5]), 5, None).lines
    assert line.path.count("M") == 2


def test_of_many_epochs_only_those_that_stand_alone_are_points():
    values = [0.5] * 30 + [None, 0.4, None] + [0.3] * 30
    (line,) = draw(panel(values), len(values), None).lines
    assert len(line.dots) == 1


def test_the_interval_is_a_band_and_of_a_single_epoch_a_bar():
    several = draw(panel([0.6, 0.7], low=[0.5, 0.6], high=[0.7, 0.8]), 5, None)
    assert (several.band.count("M"), several.band[-1], several.bars) == (1, "Z", "")
    one = draw(panel([0.6, None, 0.7], low=[0.5, None, None], high=[0.7, None, 0.8]), 5, None)
    assert (one.band, one.bars.count("M")) == ("", 1)


def test_small_numbers_are_told_in_powers_of_ten():
    drawing = draw(panel([2e-4, 1e-4], from_zero=True), 2, None)
    assert drawing.lines[0].name == "train, in 10⁻⁴"
    assert [text for _, text in drawing.y_ticks] == ["0.0", "0.5", "1.0", "1.5", "2.0"]


def test_steps_of_a_quarter_keep_their_last_digit():
    assert [text for _, text in draw(panel([0.0, 1.0]), 2, None).y_ticks] == ["0.00", "0.25", "0.50", "0.75", "1.00"]


def test_little_does_not_look_like_much():
    drawing = draw(panel([0.4, 0.6], from_zero=True, at_least=10.0), 2, None)
    assert drawing.y_ticks[-1][1] == "10.0"
    assert draw(panel([40.0], from_zero=True, at_least=10.0), 2, None).y_ticks[-1][1] == "40"


def test_nothing_known_is_nothing_drawn():
    assert draw(panel([None, None]), 2, None) is None
    assert draw(panel([]), 2, None) is None
