"""Everything decided before training, a reason for each decision (no torch)."""

from effmed.learn.plan.fitting import plan_precision
from effmed.learn.plan.make import make_plan
from effmed.learn.plan.reasons import SET_BY_RECIPE, Reasons
from effmed.learn.plan.values import CARRIED_MIN, Head, Imbalance, Machine, NativeInput, Plan

__all__ = [
    "CARRIED_MIN",
    "SET_BY_RECIPE",
    "Head",
    "Imbalance",
    "Machine",
    "NativeInput",
    "Plan",
    "Reasons",
    "make_plan",
    "plan_precision",
]
