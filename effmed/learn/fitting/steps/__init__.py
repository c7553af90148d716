"""One step of the optimiser, and what happens to a batch in it."""

from effmed.learn.fitting.steps.taking import Outcome, check_finite, in_room, take_step

__all__ = ["Outcome", "check_finite", "in_room", "take_step"]
