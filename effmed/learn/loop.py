"""fit(...) → one Epoch after another: a generator without files, prints or callbacks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from effmed.errors import RecipeError
from effmed.evaluate.calibrators import probabilities
from effmed.evaluate.discrimination import auroc
from effmed.learn.imbalance import weighted_loss
from effmed.learn.loader import n_steps, ordered_batches, train_batches
from effmed.learn.network import parameter_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from effmed.learn.loader import Images
    from effmed.learn.plan import Plan

AUTOCAST = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave.

    Attributes:
        number: 1 for the first.
        train_loss: Mean weighted cross entropy over the steps.
        val_loss: Mean cross entropy on val, unweighted.
        val_score: The declared metric on val; larger is better (log loss with its sign turned).
        is_best: Whether this epoch's score is the largest so far.
        learning_rate: Of the backbone, at the last step.
        duration_s: Seconds, validation included.
    """

    number: int
    train_loss: float
    val_loss: float
    val_score: float
    is_best: bool
    learning_rate: float
    duration_s: float


@dataclass
class TrainingState:
    """All that changes during training; saved whole, it continues as if nothing had happened.

    Attributes:
        network: On the plan's device.
        optimiser: AdamW over the network's parameter groups.
        scaler: Loss scaling, active in float16 only.
        epoch: Epochs done.
        best_score: Largest validation score so far.
        best_epoch: Its epoch, 0 before the first.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0
    base_rates: list[float] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the network's weights as tensors, numbers and containers of them."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "random": torch.get_rng_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned; the network's weights are loaded separately."""
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        self.epoch, self.best_score, self.best_epoch = saved["epoch"], saved["best_score"], saved["best_epoch"]
        torch.set_rng_state(saved["random"])


def start_training(network: torch.nn.Module, plan: Plan) -> TrainingState:
    """Move the network to its device and give it an optimiser."""
    network = network.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    fine_tune = plan.is_fine_tuned
    groups = parameter_groups(
        network, learning_rate=plan.learning_rate, weight_decay=plan.weight_decay, fine_tune=fine_tune
    )
    optimiser = torch.optim.AdamW(groups, fused=True)
    scaler = torch.amp.GradScaler(plan.device, enabled=plan.precision == "float16")
    return TrainingState(
        network, optimiser, scaler, base_rates=[float(group["lr"]) for group in optimiser.param_groups]
    )


def fit(
    state: TrainingState, train: Images, val: Images, plan: Plan, on_step: Callable[[int, int], None] | None = None
) -> Iterator[Epoch]:
    """Train, one epoch per item, from where ``state`` stands.

    Stops after ``plan.epochs`` epochs, or after ``plan.patience`` epochs without a better validation score.

    Args:
        state: Changed in place; after each item it can be saved.
        train: Images to learn from.
        val: Images that choose the epoch.
        plan: What was decided.
        on_step: Told ``(steps done in this epoch, steps of an epoch)``.

    Raises:
        RecipeError: The loss is no longer a number.
    """
    while state.epoch < plan.epochs and state.epoch - state.best_epoch < plan.patience:
        started = time.perf_counter()
        train_loss = _train_epoch(state, train, plan, on_step)
        logits = predict_logits(state.network, ordered_batches(val, plan), plan)
        val_loss = cross_entropy(logits, val.truth)
        score = -val_loss if plan.metric == "log_loss" else mean_auroc(logits, val.truth)
        state.epoch += 1
        is_best = score > state.best_score
        if is_best:
            state.best_score, state.best_epoch = score, state.epoch
        rate = min(float(group["lr"]) for group in state.optimiser.param_groups)
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
    with torch.inference_mode(), _autocast(plan):
        outputs = [network(batch.to(plan.device)).float().cpu() for batch in batches]
    return torch.cat(outputs).numpy()


def cross_entropy(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the mean of minus ln of the true class's probability, in float64 from the logits.

    Args:
        logits: ``(image, 1)`` for two classes, else ``(image, class)``.
        truth: ``(image,)`` class indices; of several labels ``(image, label)`` 1, 0, or -1 where not known: the mean is
            over the known labels, each of which is present or absent; 0 where none is known.
    """
    wide = np.asarray(logits, dtype=np.float64)
    if truth.ndim > 1:
        losses = np.logaddexp(0, np.where(truth == 1, -wide, wide))[truth >= 0]
        return float(losses.mean()) if losses.size else 0.0
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    largest = wide.max(axis=1)
    log_sum = largest + np.log(np.exp(wide - largest[:, None]).sum(axis=1))
    return float(np.mean(log_sum - wide[np.arange(len(truth)), truth]))


def mean_auroc(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the AUROC of the positive class, or for more classes the mean over one-versus-rest.

    Args:
        logits: ``(image, 1)`` for two classes, else ``(image, class)``.
        truth: ``(image,)`` class indices; every class occurs, as the split guarantees. Of several labels
            ``(image, label)`` 1, 0, or -1: the mean is over the labels of which both kinds are known.
    """
    if truth.ndim > 1:
        return _mean_auroc_of_labels(np.asarray(logits, dtype=np.float64), truth)
    wide = np.asarray(logits, dtype=np.float64)
    scores = wide if wide.shape[1] == 1 else probabilities(wide)
    positives = range(1, 2) if wide.shape[1] == 1 else range(wide.shape[1])
    values = [
        auroc((truth == k).astype(np.int64), scores[:, k - 1 if wide.shape[1] == 1 else k]).value for k in positives
    ]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 0.5


def _mean_auroc_of_labels(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    known = [truth[:, k] >= 0 for k in range(truth.shape[1])]
    values = [auroc(truth[rows, k], logits[rows, k]).value for k, rows in enumerate(known)]
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else 0.5


def _train_epoch(state: TrainingState, train: Images, plan: Plan, on_step: Callable[[int, int], None] | None) -> float:
    state.network.train()
    weights = torch.tensor(plan.class_weights, device=plan.device)
    steps = n_steps(train, plan)
    losses = []
    for step, (pixels, truth) in enumerate(train_batches(train, plan, state.epoch)):
        _set_learning_rate(state, plan, state.epoch * steps + step, plan.epochs * steps)
        losses.append(_train_step(state, plan, weights, pixels, truth))
        if on_step is not None:
            on_step(step + 1, steps)
    return float(np.mean(losses))


def _train_step(
    state: TrainingState, plan: Plan, weights: torch.Tensor, pixels: torch.Tensor, truth: torch.Tensor
) -> float:
    with _autocast(plan):
        logits = state.network(pixels.to(plan.device, non_blocking=True))
    loss = weighted_loss(logits.float(), truth.to(plan.device), weights)
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


def _autocast(plan: Plan) -> torch.autocast:
    return torch.autocast(plan.device, dtype=AUTOCAST[plan.precision], enabled=plan.precision != "float32")
