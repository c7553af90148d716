from dataclasses import replace

import albumentations as A  # noqa: N812  the name its documentation uses
import cv2
import numpy as np
import pytest
import torch

from effmed.learn.transforms import (
    augment,
    changed_on_device,
    draw_change,
    make_augmentation,
    normalised,
    packed,
    stacked,
    strengthened,
    to_input,
)
from effmed.learn.transforms.cpu import changed
from effmed.recipe import AugmentSettings

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
STILL = AugmentSettings(
    rotation_degrees=0, shift_fraction=0, scale_fraction=0, brightness_fraction=0, contrast_fraction=0
)
STRONG = AugmentSettings(
    horizontal_flip=True,
    vertical_flip=True,
    rotation_degrees=40,
    shift_fraction=0.1,
    scale_fraction=0.3,
    brightness_fraction=0.2,
    contrast_fraction=0.3,
)


def smooth(n=1, *, size=(48, 64), channels=None, dtype=np.uint8):
    """Pictures without sharp edges: interpolation between their pixels leaves little to disagree about."""
    shape = (n, 6, 8) if channels is None else (n, 6, 8, channels)
    coarse = np.random.default_rng(7).random(shape).astype(np.float32)
    fine = np.stack([cv2.resize(each, size[::-1], interpolation=cv2.INTER_CUBIC) for each in coarse])
    fine = fine.reshape(n, *size, *shape[3:])
    return np.rint(fine.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def test_the_same_seed_gives_the_same_change():
    augmentation = make_augmentation(AugmentSettings())
    first = augment(augmentation, PICTURE, seed=(0, 1, 2))
    augment(augmentation, PICTURE, seed=(9, 9, 9))
    assert np.array_equal(first, augment(augmentation, PICTURE, seed=(0, 1, 2)))


def test_another_seed_gives_another_change():
    augmentation = make_augmentation(AugmentSettings())
    assert not np.array_equal(*(augment(augmentation, PICTURE, seed=(0, 1, i)) for i in (1, 2)))


def test_nothing_is_mirrored_by_default():
    augmentation = make_augmentation(STILL)
    assert all(np.array_equal(augment(augmentation, PICTURE, seed=(i,)), PICTURE) for i in range(8))


def test_left_and_right_change_places_whether_or_not_top_and_bottom_do():
    augmentation = make_augmentation(STILL.model_copy(update={"horizontal_flip": True, "vertical_flip": True}))
    known = [PICTURE, PICTURE[:, ::-1], PICTURE[::-1], PICTURE[::-1, ::-1]]
    found = [augment(augmentation, PICTURE, seed=(i,)) for i in range(400)]
    counts = [sum(np.array_equal(each, picture) for each in found) for picture in known]
    assert sum(counts) == 400
    assert min(counts) > 70


def test_what_is_drawn_is_independent_of_each_other():
    mirrored = make_augmentation(STRONG)
    plain = replace(mirrored, mirrors=(0.0, 0.0))
    changes = [draw_change(plain, (100, 100), seed=(0, i)) for i in range(500)]
    middle = np.array([change.matrix @ (49.5, 49.5, 1) for change in changes])
    maps = np.array([change.matrix[:, :2] for change in changes])
    angles = np.arctan2(-maps[:, 1, 0], maps[:, 0, 0])
    scales = np.linalg.norm(maps, axis=1)
    flipped = [draw_change(mirrored, (100, 100), seed=(0, i)).matrix[:, :2] for i in range(500)]
    is_mirrored = (np.array(flipped) * maps < 0)[:, :, 0]
    shades = [(change.contrast, change.brightness) for change in changes]
    drawn = np.column_stack((middle, angles, scales, is_mirrored, shades))
    assert drawn.shape == (500, 9)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(9)).max() < 0.2


def test_what_is_drawn_fills_its_ranges_and_stays_within():
    augmentation = make_augmentation(AugmentSettings())
    changes = [draw_change(augmentation, (100, 200), seed=(i,)) for i in range(500)]
    angles = [np.degrees(np.arctan2(-change.matrix[1, 0], change.matrix[0, 0])) for change in changes]
    lengths = np.linalg.norm([change.matrix[:, :2] for change in changes], axis=1)
    shifts = np.array([change.matrix @ (99.5, 49.5, 1) for change in changes]) - (99.5, 49.5)
    for found, low, high in (
        (angles, -10, 10),
        (lengths[:, 0], 0.9, 1.1),
        (lengths[:, 1], 0.9, 1.1),
        (shifts[:, 0], -10, 10),
        (shifts[:, 1], -5, 5),
        ([change.contrast for change in changes], 0.85, 1.15),
        ([change.brightness for change in changes], -0.1, 0.1),
    ):
        slack = 0.02 * (high - low)
        assert low <= np.min(found) < low + slack
        assert high - slack < np.max(found) <= high


