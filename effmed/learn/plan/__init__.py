"""Everything decided before training, a reason for each decision (no torch)."""

from effmed.learn.plan.machine import for_processes, plan_fused, plan_precision
from effmed.learn.plan.make import make_plan
from effmed.learn.plan.values import CARRIED_MIN, SET_BY_RECIPE, Head, Imbalance, Machine, NativeInput, Plan, Reasons

__all__ = [
    "CARRIED_MIN",
    "SET_BY_RECIPE",
    "Head",
    "Imbalance",
    "Machine",
    "NativeInput",
    "Plan",
    "Reasons",
    "for_processes",
    "make_plan",
    "plan_fused",
    "plan_precision",
]
