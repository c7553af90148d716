"""What is told while a network learns: a bar with numbers on a terminal, a line per epoch everywhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from effmed.learn.fitting import Epoch, Step
    from effmed.learn.plan import Plan
    from effmed.workflows.talk import Talk

TASK = "training"
SECONDS_PER_MINUTE, MINUTES_PER_HOUR = 60, 60
MB_PER_GB = 1000.0
MANY = 1000.0  # images per second, from which on no decimals are shown


class Teller:
    """Tells one training to a ``Talk``; time left is that of the whole training, validation included."""

    def __init__(self, plan: Plan, n_done: int, talk: Talk, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin to count.

        Args:
            plan: What was decided.
            n_done: Epochs that are done already, where a training is continued.
            talk: Who is told.
            clock: Seconds, for tests.
        """
        self.plan = plan
        self.talk = talk
        self.clock = clock
        self.n_done = n_done
        self.started = clock()
        self.n_steps = 1
        self.val = ""

    def stepped(self, step: Step) -> None:
        """Tell how far the whole training is, and the numbers so far."""
        self.n_steps = step.n_steps
        done = (step.epoch - 1) * step.n_steps + step.step
        note = step_note(step, self.plan.epochs, self.val)
        # the last step is no end: its validation follows, which `over` knows of
        self.talk.progress(TASK, min(done, self._total - 1), self._total, note)

    def ended(self, epoch: Epoch, used_s: float) -> None:
        """Tell an epoch in one line; ``used_s`` seconds of a time budget are used."""
        self.val = f"val {self.plan.metric.replace('_', ' ')} {score_text(epoch)}"
        passed_s = self.clock() - self.started
        left_s = passed_s / (epoch.number - self.n_done) * (self.plan.epochs - epoch.number)
        if self.plan.time_budget_min:
            left_s = min(left_s, max(0.0, self.plan.time_budget_min * SECONDS_PER_MINUTE - used_s))
        self.talk.say(epoch_line(epoch, self.plan.epochs, self.val, left_s))

    def over(self) -> None:
        """Tell that training is over, early or not."""
        self.talk.progress(TASK, self._total, self._total)

    @property
    def _total(self) -> int:
        return self.plan.epochs * self.n_steps


def epoch_line(epoch: Epoch, n_epochs: int, val: str, left_s: float) -> str:
    """Return an epoch in one line.

    Args:
        epoch: What it gave.
        n_epochs: Of the whole training, unless it stops early.
        val: Its validation metric with the interval, in words.
        left_s: Seconds that the others take, if they are as long.
    """
    mark = ", best so far" if epoch.is_best else ""
    pace = ", ".join(_pace(epoch.images_per_s, epoch.loader_wait_fraction, epoch.memory_mb))
    left = f", at most {duration_text(left_s)} left" if epoch.number < n_epochs else ""
    return (
        f"epoch {epoch.number}/{n_epochs}: loss {epoch.train_loss:.4f}, val loss {epoch.val_loss:.4f}, {val}{mark}; "
        f"{pace}; {duration_text(epoch.duration_s)}{left}"
    )


def step_note(step: Step, n_epochs: int, val: str) -> str:
    """Return the numbers after a step; ``val`` is the metric of the last epoch in words, "" before there is one."""
    parts = [f"epoch {step.epoch} of {n_epochs}", f"loss {step.loss:.4f}", *([val] if val else [])]
    return ", ".join([*parts, *_pace(step.images_per_s, step.loader_wait_fraction, step.memory_mb)])


def score_text(epoch: Epoch) -> str:
    """Return the validation metric with its 95 % interval, where it has one; log loss in its usual sign."""
    value = f"{abs(epoch.val_score):.4f}"
    if epoch.val_low is None or epoch.val_high is None:
        return value
    return f"{value} ({epoch.val_low:.3f} to {epoch.val_high:.3f})"


def duration_text(seconds: float) -> str:
    """Return a duration in two units at most."""
    minutes = round(seconds / SECONDS_PER_MINUTE)
    if seconds < 2 * SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    if minutes < 2 * MINUTES_PER_HOUR:
        return f"{minutes} min"
    return f"{minutes // MINUTES_PER_HOUR} h {minutes % MINUTES_PER_HOUR:02d} min"


def _pace(images_per_s: float, wait_fraction: float, memory_mb: float) -> list[str]:
    """Return speed, waiting and memory in words; of a single step no speed is known."""
    speed = [f"{images_per_s:.3g} images/s" if images_per_s < MANY else f"{images_per_s:,.0f} images/s"]
    memory = f"{memory_mb / MB_PER_GB:.1f} GB" if memory_mb >= MB_PER_GB else f"{memory_mb:.0f} MB"
    return [*(speed if images_per_s > 0 else []), f"loader wait {wait_fraction:.0%}", memory]
