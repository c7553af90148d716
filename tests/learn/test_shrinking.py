import numpy as np
import pytest

from effmed.learn.loader import train_batches
from effmed.learn.shrinking import shrink, side_factor
from effmed.recipe import AugmentSettings
from tests.learn import make


def test_sides_grow_in_four_stages_to_the_whole():
    plan = make.plan(epochs=8, progressive=0.4)
    factors = [side_factor(plan, epoch) for epoch in range(8)]
    assert factors == pytest.approx([0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1.0, 1.0])
    assert [side_factor(make.plan(epochs=8), epoch) for epoch in range(8)] == [1.0] * 8


def test_the_last_stage_learns_from_whole_images_exactly():
    for hundredths in range(20, 101):
        plan = make.plan(epochs=8, progressive=hundredths / 100)
        assert side_factor(plan, 7) == 1.0


def test_shrinking_keeps_the_mean_grey_and_the_type():
    chance = np.random.default_rng(0)
    for dtype, largest in ((np.uint8, 255), (np.uint16, 65535)):
        pixels = chance.integers(0, largest, (64, 96)).astype(dtype)
        small = shrink(pixels, 0.5)
        assert small.shape == (32, 48)
        assert small.dtype == dtype
        assert float(small.mean()) == pytest.approx(float(pixels.mean()), rel=0.01)
    assert shrink(pixels, 1.0) is pixels


def test_the_first_epochs_learn_from_smaller_images_and_the_last_from_whole_ones():
    plan = make.plan(epochs=4, progressive=0.5, augment=AugmentSettings())
    sides = [next(train_batches(make.images(8), plan, epoch)).inputs.shape[-1] for epoch in range(4)]
    assert sides == [16, 16, 24, 32]


def test_no_side_grows():
    assert shrink(np.zeros((150, 61), np.uint8), 0.99).shape == (144, 56)
    assert shrink(np.zeros((6, 64), np.uint8), 0.5).shape == (6, 32)
