"""The precision that a device computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from effmed.learn.plan import Plan

AUTOCAST = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(plan: Plan) -> torch.autocast:
    """Return the context in which the network runs in the plan's precision."""
    return torch.autocast(plan.device, dtype=AUTOCAST[plan.precision], enabled=plan.precision != "float32")
