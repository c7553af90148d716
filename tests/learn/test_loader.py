import itertools
import threading
import time

import numpy as np
import pytest
import torch

from effmed.learn.loader import Batch, ahead, batch_members, came_before, ordered_batches, prefetched, train_batches
from effmed.learn.machine.team import Team
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


def test_an_image_that_is_drawn_again_in_an_epoch_is_changed_anew():
    """Of classes that are drawn more often: as exact copies they would teach nothing."""
    drawn = make.imbalance(method="sampler", drawn=(0.2, 1.8))
    plan, pictures = make.plan(augment=AugmentSettings(), imbalance=drawn), make.images(24)
    batches = list(train_batches(pictures, plan, epoch=0))
    numbers = np.concatenate([batch.chosen for batch in batches])
    inputs = torch.cat([batch.inputs for batch in batches])
    places = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    assert max(len(place) for place in places) >= 3
    for place in places:
        assert all(not torch.equal(inputs[a], inputs[b]) for a, b in itertools.combinations(place, 2))
    firsts = np.array([place[0] for place in places])
    alone = pictures.changed_inputs(numbers[firsts], plan, 0)
    assert torch.equal(inputs[firsts], alone)  # as where it is drawn once
    resumed = list(train_batches(pictures, plan, epoch=0, first=2))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(batches[2:], resumed, strict=True))


def test_how_often_each_came_before_is_counted():
    assert came_before(np.array([3, 1, 3, 3, 1, 2])).tolist() == [0, 0, 1, 2, 1, 0]
    assert came_before(np.empty(0, dtype=np.int64)).tolist() == []


def test_a_last_batch_of_one_image_is_left_out():
    plan, pictures = make.plan(), make.images(17)
    assert len(list(train_batches(pictures, plan, epoch=0))) == len(batch_members(pictures, plan, 0)) == 2


def test_ordered_batches_keep_the_order():
    pictures = make.images(20)
    found = torch.cat(list(ordered_batches(pictures, make.plan())))
    expected = np.float32(pictures.pixels) / 255 * 2 - 1
    assert np.allclose(found[:, 0].numpy(), expected, atol=1e-6)


def test_the_device_makes_of_images_and_changes_what_the_cpu_makes():
    plan = make.plan(augment=AugmentSettings(horizontal_flip=True), imbalance=make.imbalance(augment=(1.0, 2.0)))
    pictures = make.images(24)
    chosen = np.arange(5, 13)
    expected = pictures.changed_inputs(chosen, plan, 3)
    inputs, changes = pictures.changes(chosen, plan, 3)
    assert inputs.dtype == torch.uint8
    batch = Batch(chosen, inputs, changes, torch.from_numpy(pictures.truth[chosen]), 8)
    found = list(batch.parts(3, plan))
    assert [len(truth) for _, truth in found] == [3, 3, 2]
    together = torch.cat([part for part, _ in found])
    assert together.shape == expected.shape
    assert float((together - expected).abs().mean()) < 2 * 0.5 / 255  # half a grey level, of which 255 make 2
    assert float((together - expected).abs().max()) < 2 * 2 / 255


def test_batches_made_ahead_are_the_same_and_errors_arrive():
    plan, pictures = make.plan(), make.images(24)
    expected = list(train_batches(pictures, plan, 0))
    found = list(prefetched(train_batches(pictures, plan, 0)))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(found, expected, strict=True))

    def broken():
        yield expected[0]
        raise ValueError("the disk is gone")

    batches = prefetched(broken())
    assert next(batches) is expected[0]
    with pytest.raises(ValueError, match="the disk is gone"):
        next(batches)


def test_the_thread_ends_when_nobody_wants_batches_any_more():
    before = threading.active_count()
    plan = make.plan(batch_size=2)
    batches = prefetched(train_batches(make.images(24), plan, 0), depth=1)
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == before


def test_a_cpu_takes_batches_one_by_one():
    batches = train_batches(make.images(24), make.plan(), 0)
    assert ahead(batches, "cpu") is batches


def test_processes_have_the_whole_batch_between_them():
    plan, pictures = make.plan(), make.images(24)
    whole = list(train_batches(pictures, plan, 1))
    parts = [list(train_batches(pictures, plan, 1, team=Team(rank, 2))) for rank in range(2)]
    for one, *shared in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([batch.inputs for batch in shared]), one.inputs)
        assert {batch.n_terms for batch in shared} == {one.n_terms} == {8}
    assert [batch.chosen.tolist() for batch in list(train_batches(pictures, plan, 1, first=2))] == [
        whole[2].chosen.tolist()
    ]


def test_a_last_batch_too_small_for_all_processes_is_left_out():
    plan, pictures = make.plan(), make.images(19)
    assert [len(each) for each in batch_members(pictures, plan, 0, 1)] == [8, 8, 3]
    assert [len(each) for each in batch_members(pictures, plan, 0, 2)] == [8, 8]
