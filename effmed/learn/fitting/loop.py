"""fit(...) → one Epoch after another: a generator without files, prints or callbacks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from effmed.errors import RecipeError
from effmed.learn.fitting.depth import set_mode
from effmed.learn.fitting.precision import autocast
from effmed.learn.fitting.scores import cross_entropy, mean_auroc, undone
from effmed.learn.imbalance import imbalanced_loss
from effmed.learn.loader import n_steps, ordered_batches, train_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from effmed.learn.fitting.state import TrainingState
    from effmed.learn.loader import Examples
    from effmed.learn.plan import Plan


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave.

    Attributes:
        number: 1 for the first.
        train_loss: Mean of the loss, with what is planned for rare classes, over the steps.
        val_loss: Mean cross entropy on val; what is done for rare classes is undone first.
        val_score: The declared metric on val; larger is better (log loss with its sign turned).
        is_best: Whether this epoch's score is the largest so far.
        learning_rate: The plan's, times what the schedule left of it at the last step.
        duration_s: Seconds, validation included.
    """

    number: int
    train_loss: float
    val_loss: float
    val_score: float
    is_best: bool
    learning_rate: float
    duration_s: float


def fit(
    state: TrainingState, train: Examples, val: Examples, plan: Plan, on_step: Callable[[int, int], None] | None = None
) -> Iterator[Epoch]:
    """Train, one epoch per item, from where ``state`` stands.

    Stops after ``plan.epochs`` epochs, or after ``plan.patience`` epochs without a better validation score.

    Args:
        state: Changed in place; after each item it can be saved.
        train: Images to learn from, or their features.
        val: Images that choose the epoch.
        plan: What was decided.
        on_step: Told ``(steps done in this epoch, steps of an epoch)``.

    Raises:
        RecipeError: The loss is no longer a number.
    """
    while state.epoch < plan.epochs and state.epoch - state.best_epoch < plan.patience:
        started = time.perf_counter()
        train_loss = _train_epoch(state, train, plan, on_step)
        raw = predict_logits(state.judged, ordered_batches(val, plan), plan)
        logits = undone(raw, plan.imbalance, exclusive=plan.task != "multilabel")
        val_loss = cross_entropy(logits, val.truth)
        score = -val_loss if plan.metric == "log_loss" else mean_auroc(logits, val.truth)
        state.epoch += 1
        is_best = score > state.best_score
        if is_best:
            state.best_score, state.best_epoch = score, state.epoch
        rate = plan.learning_rate * float(state.optimiser.param_groups[0]["lr"]) / state.base_rates[0]
        yield Epoch(state.epoch, train_loss, val_loss, score, is_best, rate, time.perf_counter() - started)


def learning_rate_factor(step: int, n_total: int, warmup_fraction: float) -> float:
    """Return the share of the peak learning rate at a step: a linear rise, then half a cosine down to 0.

    Args:
        step: Steps done so far, from 0.
        n_total: Steps of the whole training.
        warmup_fraction: Share of them over which the rate rises.

    Source:
        Loshchilov and Hutter, SGDR (ICLR 2017), equation 5 without restarts; warm-up as in Goyal et al. 2017.
    """
    n_warmup = max(1, round(warmup_fraction * n_total))
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_total - n_warmup)))


def predict_logits(network: torch.nn.Module, batches: Iterable[torch.Tensor], plan: Plan) -> NDArray[np.float32]:
    """Run the network over input batches, without augmentation, dropout or gradients.

    Returns:
        float32 ``(image, n_outputs)``: never half precision, whose sigmoid has few distinct values.
    """
    network.eval()
    with torch.inference_mode(), autocast(plan):
        outputs = [network(batch.to(plan.device)).float().cpu() for batch in batches]
    return torch.cat(outputs).numpy()


def _train_epoch(
    state: TrainingState, train: Examples, plan: Plan, on_step: Callable[[int, int], None] | None
) -> float:
    set_mode(state.network, plan, state.epoch)
    steps = n_steps(train, plan)
    losses = []
    for step, (pixels, truth) in enumerate(train_batches(train, plan, state.epoch)):
        n_done = state.epoch * steps + step
        _set_learning_rate(state, plan, n_done, plan.epochs * steps)
        losses.append(_train_step(state, plan, pixels, truth))
        if state.average is not None:
            state.average.update(state.network, step=n_done + 1)
        if on_step is not None:
            on_step(step + 1, steps)
    return float(np.mean(losses))


def _train_step(state: TrainingState, plan: Plan, pixels: torch.Tensor, truth: torch.Tensor) -> float:
    with autocast(plan):
        logits = state.network(pixels.to(plan.device, non_blocking=True))
    loss = imbalanced_loss(logits.float(), truth.to(plan.device), plan.imbalance)
    value = float(loss.detach())
    if not math.isfinite(value):
        problem = f"the loss is {value} in epoch {state.epoch + 1}"
        raise RecipeError(problem, hint=f"lower it: --set train.learning_rate={plan.learning_rate / 10:g}")
    state.optimiser.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
    state.scaler.step(state.optimiser)
    state.scaler.update()
    return value


def _set_learning_rate(state: TrainingState, plan: Plan, step: int, n_total: int) -> None:
    factor = learning_rate_factor(step, n_total, plan.warmup_fraction)
    for group, base in zip(state.optimiser.param_groups, state.base_rates, strict=True):
        group["lr"] = base * factor
