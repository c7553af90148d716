"""All that changes during training, and its start."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from timm.utils.model_ema import ModelEmaV3

from effmed.learn.fitting.depth import parameter_groups
from effmed.learn.kernels.layers import fuse_layers
from effmed.learn.machine.activations import compute_beside
from effmed.learn.machine.statistics import checkpoint_blocks, share_statistics
from effmed.learn.machine.team import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from effmed.learn.machine.team import Team
    from effmed.learn.plan import Plan

PLAIN = (
    "epoch",
    "losses",
    "used_s",
    "began_s",
    "is_over",
    "best_score",
    "best_epoch",
)  # what a checkpoint holds as it is
AVERAGE_WARMUP_POWER = 0.75  # timm's ModelEmaV3: "good values for models you plan to train for less" steps


@dataclass
class TrainingState:
    """All that changes during training; saved whole, it continues as if nothing had happened.

    Attributes:
        network: What is fitted, on the plan's device: the whole network, or its head alone.
        optimiser: AdamW over the network's parameter groups.
        scaler: Loss scaling, active in float16 only.
        base_rates: Peak learning rate of each parameter group.
        forward: What computes logits while learning: the network, or that as torch.compile makes it.
        average: Moving average of the network's weights and statistics, None where the plan wants none.
        micro_batch: Images at a time; fewer than planned after memory ran out.
        epoch: Epochs done.
        losses: Of the steps that are done in the epoch that runs; on the device until read.
        used_s: Seconds of the time budget that are used.
        began_s: Those of them that were used before the first step.
        scoring_s: Seconds that one process needs for val once more, where validation does not tell: of stored features.
        skipped: Steps in a row that float16 has left out, because the gradient was no number.
        is_over: Whether the time budget has ended the training.
        best_score: Largest validation score so far.
        best_epoch: Its epoch, 0 before the first.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    base_rates: tuple[float, ...]
    forward: Callable[[torch.Tensor], torch.Tensor]
    average: ModelEmaV3 | None = None
    micro_batch: int = 1
    epoch: int = 0
    losses: list[float | torch.Tensor] = field(default_factory=list)
    used_s: float = 0.0
    began_s: float = 0.0
    scoring_s: float = 0.0
    skipped: int = 0
    is_over: bool = False
    best_score: float = -math.inf
    best_epoch: int = 0

    @property
    def judged(self) -> torch.nn.Module:
        """What validation judges and the bundle gets: the average where there is one, else the network."""
        return self.network if self.average is None else self.average.module

    @property
    def is_finite(self) -> bool:
        """Whether all weights and losses are numbers: what is not is no checkpoint to continue from."""
        if not all(math.isfinite(float(loss)) for loss in self.losses):
            return False
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.network.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the network's weights as tensors, numbers and containers of them."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": {} if self.average is None else self.average.module.state_dict(),
            **{name: getattr(self, name) for name in PLAIN},
            "losses": [float(loss) for loss in self.losses],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned; the network's weights are loaded separately."""
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(saved["average"])
        for name in PLAIN:
            setattr(self, name, saved[name])


def start_training(network: torch.nn.Module, plan: Plan, team: Team = ALONE) -> TrainingState:
    """Move what is to be fitted to its device and give it an optimiser, and an average where the plan wants one.

    Args:
        network: The whole network; or, where the plan trains the head only, that (``features.head_of``). Changed in
            place where several processes share the statistics of batch normalisation.
        plan: What was decided.
        team: The processes that train together.
    """
    if plan.share_statistics:
        share_statistics(network, team)
    if plan.gradient_checkpointing:
        checkpoint_blocks(network)
    compute_beside(network)
    if plan.fused_layers:
        fuse_layers(network)
    network = network.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimiser = torch.optim.AdamW(parameter_groups(network, plan), fused=True)
    scaler = torch.amp.GradScaler(plan.device, enabled=plan.precision == "float16")
    rates = tuple(float(group["lr"]) for group in optimiser.param_groups)
    average = None
    if plan.ema_decay > 0:
        average = ModelEmaV3(network, plan.ema_decay, use_warmup=True, warmup_power=AVERAGE_WARMUP_POWER)
    forward = torch.compile(network) if plan.compile else network
    return TrainingState(network, optimiser, scaler, rates, forward, average, plan.micro_batch)
