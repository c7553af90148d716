"""One step of the optimiser: forward and backward, in parts where memory is short, and what is checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from effmed.errors import MachineError, RecipeError
from effmed.learn.fitting.steps.mixing import mix
from effmed.learn.imbalance import imbalanced_loss, make_targets
from effmed.learn.machine.precision import autocast
from effmed.learn.machine.statistics import seen_in_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from effmed.learn.fitting.state import TrainingState
    from effmed.learn.loader import Batch
    from effmed.learn.machine.team import Team
    from effmed.learn.plan import Plan

STEP_STREAM = 4  # of the seed; the loader and views at test have the others
SKIPPED_MAX = 20  # of a scale that starts at 2^16 and is halved each time
SHOWN = 10  # images of a batch that are named
# What torch's allocator of the CPU says, CUDA, and its libraries; torch's allocator of CUDA has an error of its own.
NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Outcome:
    """What a step gave, still on the device: reading it waits for all that was sent there.

    Attributes:
        loss: Of the whole batch, per image.
        norm: Length of the gradient; of float16 nothing, whose scaled gradient may overflow.
        batch: What it learned from.
        step: 1 for the first of the epoch.
    """

    loss: torch.Tensor
    norm: torch.Tensor
    batch: Batch
    step: int


def take_step(state: TrainingState, plan: Plan, batch: Batch, step: int, team: Team) -> Outcome:
    """Learn from one batch, in as many parts as memory allows; dropout is drawn by seed, epoch, step and process alone.

    Raises:
        MachineError: Even two images at a time are too many, or a process is lost.
    """
    while True:
        try:
            return _try_step(state, plan, batch, step, team)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(error):
                raise
            _make_room(state, plan, team, error)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device has said that it has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def in_room(compute: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    """Compute what does not depend on the other images of a batch, in halves where memory runs out.

    Raises:
        MachineError: It is too small for a single image.
    """
    try:
        return compute(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            problem = f"the memory of this {batch.device.type} is too small to score one image"
            raise MachineError(
                problem, hint="a smaller --variant or model.image_size; or end what else uses it"
            ) from error
    return torch.cat([in_room(compute, half) for half in batch.chunk(2)])


def check_finite(outcome: Outcome, plan: Plan, epoch: int, names: tuple[str, ...]) -> float:
    """Read the loss of a step.

    Args:
        outcome: Of a step.
        plan: What was decided.
        epoch: 1 for the first.
        names: Of all training images, or none.

    Raises:
        RecipeError: Loss or gradient are no number; the images of the batch are named.
    """
    loss, norm = float(outcome.loss), float(outcome.norm)
    if math.isfinite(loss) and math.isfinite(norm):
        return loss
    chosen = outcome.batch.chosen
    shown = ", ".join(names[i] if names else f"number {i}" for i in chosen[:SHOWN])
    more = f" … ({len(chosen)} in all)" if len(chosen) > SHOWN else ""
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient is {norm}"
    problem = f"{what} in epoch {epoch}, step {outcome.step}, at the images {shown}{more}"
    raise RecipeError(
        problem, hint=f"look at these; or lower it: --set train.learning_rate={plan.learning_rate / 10:g}"
    )


def _try_step(state: TrainingState, plan: Plan, batch: Batch, step: int, team: Team) -> Outcome:
    chance = np.random.SeedSequence((plan.seed, STEP_STREAM, state.epoch, step, team.rank))
    torch.manual_seed(int(chance.generate_state(1)[0]))
    mixing = np.random.default_rng(chance)
    state.optimiser.zero_grad(set_to_none=True)
    loss = torch.zeros(1, device=plan.device)
    n_parts = _n_parts(batch, state.micro_batch, team.size)
    with seen_in_parts(state.network, n_parts):
        for inputs, truth in batch.parts(n_parts, plan):
            loss += _learn(state, plan, inputs, truth, mixing, batch.n_terms)
    gradients = [
        each.grad for group in state.optimiser.param_groups for each in group["params"] if each.grad is not None
    ]
    team.add_up([*gradients, loss])
    scaled = state.scaler.is_enabled()
    norm = torch.zeros(1) if scaled else torch.nn.utils.get_total_norm(gradients)
    if plan.device == "cuda" or (math.isfinite(float(loss)) and math.isfinite(float(norm))):
        before = state.scaler.get_scale()
        state.scaler.step(state.optimiser)  # not from what is no number, where it costs nothing to know
        state.scaler.update()
        _count_skipped(state, plan, before)
    return Outcome(loss, norm, batch, step)


def _learn(
    state: TrainingState,
    plan: Plan,
    inputs: torch.Tensor,
    truth: torch.Tensor,
    chance: np.random.Generator,
    n_terms: int,
) -> torch.Tensor:
    """Add the gradient of some images; return their part of the loss."""
    n_classes = 2 if truth.ndim > 1 else len(plan.classes)
    inputs, targets = mix(inputs, make_targets(truth, n_classes, plan.label_smoothing), plan, chance)
    with autocast(plan):
        logits = state.forward(inputs)
    loss = imbalanced_loss(logits.float(), targets, plan.imbalance) / n_terms
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
    return loss.detach()


def _count_skipped(state: TrainingState, plan: Plan, scale_before: float) -> None:
    """Notice that float16 has left out many steps in a row: it does so where the gradient is no number.

    Raises:
        RecipeError: It learns nothing any more.
    """
    if not state.scaler.is_enabled():
        return
    state.skipped = state.skipped + 1 if state.scaler.get_scale() < scale_before else 0
    if state.skipped >= SKIPPED_MAX:
        problem = f"the gradient was no number in {state.skipped} steps in a row of epoch {state.epoch + 1}"
        raise RecipeError(
            problem, hint=f"--set train.precision=float32, or train.learning_rate={plan.learning_rate / 10:g}"
        )


def _n_parts(batch: Batch, micro_batch: int, n_processes: int) -> int:
    """Return in how many parts a batch is taken, as many in every process."""
    return math.ceil(math.ceil(len(batch.chosen) / n_processes) / micro_batch)


def _make_room(state: TrainingState, plan: Plan, team: Team, error: RuntimeError) -> None:
    """Halve the images at a time, after memory ran out."""
    n_images, half = state.micro_batch, math.ceil(state.micro_batch / 2)
    problem = f"the memory of {plan.device_name} is too small for {n_images} images at a time"
    if n_images <= 2:
        hint = f"--set train.micro_batch={half}, or a smaller --variant or model.image_size"
        raise MachineError(problem, hint=hint) from error
    state.micro_batch = half
    if team.size > 1:  # others may wait in the middle of the step
        raise MachineError(problem, hint=f"effmed train --resume takes {half} at a time") from error
    state.optimiser.zero_grad(set_to_none=True)
    if plan.device == "cuda":  # pragma: no cover  needs a GPU
        torch.cuda.empty_cache()
