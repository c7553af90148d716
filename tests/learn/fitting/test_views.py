"""Views at test: the first is the image, the others are the same changes of every image, whatever stands beside it."""

import numpy as np
import pytest
import torch

from effmed.apply.predict import score_pixels
from effmed.learn.bundle import Bundle, read_sheet
from effmed.learn.fitting import mean_over_views, predict_logits, predict_views
from effmed.learn.loader import ordered_batches
from effmed.learn.network import build_network
from effmed.learn.transforms import view_of
from effmed.recipe import AugmentSettings
from tests.learn import make


def plan(n_views=3, seed=0, **changes):
    settings = AugmentSettings(rotation_degrees=30, horizontal_flip=True, test_views=n_views)
    return make.plan(augment=settings, seed=seed, **changes)


@pytest.fixture(scope="module")
def network():
    """With logits about 1: those of a fresh head are near 0."""
    torch.manual_seed(0)
    made = build_network(make.plan()).eval()
    torch.nn.init.normal_(made.get_classifier().weight, std=100.0)
    return made


def test_the_first_view_is_the_image_and_the_others_are_the_same_change_of_every_image():
    pixels = make.images(6).pixels
    twice = np.concatenate([pixels[:1], pixels, pixels[:1]])
    assert np.array_equal(view_of(twice, plan(), 0), twice)
    for view in (1, 2):
        seen = view_of(twice, plan(), view)
        assert np.array_equal(seen[0], seen[-1])
        assert np.array_equal(seen[3], view_of(twice[3:4], plan(), view)[0])
        assert not np.array_equal(seen, twice)
    assert not np.array_equal(view_of(twice, plan(), 1), view_of(twice, plan(), 2))


def test_views_depend_on_the_seed():
    pixels = make.images(2).pixels
    assert not np.array_equal(view_of(pixels, plan(seed=0), 1), view_of(pixels, plan(seed=1), 1))


def test_images_of_16_bits_keep_their_levels():
    pixels = make.images(2).pixels.astype(np.uint16) * 257
    changed = view_of(pixels, plan(), 1)
    assert changed.dtype == np.float32
    assert changed.max() <= 1
    assert np.allclose(changed, view_of(make.images(2).pixels, plan(), 1) / 255, atol=0.01)


def test_logits_are_the_mean_over_the_views(network):
    wanted, images = plan(), make.images(9)
    each = []
    for view in range(3):
        seen = make.Images(view_of(images.pixels, wanted, view), images.rows, images.truth)
        each.append(predict_logits(network, ordered_batches(seen, wanted), wanted))
    found = predict_views(network, images, wanted)
    assert found.dtype == np.float32
    assert np.allclose(found, np.mean(each, axis=0), atol=1e-5)
    assert not np.allclose(found, each[0], atol=1e-2)


def test_one_view_changes_nothing(network):
    images = make.images(9)
    plain = predict_logits(network, ordered_batches(images, plan(1)), plan(1))
    assert np.array_equal(predict_views(network, images, plan(1)), plain)
    assert mean_over_views(lambda _: plain, plan(1)) is plain


def test_an_image_has_the_same_logits_in_any_company(network, tmp_path):
    wanted, pixels = plan(), make.images(40).pixels
    bundle = Bundle(read_sheet(make.bundle(tmp_path / "b", wanted)), wanted, network)
    every = score_pixels(bundle, pixels)
    assert np.array_equal(score_pixels(bundle, pixels), every)
    assert np.array_equal(score_pixels(bundle, pixels[::-1])[::-1], every)
    for chosen in ([35], [3, 1], list(range(5, 38))):
        assert np.array_equal(score_pixels(bundle, pixels[chosen]), every[chosen])


def test_training_and_prediction_see_the_same_views(network, tmp_path):
    wanted, images = plan(batch_size=4), make.images(10)
    bundle = Bundle(read_sheet(make.bundle(tmp_path / "b", wanted)), wanted, network)
    assert np.allclose(predict_views(network, images, wanted), score_pixels(bundle, images.pixels), atol=1e-5)
