import numpy as np
import torch

from effmed.learn.loader import batch_members, ordered_batches, train_batches
from effmed.recipe import AugmentSettings
from tests.learn import make


def test_every_image_is_seen_once_per_epoch():
    batches = list(train_batches(make.images(24), make.plan(), epoch=0))
    assert sum(len(batch.truth) for batch in batches) == 24
    assert sum(int(batch.truth.sum()) for batch in batches) == 12


def test_order_and_changes_depend_on_seed_and_epoch_only():
    plan, pictures = make.plan(augment=AugmentSettings()), make.images(24)
    first, again = (list(train_batches(pictures, plan, epoch=3)) for _ in range(2))
    assert all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.truth, b.truth) for a, b in zip(first, again, strict=True)
    )
    other = next(train_batches(pictures, plan, epoch=4))
    assert not torch.equal(first[0].inputs, other.inputs)


def test_a_last_batch_of_one_image_is_left_out():
    plan, pictures = make.plan(), make.images(17)
    assert len(list(train_batches(pictures, plan, epoch=0))) == len(batch_members(pictures, plan, 0)) == 2


def test_ordered_batches_keep_the_order():
    pictures = make.images(20)
    found = torch.cat(list(ordered_batches(pictures, make.plan())))
    expected = np.float32(pictures.pixels) / 255 * 2 - 1
    assert np.allclose(found[:, 0].numpy(), expected, atol=1e-6)
