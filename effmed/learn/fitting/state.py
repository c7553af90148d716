"""All that changes during training, and its start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from timm.utils.model_ema import ModelEmaV3

from effmed.learn.fitting.depth import parameter_groups

if TYPE_CHECKING:
    from effmed.learn.plan import Plan

AVERAGE_WARMUP_POWER = 0.75  # timm's ModelEmaV3: "good values for models you plan to train for less" steps


@dataclass
class TrainingState:
    """All that changes during training; saved whole, it continues as if nothing had happened.

    Attributes:
        network: What is fitted, on the plan's device: the whole network, or its head alone.
        optimiser: AdamW over the network's parameter groups.
        scaler: Loss scaling, active in float16 only.
        base_rates: Peak learning rate of each parameter group.
        average: Moving average of the network's weights and statistics, None where the plan wants none.
        epoch: Epochs done.
        best_score: Largest validation score so far.
        best_epoch: Its epoch, 0 before the first.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    base_rates: tuple[float, ...]
    average: ModelEmaV3 | None = None
    epoch: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0

    @property
    def judged(self) -> torch.nn.Module:
        """What validation judges and the bundle gets: the average where there is one, else the network."""
        return self.network if self.average is None else self.average.module

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the network's weights as tensors, numbers and containers of them."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": {} if self.average is None else self.average.module.state_dict(),
            "epoch": self.epoch,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "random": torch.get_rng_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned; the network's weights are loaded separately."""
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(saved["average"])
        self.epoch, self.best_score, self.best_epoch = saved["epoch"], saved["best_score"], saved["best_epoch"]
        torch.set_rng_state(saved["random"])


def start_training(network: torch.nn.Module, plan: Plan) -> TrainingState:
    """Move what is to be fitted to its device and give it an optimiser, and an average where the plan wants one.

    Args:
        network: The whole network; or, where the plan trains the head only, that (``features.head_of``).
        plan: What was decided.
    """
    network = network.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimiser = torch.optim.AdamW(parameter_groups(network, plan), fused=True)
    scaler = torch.amp.GradScaler(plan.device, enabled=plan.precision == "float16")
    rates = tuple(float(group["lr"]) for group in optimiser.param_groups)
    average = None
    if plan.ema_decay > 0:
        average = ModelEmaV3(network, plan.ema_decay, use_warmup=True, warmup_power=AVERAGE_WARMUP_POWER)
    return TrainingState(network, optimiser, scaler, rates, average)
