import numpy as np
import torch

from effmed.learn.loader import n_steps, ordered_batches, train_batches
from effmed.recipe import AugmentSettings
from tests.learn import make


def test_every_image_is_seen_once_per_epoch():
    batches = list(train_batches(make.images(24), make.plan(), epoch=0))
    assert sum(len(truth) for _, truth in batches) == 24
    assert sum(int(truth.sum()) for _, truth in batches) == 12


def test_order_and_changes_depend_on_seed_and_epoch_only():
    plan, pictures = make.plan(augment=AugmentSettings()), make.images(24)
    first, again = (list(train_batches(pictures, plan, epoch=3)) for _ in range(2))
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    other = next(train_batches(pictures, plan, epoch=4))
    assert not torch.equal(first[0][0], other[0])


def test_a_last_batch_of_one_image_is_left_out():
    plan, pictures = make.plan(), make.images(17)
    assert len(list(train_batches(pictures, plan, epoch=0))) == n_steps(pictures, plan) == 2


def test_the_number_of_steps_is_the_number_of_batches():
    for n in range(1, 26):
        pictures = make.images(n)
        assert len(list(train_batches(pictures, make.plan(), epoch=0))) == n_steps(pictures, make.plan())


def test_ordered_batches_keep_the_order():
    pictures = make.images(20)
    found = torch.cat(list(ordered_batches(pictures, make.plan())))
    expected = np.float32(pictures.pixels) / 255 * 2 - 1
    assert np.allclose(found[:, 0].numpy(), expected, atol=1e-6)
