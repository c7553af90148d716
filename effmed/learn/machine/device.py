"""The device that a network runs on."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import torch

from effmed.data.allocator import can_keep_memory
from effmed.data.processes import n_cores
from effmed.errors import MachineError
from effmed.learn.kernels.check import find_kernels
from effmed.learn.machine.memory import memory_bytes
from effmed.learn.machine.team import find_team
from effmed.learn.plan import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.learn.machine.team import Team


def find_machine(wanted: Literal["auto", "cpu", "cuda", "mps"]) -> Machine:
    """Describe the device to run on.

    Args:
        wanted: ``train.device``; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        MachineError: The wanted device is not there.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted != "auto" and not found[wanted]:
        problem = f"train.device = {wanted!r}, but this machine has no such device"
        raise MachineError(problem, hint="leave train.device at auto; 'effmed doctor' shows what there is")
    device: Literal["cpu", "cuda", "mps"] = wanted if wanted != "auto" else _first_found(found)
    team = find_team()
    cores = own_cores(n_cores(), team)
    if device == "cuda":  # pragma: no cover  needs a GPU; tests marked gpu run it
        memory = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        name, half = torch.cuda.get_device_name(), torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine("cuda", name, cores, half, memory, processes=team.size, can_compile=can_compile())
    name = f"{device} ({platform.machine()}, {cores} cores)"
    machine = Machine(
        device, name, cores, False, memory_bytes(), can_keep_memory=can_keep_memory(), processes=team.size
    )
    if device != "cpu":
        return machine
    kernels = find_kernels()
    return replace(machine, can_fuse=kernels.library is not None, fused_by=kernels.why)


def can_compile() -> bool:
    """Whether torch.compile finds what it needs for CUDA: Triton, and a compiler of C."""
    compilers = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers if name)


def own_cores(n_seen: int, team: Team, environment: Mapping[str, str] = os.environ) -> int:
    """Return the cores of one process: its part of those that it sees, or all where SLURM shows each its own alone.

    OMP_NUM_THREADS is a limit, but below torchrun, which sets it to 1 for everybody.
    """
    bound = environment.get("SLURM_CPUS_PER_TASK", "")
    is_bound = bound.isdigit() and n_seen <= int(bound)
    own = n_seen if is_bound else max(1, n_seen // team.local_size)
    limit = "" if "TORCHELASTIC_RUN_ID" in environment else environment.get("OMP_NUM_THREADS", "")
    return min(own, int(limit)) if limit.isdigit() and int(limit) > 0 else own


def _first_found(found: dict[str, bool]) -> Literal["cpu", "cuda", "mps"]:
    if found["cuda"]:
        return "cuda"  # pragma: no cover  needs a GPU
    return "mps" if found["mps"] else "cpu"
