"""How fast a training runs, how long it waits for images, and when its time is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from effmed.learn.machine.memory import peak_memory_bytes

if TYPE_CHECKING:
    from effmed.learn.fitting.state import TrainingState
    from effmed.learn.machine.team import Team
    from effmed.learn.plan import Plan

BYTES_PER_MB = 1e6
SECONDS_PER_MINUTE = 60.0
PASSES_OF_STEP = 3.0  # a step is a forward pass and a backward one, which takes about twice as long
REPORT_S = 15.0  # for calibration, report and bundle, which took 6 to 17 s on two cores


class Pace:
    """Images and seconds of the steps of one epoch; the first, which allocates and compiles, counts for no rate."""

    def __init__(self) -> None:
        self.n_steps = 0
        self.n_images = 0
        self.steady_images = 0
        self.steady_s = 0.0
        self.all_s = 0.0
        self.waited_s = 0.0

    def stepped(self, n_images: int, duration_s: float, waited_s: float) -> None:
        """Count a step: its images, its seconds in all, and those of them until the images were there."""
        if self.n_steps > 0:
            self.steady_images += n_images
            self.steady_s += duration_s
        self.n_steps += 1
        self.n_images += n_images
        self.all_s += duration_s
        self.waited_s += waited_s

    @property
    def images_per_s(self) -> float:
        """Images per second, over all processes; 0 before the first step."""
        n_images, seconds = (self.steady_images, self.steady_s) if self.steady_s else (self.n_images, self.all_s)
        return n_images / seconds if seconds else 0.0

    @property
    def waiting_fraction(self) -> float:
        """Share of the time that was spent waiting for images."""
        return self.waited_s / self.all_s if self.all_s else 0.0


def memory_mb(device: str) -> float:
    """Return the largest memory that this process has taken so far, in MB: of the GPU where it trains on one."""
    if device == "cuda":  # pragma: no cover  needs a GPU
        return torch.cuda.max_memory_allocated() / BYTES_PER_MB
    return peak_memory_bytes() / BYTES_PER_MB


class Clock:
    """The time budget of a training: how much of it is used, and what must be kept for what follows.

    A training that would not be done in time goes through the same schedule in fewer steps: the learning rate has
    fallen to 0 when the time is over, as it would have at the planned end.
    """

    def __init__(self, state: TrainingState, plan: Plan, team: Team) -> None:
        self.state = state
        self.plan = plan
        self.team = team
        self.budget_s = plan.time_budget_min * SECONDS_PER_MINUTE
        self.validation_s = 0.0
        if not state.epoch and not state.losses:
            state.began_s = state.used_s
        self._last = time.perf_counter()

    def fraction(self, planned: float, pace: Pace) -> float:
        """Return how much of the training is done, in [0, 1]; 1 ends it.

        Args:
            planned: Share of the planned steps that is done.
            pace: Of the epoch that runs.
        """
        self._count()
        if not self.budget_s:
            return planned
        left_s = self.budget_s - self.state.used_s - self._kept_s(pace)
        learned_s = self.state.used_s - self.state.began_s
        used = 1.0 if left_s <= 0 else learned_s / (learned_s + left_s)
        return self.team.tell(max(planned, used))  # clocks differ, decisions must not

    def validated(self, duration_s: float) -> None:
        """Remember how long validation took."""
        self.validation_s = duration_s
        self._count()

    def _count(self) -> None:
        now = time.perf_counter()
        self.state.used_s += now - self._last
        self._last = now

    def _kept_s(self, pace: Pace) -> float:
        """Return the seconds that validation, the final scores of val and test, and the report will take."""
        n_val, n_test = self.plan.n_val, self.plan.n_test
        validation_s = self.validation_s
        if not validation_s and pace.images_per_s:
            validation_s = n_val / (PASSES_OF_STEP * pace.images_per_s)
        scoring_s = self.state.scoring_s or validation_s * self.team.size  # the first process scores alone
        finals = self.plan.augment.test_views * (1 + n_test / max(1, n_val))
        return validation_s + scoring_s * finals + REPORT_S
