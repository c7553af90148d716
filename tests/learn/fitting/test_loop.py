import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from effmed.errors import RecipeError
from effmed.learn.bundle import weights_digest
from effmed.learn.fitting import Epoch, Step, fit, fit_steps, predict_logits, start_training
from effmed.learn.fitting.checkpoints import read_checkpoint, write_checkpoint
from effmed.learn.fitting.loop import learning_rate_factor
from effmed.learn.network import build_network
from tests.learn import make


def trained(plan, train=None, val=None):
    torch.manual_seed(plan.seed)
    state = start_training(build_network(plan), plan)
    return state, list(fit(state, train or make.images(24), val or make.images(12, seed=1), plan))


def test_the_same_seed_gives_the_same_weights():
    digests = {weights_digest(trained(make.plan(dropout=0.2))[0].network) for _ in range(2)}
    assert len(digests) == 1


def test_another_seed_gives_other_weights():
    digests = {weights_digest(trained(make.plan(seed=seed))[0].network) for seed in (0, 1)}
    assert len(digests) == 2


def test_a_separable_set_is_learned():
    _, epochs = trained(make.plan(epochs=8), make.images(64), make.images(32, seed=1))
    assert max(epoch.val_score for epoch in epochs) > 0.9


def test_shuffled_labels_are_not():
    val = make.images(200, seed=1, separable=False)
    _, epochs = trained(make.plan(epochs=4), make.images(64, separable=False), val)
    assert 0.3 < epochs[-1].val_score < 0.7


def test_three_classes_are_learned():
    plan = make.plan(
        task="multiclass",
        classes=("a", "b", "c"),
        imbalance=make.imbalance(3, n_logits=3),
        loss="cross-entropy",
        epochs=8,
    )
    _, epochs = trained(plan, make.images(63, n_classes=3), make.images(30, seed=1, n_classes=3))
    assert max(epoch.val_score for epoch in epochs) > 0.9


def test_training_stops_when_the_score_no_longer_rises():
    _, epochs = trained(make.plan(epochs=30, patience=2, learning_rate=1e-9))
    assert len(epochs) < 30


def test_the_best_epoch_is_the_one_with_the_largest_score():
    state, epochs = trained(make.plan(epochs=4, metric="log_loss"))
    scores = [epoch.val_score for epoch in epochs]
    assert state.best_epoch == 1 + int(np.argmax(scores))
    assert all(epoch.val_score == -epoch.val_loss for epoch in epochs)


def test_every_step_is_an_item():
    plan = make.plan(epochs=2)
    state = start_training(build_network(plan), plan)
    moments = list(fit_steps(state, make.images(24), make.images(12), plan))
    steps = [(moment.epoch, moment.step, moment.n_steps) for moment in moments if isinstance(moment, Step)]
    assert steps == [(epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)]
    assert [isinstance(moment, Epoch) for moment in moments] == [False, False, False, True] * 2
    assert moments[2].loss == pytest.approx(moments[3].train_loss)


def test_resuming_gives_the_weights_of_the_uninterrupted_training(tmp_path):
    plan = make.plan(epochs=4, dropout=0.3)
    whole, _ = trained(plan)
    torch.manual_seed(plan.seed)
    state = start_training(build_network(plan), plan)
    for epoch in fit(state, make.images(24), make.images(12, seed=1), plan):
        write_checkpoint(tmp_path, state, state.network.state_dict())
        if epoch.number == 2:
            break
    torch.manual_seed(99)
    again = start_training(build_network(plan), plan)
    read_checkpoint(tmp_path, again)
    assert [epoch.number for epoch in fit(again, make.images(24), make.images(12, seed=1), plan)] == [3, 4]
    assert weights_digest(again.network) == weights_digest(whole.network)


def test_a_loss_that_is_no_number_stops_the_training():
    plan = make.plan()
    state = start_training(build_network(plan), plan)
    torch.nn.init.constant_(state.network.classifier.bias, math.nan)
    with pytest.raises(RecipeError, match="loss is nan"):
        next(fit(state, make.images(24), make.images(12), plan))


def test_the_learning_rate_rises_then_falls_to_nothing():
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert all(a >= b for a, b in itertools.pairwise(factors[9:]))
    assert factors[-1] < 0.001


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.1])
def test_the_learning_rate_never_passes_its_peak(warmup):
    """Shares of the schedule are rounded, and fractions where time is short."""
    for n_epochs, n_steps in itertools.product(range(1, 12), range(1, 40)):
        n_total = n_epochs * n_steps
        for epoch, step in itertools.product(range(n_epochs), range(n_steps)):
            done = (epoch + step / n_steps) / n_epochs * n_total
            assert learning_rate_factor(done, n_total, warmup) <= 1
            assert learning_rate_factor(done + 0.7, n_total, warmup) <= 1


def test_several_labels_are_learnt_although_most_are_not_known():
    plan = make.plan(task="multilabel", imbalance=make.imbalance(4, n_logits=2), epochs=3)
    images = make.images(48)
    truth = np.column_stack([images.truth, 1 - images.truth])
    truth[np.random.default_rng(0).random(truth.shape) < 0.6] = -1
    truth[:8] = -1  # a batch may know nothing
    state, epochs = trained(plan, train=replace(images, truth=truth), val=replace(images, truth=truth))
    assert all(math.isfinite(epoch.train_loss) for epoch in epochs)
    assert state.best_score > 0.9


def test_a_network_that_learned_on_a_gpu_scores_where_there_is_none():
    plan = make.plan(device="cuda", precision="bfloat16")
    found = predict_logits(build_network(plan), [torch.zeros(3, 1, 32, 32)], plan)
    assert found.shape == (3, 1)
