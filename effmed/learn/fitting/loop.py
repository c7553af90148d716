"""fit(...) → one Epoch after another: a generator without files, prints or callbacks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from effmed.learn.fitting.clock import Clock, Pace, memory_mb
from effmed.learn.fitting.depth import set_mode
from effmed.learn.fitting.scores import cross_entropy, score_interval, undone
from effmed.learn.fitting.steps import check_finite, in_room, take_step
from effmed.learn.loader import ahead, batch_members, batches_of, train_batches
from effmed.learn.machine.precision import exact
from effmed.learn.machine.team import ALONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from effmed.learn.fitting.state import TrainingState
    from effmed.learn.fitting.steps import Outcome
    from effmed.learn.loader import Examples
    from effmed.learn.machine.team import Team
    from effmed.learn.plan import Plan


@dataclass(frozen=True)
class Step:
    """Where a training stands after one step; the state can be saved here.

    Attributes:
        epoch: 1 for the first.
        step: Of the epoch, 1 for the first.
        n_steps: Of an epoch.
        loss: Mean over the steps of the epoch so far.
        images_per_s: Over all processes.
        loader_wait_fraction: Share of the time of the epoch that was spent waiting for images.
        memory_mb: Largest memory so far.
    """

    epoch: int
    step: int
    n_steps: int
    loss: float
    images_per_s: float
    loader_wait_fraction: float
    memory_mb: float


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave.

    Attributes:
        number: 1 for the first.
        train_loss: Mean of the loss, with what is planned for rare classes, over the steps.
        val_loss: Mean cross entropy on val; what is done for rare classes is undone first.
        val_score: The declared metric on val; larger is better (log loss with its sign turned).
        val_low: Lower limit of the score's 95 % interval, None where there is none.
        val_high: Upper limit.
        is_best: Whether this epoch's score is the largest so far.
        learning_rate: The plan's, times what the schedule left of it at the last step.
        duration_s: Seconds, validation included.
        images_per_s: Training images per second, the first step apart, over all processes.
        loader_wait_fraction: Share of the time of the steps that was spent waiting for images.
        memory_mb: Largest memory of this process so far; of the GPU where it trains on one.
        n_images: Training images of this epoch; of one that was continued, like seconds, those since then.
    """

    number: int
    train_loss: float
    val_loss: float
    val_score: float
    val_low: float | None
    val_high: float | None
    is_best: bool
    learning_rate: float
    duration_s: float
    images_per_s: float
    loader_wait_fraction: float
    memory_mb: float
    n_images: int


def fit(state: TrainingState, train: Examples, val: Examples, plan: Plan, team: Team = ALONE) -> Iterator[Epoch]:
    """Train, one epoch per item; see ``fit_steps``."""
    return (moment for moment in fit_steps(state, train, val, plan, team) if isinstance(moment, Epoch))


def fit_steps(
    state: TrainingState, train: Examples, val: Examples, plan: Plan, team: Team = ALONE
) -> Iterator[Step | Epoch]:
    """Train from where ``state`` stands; one item after every step, and one after every epoch.

    Stops after ``plan.epochs`` epochs, or after ``plan.patience`` epochs without a better validation score, or when the
    plan's time budget is used, with an epoch that may be short.

    Args:
        state: Changed in place; after each item it can be saved.
        train: Images to learn from, or their features.
        val: Images that choose the epoch.
        plan: What was decided.
        team: The processes that train together; all get the same items.

    Raises:
        RecipeError: The loss is no longer a number.
        MachineError: Memory ran out, or a process is lost.
    """
    clock = Clock(state, plan, team)
    while state.epoch < plan.epochs and state.epoch - state.best_epoch < plan.patience and not state.is_over:
        started, pace = time.perf_counter(), Pace()
        yield from _train_epoch(state, train, plan, team, clock, pace)
        if not state.losses:
            return  # time was over before the first step
        train_loss, before_val = float(np.mean([float(loss) for loss in state.losses])), time.perf_counter()
        logits = undone(_val_logits(state, val, plan, team), plan.imbalance, exclusive=plan.task != "multilabel")
        clock.validated(time.perf_counter() - before_val)
        val_loss = cross_entropy(logits, val.truth)
        score, low, high = -val_loss, None, None
        if plan.metric == "auroc":
            score, low, high = team.tell(score_interval(logits, val.truth, val.patients))
        state.epoch, state.losses = state.epoch + 1, []
        is_best = score > state.best_score
        if is_best:
            state.best_score, state.best_epoch = score, state.epoch
        rate = plan.learning_rate * float(state.optimiser.param_groups[0]["lr"]) / state.base_rates[0]
        yield Epoch(
            state.epoch, train_loss, val_loss, score, low, high, is_best, rate, time.perf_counter() - started,
            pace.images_per_s, pace.waiting_fraction, memory_mb(plan.device), pace.n_images,
        )  # fmt: skip


