"""The precision that a device computes in."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.learn.plan import Plan

AUTOCAST = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(plan: Plan) -> torch.autocast:
    """Return the context in which the network learns: in the plan's precision."""
    return torch.autocast(plan.device, dtype=AUTOCAST[plan.precision], enabled=plan.precision != "float32")


@contextmanager
def exact() -> Iterator[None]:
    """Compute in float32 itself, as scores are: the same on every device, but for the order of summation."""
    before = _allow_tf32(matmul=False, cudnn=False)
    try:
        yield
    finally:
        _allow_tf32(**before)


def _allow_tf32(*, matmul: bool, cudnn: bool) -> dict[str, bool]:
    """Set what float32 may be on CUDA, and return what it was; torch 2.9 warns of names that later ones keep."""
    cuda, own = torch.backends.cuda, torch.backends.cudnn
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        before = {"matmul": cuda.matmul.allow_tf32, "cudnn": own.allow_tf32}
        cuda.matmul.allow_tf32, own.allow_tf32 = matmul, cudnn
    return before


def set_precision(plan: Plan) -> None:
    """Tell CUDA, once, what float32 may mean: TF32 where the plan computes in half precision anyway, else itself.

    Its fastest algorithms for the sizes at hand are looked for in the first steps.
    """
    if plan.device != "cuda":
        return
    is_half = plan.precision != "float32"
    _allow_tf32(matmul=is_half, cudnn=is_half)
    torch.backends.cudnn.benchmark = plan.progressive == 1