def test_strengthened_ranges_are_wider_and_mirrors_stay():
    wider = strengthened(AugmentSettings(rotation_degrees=100, contrast_fraction=0.2), 2.0)
    assert (wider.rotation_degrees, wider.contrast_fraction, wider.horizontal_flip) == (180.0, 0.4, False)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_change_is_what_albumentations_makes_of_the_same_numbers(dtype):
    """Its own drawing is not used: with one seed it draws shift, mirrors and contrast from the same numbers."""
    degrees, scale, shift, contrast, brightness = 12.0, (1.2, 0.9), (5, -3), 0.2, 0.1
    fixed = A.Compose(
        [
            A.Affine(
                rotate=(degrees, degrees),
                scale={"x": (scale[0],) * 2, "y": (scale[1],) * 2},
                translate_px={"x": (shift[0],) * 2, "y": (shift[1],) * 2},
                p=1.0,
            ),
            A.HorizontalFlip(p=1.0),
            A.RandomBrightnessContrast((brightness, brightness), (contrast, contrast), p=1.0),
        ]
    )
    picture = smooth()[0] if dtype == np.uint8 else smooth()[0] / np.float32(255)
    numbers = np.array([degrees, shift[0] / 64, shift[1] / 48, *scale, 1 + contrast, brightness])
    augmentation = replace(make_augmentation(STILL), low=numbers, high=numbers, mirrors=(1.0, 0.0))
    ours = augment(augmentation, picture, seed=(0,))
    theirs = fixed(image=picture)["image"]
    largest = 255 if dtype == np.uint8 else 1
    assert ours.dtype == theirs.dtype == dtype
    assert np.abs(ours.astype(float) - theirs.astype(float)).max() <= 2 / 255 * largest


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (33, 33)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 1, 3, 5])
def test_a_batch_is_changed_on_the_device_as_each_image_is_on_the_cpu(size, dtype, channels):
    pictures = smooth(12, size=size, channels=channels, dtype=dtype)
    augmentation = make_augmentation(STRONG)
    changes = [draw_change(augmentation, size, seed=(3, i)) for i in range(12)]
    one_by_one = np.stack([augment(augmentation, each, seed=(3, i)) for i, each in enumerate(pictures)])
    found = changed_on_device(stacked(pictures), packed(changes))
    expected = stacked(one_by_one).float() / (255 if dtype == np.uint8 else 1)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    tolerance = 1.5 / 255 if dtype == np.uint8 else 2e-3
    assert float((found - expected).abs().max()) < tolerance
    assert float((expected - stacked(pictures).float() / (255 if dtype == np.uint8 else 1)).abs().max()) > 0.2


def test_a_batch_that_is_not_to_be_changed_stays_as_it_is():
    pictures = smooth(3)
    still = [draw_change(make_augmentation(STILL), (48, 64), seed=(i,)) for i in range(3)]
    found = changed_on_device(stacked(pictures), packed(still))
    assert torch.allclose(found, stacked(pictures) / 255, atol=1e-5)


def test_a_change_on_the_device_does_not_depend_on_the_batch():
    pictures, augmentation = smooth(4), make_augmentation(STRONG)
    changes = [draw_change(augmentation, (48, 64), seed=(0, i)) for i in range(4)]
    together = changed_on_device(stacked(pictures), packed(changes))
    alone = [changed_on_device(stacked(pictures[i : i + 1]), packed(changes[i : i + 1])) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_changing_a_batch_leaves_it_as_it_was():
    pictures = torch.rand(2, 1, 8, 8)
    before = pictures.clone()
    changes = [draw_change(make_augmentation(STRONG), (8, 8), seed=(i,)) for i in range(2)]
    changed_on_device(pictures, packed(changes))
    normalised(pictures, (0.5,), (0.5,))
    assert torch.equal(pictures, before)


def test_grey_levels_are_rounded_after_a_change():
    """Cutting off what is behind the point would darken every training image by half a level."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    brighter = changed(ramp, replace(draw_change(make_augmentation(STILL), (16, 16), seed=(0,)), contrast=0.996))
    assert np.abs(brighter - 0.996 * ramp).max() <= 0.5


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(3, 8, 6), (3, 8, 6, 3)])
def test_pixels_that_travel_before_they_are_normalised_become_the_same_numbers(dtype, shape):
    largest = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (np.random.default_rng(0).random(shape) * largest).astype(dtype)
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if len(shape) == 4 else ((0.449,), (0.226,))
    unit = torch.from_numpy(np.float32(pixels)).div(largest)
    unit = unit.unsqueeze(1) if len(shape) == 3 else unit.permute(0, 3, 1, 2)
    centred = unit - torch.tensor(mean).view(1, -1, 1, 1)
    found = to_input(pixels, mean, std)
    assert torch.equal(found, centred / torch.tensor(std).view(1, -1, 1, 1))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_eight_bits_travel_as_bytes_and_share_their_memory():
    pixels = smooth(2)
    batch = stacked(pixels)
    assert batch.dtype == torch.uint8
    assert batch.data_ptr() == pixels.ctypes.data
    assert stacked(smooth(2, dtype=np.uint16)).dtype == torch.float32


def test_pixels_that_may_only_be_read_are_copied():
    pixels = smooth(2)
    pixels.flags.writeable = False
    assert stacked(pixels).data_ptr() != pixels.ctypes.data