def learning_rate_factor(step: float, n_total: int, warmup_fraction: float) -> float:
    """Return the share of the peak learning rate at a step: a linear rise, then half a cosine down to 0.

    Args:
        step: Steps done so far, from 0; a fraction where a time budget runs faster than the steps.
        n_total: Steps of the whole training.
        warmup_fraction: Share of them over which the rate rises.

    Source:
        Loshchilov and Hutter, SGDR (ICLR 2017), equation 5 without restarts; warm-up as in Goyal et al. 2017.
    """
    n_warmup = max(1, round(warmup_fraction * n_total))
    if step < n_warmup:
        return min(1.0, (step + 1) / n_warmup)
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_total - n_warmup)))


def predict_logits(network: torch.nn.Module, batches: Iterable[torch.Tensor], plan: Plan) -> NDArray[np.float32]:
    """Run the network over input batches, without augmentation, dropout or gradients, in float32.

    The network stays where it is: one that was trained on a GPU scores on a CPU too. Half precision moved probabilities
    by up to 0.37, and its sigmoid has few distinct values.

    Returns:
        float32 ``(image, n_outputs)``.

    Raises:
        MachineError: Memory is too small for a single image.
    """
    network.eval()
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with torch.inference_mode(), exact():
        outputs = [in_room(network, batch.to(device)).float().cpu() for batch in batches]
    return torch.cat(outputs).numpy() if outputs else np.empty((0, plan.n_outputs), dtype=np.float32)


def _train_epoch(
    state: TrainingState, train: Examples, plan: Plan, team: Team, clock: Clock, pace: Pace
) -> Iterator[Step]:
    set_mode(state.network, plan, state.epoch)
    n_steps, first = len(batch_members(train, plan, state.epoch, team.size)), len(state.losses)
    batches = ahead(train_batches(train, plan, state.epoch, first=first, team=team), plan.device)
    unread: list[Outcome] = []
    for step in range(first, n_steps):
        started = time.perf_counter()
        done = clock.fraction((state.epoch + step / n_steps) / plan.epochs, pace)
        if done >= 1 and (state.losses or state.epoch):
            state.is_over = True
            break
        _set_learning_rate(state, plan, done, n_steps)
        batch = next(batches)
        waited_s = time.perf_counter() - started
        unread.append(take_step(state, plan, batch, step + 1, team))
        state.losses.append(unread[-1].loss)
        if state.average is not None:
            state.average.update(state.network, step=state.epoch * n_steps + step + 1)
        if plan.device == "cpu" or len(unread) > 1:  # to read the last one of a GPU is to wait for it
            _read(unread.pop(0), state, plan, train)
        pace.stepped(len(batch.chosen), time.perf_counter() - started, waited_s)
        yield _moment(state, plan, pace, n_steps)
    for outcome in unread:
        _read(outcome, state, plan, train)


def _read(outcome: Outcome, state: TrainingState, plan: Plan, train: Examples) -> None:
    state.losses[outcome.step - 1] = check_finite(outcome, plan, state.epoch + 1, train.names)


def _moment(state: TrainingState, plan: Plan, pace: Pace, n_steps: int) -> Step:
    known = [loss for loss in state.losses if isinstance(loss, float)] or [float(state.losses[-1])]
    return Step(
        epoch=state.epoch + 1,
        step=len(state.losses),
        n_steps=n_steps,
        loss=float(np.mean(known)),
        images_per_s=pace.images_per_s,
        loader_wait_fraction=pace.waiting_fraction,
        memory_mb=memory_mb(plan.device),
    )


def _val_logits(state: TrainingState, val: Examples, plan: Plan, team: Team) -> NDArray[np.float32]:
    """Judge val, each process its share; statistics that the processes do not share are those of the first."""
    team.take_from_first(list(state.judged.buffers()))
    rows = team.share(np.arange(len(val)))
    batches = batches_of(val, rows, plan.model_copy(update={"micro_batch": state.micro_batch}))
    return team.gather(rows, predict_logits(state.judged, batches, plan), len(val))


def _set_learning_rate(state: TrainingState, plan: Plan, done: float, n_steps: int) -> None:
    n_total = plan.epochs * n_steps
    factor = learning_rate_factor(done * n_total, n_total, plan.warmup_fraction)
    for group, base in zip(state.optimiser.param_groups, state.base_rates, strict=True):
        group["lr"] = base * factor
