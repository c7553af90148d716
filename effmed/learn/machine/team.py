"""The processes that train together, one per device, through torch.distributed itself; most trainings are one alone."""

from __future__ import annotations

import os
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import distributed
from torch.autograd.function import Function, once_differentiable

from effmed.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

T = TypeVar("T")
# Names of the variables that torchrun and SLURM set: rank, number of processes, the same on this machine.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
SOURCE = re.compile(r"^\[[^]]*\.cc:\d+\] *")  # gloo begins its errors with the place in its source
NO_STEPS_FROM = 0xFFFF_FFF0  # slurm.h: numbers of the batch script, an interactive shell and others
RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
PATIENCE = timedelta(days=2)  # others wait while the first decodes all images
STEP = timedelta(minutes=30)  # the longest that a process may be behind the others in a step; gloo sees deaths at once
MEETING = timedelta(minutes=10)  # SLURM starts all processes of a step within seconds
PORTS = (20_000, 20_000)  # the lowest, and how many: below the ports that Linux gives out by itself (32,768 on)
LOST = "effmed train --resume continues after the last checkpoint; what the process that died said stands above"


class LostError(MachineError):
    """Another process of the job is gone, or cannot be reached."""


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: 0 for the first, which alone speaks and writes.
        size: Processes in all.
        local_rank: Among those of this machine.
        local_size: Processes on this machine.
        group: In which they tell each other things, however long that takes; None where a process is alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes."""
        return self.rank == 0

    def share(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's part of a batch: as many as the others', or one less."""
        return np.array_split(chosen, self.size)[self.rank]

    def tell(self, value: T) -> T:
        """Hand a value of the first process to all; what the others bring does not count."""
        told = [value]
        if self.size > 1:
            with _noticing_loss():
                distributed.broadcast_object_list(told, src=0, group=self.group, device=torch.device("cpu"))
        return told[0]

    def add_up(self, tensors: list[torch.Tensor]) -> None:
        """Put the sum over all processes in the place of each tensor; the order of the tensors is the same in all."""
        if self.size == 1 or not tensors:
            return
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _noticing_loss():
            distributed.all_reduce(together)
        parts = torch.split(together, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def take_from_first(self, tensors: list[torch.Tensor]) -> None:
        """Put the first process's values in the place of each tensor."""
        if self.size > 1:
            with _noticing_loss():
                for tensor in tensors:
                    distributed.broadcast(tensor, src=0)

    def gather(self, rows: NDArray[np.int64], values: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
        """Bring together what every process found of its rows, by their numbers: each row once.

        Args:
            rows: ``(n,)`` numbers of this process's rows.
            values: ``(n, column)``.
            n_rows: Rows in all.

        Raises:
            ValueError: A row is missing or found twice.
        """
        parts = [(rows, values)]
        if self.size > 1:
            gathered: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = [(rows, values)] * self.size
            with _noticing_loss():
                distributed.all_gather_object(gathered, (rows, values))
            parts = gathered
        if not np.array_equal(np.sort(np.concatenate([part[0] for part in parts])), np.arange(n_rows)):
            raise ValueError("some rows were found twice or by no process")
        together = np.empty((n_rows, values.shape[1]), dtype=np.float32)
        for of_rows, found in parts:
            together[of_rows] = found
        return together


ALONE = Team()


class AddUp(Function):
    """The sum of a tensor over all processes, through which gradients flow back to all of them."""

    @staticmethod
    def forward(_: object, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        total = tensor.clone(memory_format=torch.contiguous_format)
        with _noticing_loss():
            distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
        """Return the sum of the gradients: every process's loss depends on this tensor of every process."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        with _noticing_loss():
            distributed.all_reduce(total)
        return total


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Team]:
    """Join the processes that torchrun or srun started together, and leave them at the end; else be alone.

    Raises:
        MachineError: A process is lost, or the others are not found.
    """
    team = find_team(environment)
    if team.size == 1:
        yield team
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        if torch.cuda.is_available():  # pragma: no cover  needs GPUs
            torch.cuda.set_device(team.local_rank % torch.cuda.device_count())  # SLURM may show each its own alone
        store = _meet(environment, team)
        distributed.init_process_group(backend, store=store, rank=team.rank, world_size=team.size, timeout=STEP)
        team = replace(team, group=distributed.new_group(backend="gloo", timeout=PATIENCE))
    except (RuntimeError, ValueError) as error:
        problem = f"the other {team.size - 1} processes were not found: {str(error).splitlines()[0]}"
        raise MachineError(problem, hint="start all with one torchrun or srun; their port must be open") from error
    try:
        yield team
    finally:
        distributed.destroy_process_group()


def _meet(environment: Mapping[str, str], team: Team) -> Any:  # noqa: ANN401  a Store, which torch does not type
    """Return where the processes meet: where torchrun says, or at the first process of a SLURM step.

    What was left there before a restart is not found again.
    """
    attempt = "-".join(environment.get(name, "0") for name in RESTARTS)
    if "RANK" in environment:
        store = next(distributed.rendezvous("env://", team.rank, team.size))[0]  # type: ignore[attr-defined]  # likewise
    else:
        host, port = first_host(environment), port_of(environment)
        store = distributed.TCPStore(host, port, team.size, team.is_first, timeout=MEETING)  # type: ignore[attr-defined]  # torch has the name
    return distributed.PrefixStore(f"effmed-{attempt}", store)  # type: ignore[attr-defined]  # likewise


def find_team(environment: Mapping[str, str] = os.environ) -> Team:
    """Read which process this is from what torchrun, or SLURM's srun, has set; alone where nothing is."""
    for names in (TORCHRUN, SLURM):
        values = [environment.get(name, "") for name in names]
        if values[0] and values[1] and _is_step(names, environment):
            rank, size = int(values[0]), int(values[1])
            local_rank = int(values[2]) if values[2] else rank
            local_size = int(values[3]) if values[3].isdigit() else 1
            return Team(rank, size, local_rank, local_size)
    return ALONE


def _is_step(names: tuple[str, ...], environment: Mapping[str, str]) -> bool:
    """SLURM sets its names in a batch script or a shell of salloc too, where srun has started nothing."""
    step = environment.get("SLURM_STEP_ID", "")
    return names is TORCHRUN or (step.isdigit() and int(step) < NO_STEPS_FROM)


def first_host(environment: Mapping[str, str]) -> str:
    """Return the first machine of a SLURM step: ``node[03-05,7]`` begins with ``node03``."""
    if "MASTER_ADDR" in environment:
        return environment["MASTER_ADDR"]
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    stem, bracket, rest = nodes.partition("[")
    if not bracket or "," in stem:
        return stem.split(",")[0]
    inside, _, after = rest.partition("]")
    return stem + inside.split(",")[0].split("-")[0] + after.split(",")[0]


def port_of(environment: Mapping[str, str]) -> int:
    """Return the port at which a SLURM step meets, from the numbers of job and step: two steps have two ports."""
    if "MASTER_PORT" in environment:
        return int(environment["MASTER_PORT"])
    lowest, n_ports = PORTS
    named = environment.get("SLURM_JOB_ID", "0"), environment.get("SLURM_STEP_ID", "0")
    return lowest + (int(named[0]) * 8 + int(named[1])) % n_ports


def job_name(environment: Mapping[str, str] = os.environ) -> str:
    """Name what restarts this process when it fails: the SLURM job, or the torchrun that started it; "" for nobody."""
    if "SLURM_JOB_ID" in environment:
        return f"slurm-{environment['SLURM_JOB_ID']}"
    return f"torchrun-{socket.gethostname()}-{os.getppid()}" if "TORCHELASTIC_RUN_ID" in environment else ""


def is_restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or SLURM has started the same command before, and it did not end well."""
    return any(environment.get(name, "0") not in {"", "0"} for name in RESTARTS)


@contextmanager
def _noticing_loss() -> Iterator[None]:
    """Say in words that another process is gone."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # gloo and NCCL raise nothing more precise
        said = SOURCE.sub("", str(error).splitlines()[0]).partition(". ")[0]
        problem = f"a process of this job is lost: {said}"
        raise LostError(problem, hint=LOST) from error
