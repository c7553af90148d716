import numpy as np
import pytest
import torch

from effmed.learn.transforms import augment, make_augmentation, to_input
from effmed.recipe import AugmentSettings

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)


def test_the_same_seed_gives_the_same_change():
    augmentation = make_augmentation(AugmentSettings())
    first = augment(augmentation, PICTURE, seed=(0, 1, 2))
    augment(augmentation, PICTURE, seed=(9, 9, 9))
    assert np.array_equal(first, augment(augmentation, PICTURE, seed=(0, 1, 2)))


def test_another_seed_gives_another_change():
    augmentation = make_augmentation(AugmentSettings())
    assert not np.array_equal(*(augment(augmentation, PICTURE, seed=(0, 1, i)) for i in (1, 2)))


def test_nothing_is_mirrored_by_default():
    still = AugmentSettings(
        rotation_degrees=0, shift_fraction=0, scale_fraction=0, brightness_fraction=0, contrast_fraction=0
    )
    augmentation = make_augmentation(still)
    assert all(np.array_equal(augment(augmentation, PICTURE, seed=(i,)), PICTURE) for i in range(8))


def test_mirrors_can_be_asked_for():
    settings = AugmentSettings(
        horizontal_flip=True,
        rotation_degrees=0,
        shift_fraction=0,
        scale_fraction=0,
        brightness_fraction=0,
        contrast_fraction=0,
    )
    changed = [augment(make_augmentation(settings), PICTURE, seed=(i,)) for i in range(12)]
    assert any(np.array_equal(c, PICTURE[:, ::-1]) for c in changed)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_grey_range_becomes_minus_one_to_one(dtype, largest):
    pixels = np.array([[[0, largest]]], dtype=dtype)
    assert to_input(pixels, (0.5,), (0.5,)).flatten().tolist() == pytest.approx([-1.0, 1.0])


def test_sixteen_bits_keep_their_levels_into_the_tensor():
    ramp = np.arange(4096, dtype=np.uint16).reshape(1, 64, 64) * 16
    assert len(torch.unique(to_input(ramp, (0.5,), (0.5,)))) == 4096


def test_sixteen_bits_keep_their_levels_through_augmentation():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    still = AugmentSettings(rotation_degrees=0, shift_fraction=0, scale_fraction=0)
    changed = augment(make_augmentation(still), ramp, seed=(0,))
    assert changed.dtype == np.float32
    assert len(np.unique(changed)) > 1000


def test_colour_goes_to_channels_first():
    pixels = np.zeros((2, 4, 6, 3), dtype=np.uint8)
    pixels[..., 2] = 255
    batch = to_input(pixels, (0.0,) * 3, (1.0,) * 3)
    assert batch.shape == (2, 3, 4, 6)
    assert batch[:, 2].unique().tolist() == [1.0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_channels_are_changed_alike(n, dtype):
    augmentation = make_augmentation(AugmentSettings(horizontal_flip=True, vertical_flip=True))
    channels = np.repeat(PICTURE.astype(dtype)[:, :, np.newaxis], n, axis=2)
    changed = augment(augmentation, channels, seed=(4,))
    assert changed.shape == (24, 32, n)
    assert not np.array_equal(changed, channels)
    assert all(np.array_equal(changed[..., channel], changed[..., 0]) for channel in range(n))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_every_channel_has_its_own_mean_and_deviation(n):
    pixels = np.full((1, 4, 6, n), 65535, dtype=np.uint16)
    batch = to_input(pixels, tuple(np.arange(n) / 10), tuple(np.arange(n) + 1.0))
    assert batch.shape == (1, n, 4, 6)
    assert batch[0, :, 0, 0].tolist() == pytest.approx([(1 - k / 10) / (k + 1) for k in range(n)])
