import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from effmed.errors import MachineError, RecipeError
from effmed.learn.fitting import fit_steps, start_training
from effmed.learn.fitting.steps import take_step
from effmed.learn.fitting.steps import taking as step
from effmed.learn.loader import train_batches
from effmed.learn.machine.team import ALONE, Team
from effmed.learn.network import build_network
from tests.learn import make


def started(plan):
    torch.manual_seed(plan.seed)
    return start_training(build_network(plan), plan)


def gradients_after(plan, **state_changes):
    """The gradient that a step of 16 images leaves; batch normalisation sees no batch."""
    state = started(plan)
    for name, value in state_changes.items():
        setattr(state, name, value)
    state.network.eval()
    batch = next(train_batches(make.images(24), plan, 0))
    outcome = take_step(state, plan, batch, 1, ALONE)
    return outcome, torch.cat([each.grad.flatten() for each in state.network.parameters()])


@pytest.mark.parametrize("micro_batch", [1, 5, 8, 15])
def test_parts_of_a_batch_have_the_gradient_of_the_whole(micro_batch):
    plan = make.plan(batch_size=16)
    whole, expected = gradients_after(plan)
    parts, found = gradients_after(plan, micro_batch=micro_batch)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert float(parts.loss) == pytest.approx(float(whole.loss), rel=1e-5)
    assert float(parts.norm) == pytest.approx(float(expected.norm()), rel=1e-3)


def test_parts_with_unequal_numbers_of_known_labels_count_by_these():
    plan = make.plan(task="multilabel", imbalance=make.imbalance(4, n_logits=2), batch_size=16)
    images = make.images(24)
    truth = np.column_stack([images.truth, 1 - images.truth])
    truth[np.random.default_rng(0).random(truth.shape) < 0.6] = -1
    batch = next(train_batches(replace(images, truth=truth), plan, 0))
    assert batch.n_terms == int((batch.truth >= 0).sum())
    losses = []
    for micro_batch in (16, 3):
        state = started(plan)
        state.micro_batch = micro_batch
        state.network.eval()
        losses.append(float(take_step(state, plan, batch, 1, ALONE).loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), *map(RuntimeError, step.NO_MEMORY)])
def test_when_memory_runs_out_fewer_images_are_taken_at_a_time_and_the_step_is_the_same(error):
    plan = make.plan(batch_size=16)
    _, expected = gradients_after(plan)
    state = started(plan)
    state.network.eval()
    sizes, forward = [], state.network.forward

    def small_machine(inputs):
        sizes.append(len(inputs))
        if len(inputs) > 4:
            raise error
        return forward(inputs)

    state.forward = small_machine
    take_step(state, plan, next(train_batches(make.images(24), plan, 0)), 1, ALONE)
    assert sizes == [16, 8, 4, 4, 4, 4]
    assert state.micro_batch == 4
    found = torch.cat([each.grad.flatten() for each in state.network.parameters()])
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_scores_are_computed_in_halves_where_memory_runs_out():
    sizes = []

    def small_machine(inputs):
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inputs * 2

    images = torch.arange(7.0)[:, None]
    assert torch.equal(step.in_room(small_machine, images), images * 2)
    assert sizes == [7, 4, 2, 2, 3, 2, 1]
    with pytest.raises(MachineError, match="too small to score one image"):
        step.in_room(lambda _: small_machine(images), images)
    with pytest.raises(RuntimeError, match="mat1"):
        step.in_room(lambda part: part @ torch.zeros(2, 2), torch.zeros(1, 3))


def test_a_machine_too_small_for_two_images_is_said():
    plan = make.plan()
    state = started(plan)

    def full(_):
        raise torch.OutOfMemoryError

    state.forward = full
    batch = next(train_batches(make.images(24), plan, 0))
    with pytest.raises(MachineError, match="too small for 2 images") as caught:
        take_step(state, plan, batch, 1, ALONE)
    assert "train.micro_batch=1" in caught.value.hint
    state.micro_batch = 8
    with pytest.raises(MachineError, match="too small for 8 images"):
        take_step(state, plan, batch, 1, Team(0, 2))  # others wait in the middle of the same step


def test_another_error_of_a_step_is_not_taken_for_want_of_memory():
    plan = make.plan()
    state = started(plan)

    def wrong(_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    state.forward = wrong
    with pytest.raises(RuntimeError, match="mat1"):
        take_step(state, plan, next(train_batches(make.images(24), plan, 0)), 1, ALONE)


def test_a_loss_that_is_no_number_names_epoch_step_and_images_and_changes_no_weight():
    plan = make.plan(epochs=2)
    images = replace(make.images(24), names=tuple(f"folder/{k}.png" for k in range(24)))
    state = started(plan)
    epochs = fit_steps(state, images, make.images(12), plan)
    for _ in range(4):  # three steps and the epoch
        next(epochs)
    before = [parameter.detach().clone() for parameter in state.network.parameters()]
    learned = state.forward
    state.forward = lambda inputs: learned(inputs) * math.nan
    with pytest.raises(RecipeError, match=r"the loss is nan in epoch 2, step 1, at the images folder/") as caught:
        next(epochs)
    assert caught.value.problem.count(".png") == 8
    assert all(torch.equal(one, other) for one, other in zip(before, state.network.parameters(), strict=True))
    assert not state.is_finite  # nothing is saved from here


def test_a_gradient_that_is_no_number_is_noticed_at_its_own_step():
    plan = make.plan()
    state = started(plan)
    state.network.classifier.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(RecipeError, match=r"the gradient is (inf|nan) in epoch 1, step 1, at the images number"):
        next(fit_steps(state, make.images(24), make.images(12), plan))


def test_dropout_depends_on_seed_epoch_step_and_process():
    plan = make.plan(dropout=0.5, batch_size=16)
    batch = next(train_batches(make.images(24), plan, 0))

    def loss(step_number=1, epoch=0, seed=0, rank=0):
        state = started(plan)
        state.epoch = epoch
        team = Team(rank, 1)
        return float(take_step(state, plan.model_copy(update={"seed": seed}), batch, step_number, team).loss)

    assert loss() == loss()
    assert len({loss(), loss(step_number=2), loss(epoch=1), loss(seed=1), loss(rank=1)}) == 5


class Halving:
    """A scaler of float16 whose gradient is never a number."""

    def __init__(self):
        self.value = 2.0**16

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.value

    def scale(self, loss):
        return loss

    def step(self, optimiser):
        self.value /= 2

    def update(self):
        pass


def test_float16_that_skips_every_step_stops_the_training():
    plan = make.plan(epochs=20, patience=20)
    state = started(plan)
    state.scaler = Halving()
    steps = fit_steps(state, make.images(24), make.images(12), plan)
    with pytest.raises(RecipeError, match="no number in 20 steps in a row of epoch 7"):
        list(steps)


def test_a_loss_that_is_no_number_is_nothing_to_continue_from():
    state = started(make.plan())
    assert state.is_finite
    state.losses = [0.5, torch.tensor(math.nan)]
    assert not state.is_finite


def test_parts_move_the_running_statistics_once_per_step():
    plan = make.plan(batch_size=16)
    batch = next(train_batches(make.images(24), plan, 0))
    moved = []
    for micro_batch in (16, 4):
        state = started(plan)
        state.micro_batch = micro_batch
        state.network.train()
        take_step(state, plan, batch, 1, ALONE)
        moved.append(torch.cat([b.flatten() for n, b in state.network.named_buffers() if n.endswith("running_mean")]))
    assert float((moved[0] - moved[1]).norm()) < 0.2 * float(moved[0].norm())  # not three and a half times as far
