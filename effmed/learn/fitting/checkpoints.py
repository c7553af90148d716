"""What ``--resume`` needs: the two newest checkpoints, each whole or told as damaged."""

from __future__ import annotations

import hashlib
import io
import json
import pickle  # for the name of its error: torch reads checkpoints with weights_only=True, which runs no code
import re
import shutil
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from effmed.errors import BundleError
from effmed.learn.bundle import WEIGHTS, plain_tensors, write_weights
from effmed.run import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.learn.fitting.state import TrainingState

BEST, STATE, SUMS = "best.safetensors", "state.pt", "sha256.json"  # beside WEIGHTS in a checkpoint
BEGINNING = "epoch-0000"  # the checkpoint before the first step
KEPT = 2
AGAIN = "remove the run folder and train again"


def write_checkpoint(folder: Path, state: TrainingState, best: dict[str, torch.Tensor]) -> None:
    """Write what ``--resume`` needs into ``folder/epoch-NNNN``, within an epoch ``epoch-NNNN-step-NNNNNN``.

    That and the one before it are kept. The folder appears whole or not at all, with the SHA-256 of its files: what a
    disk loses of it later is noticed.
    """
    changing = io.BytesIO()
    torch.save(state.state_dict(), changing)
    contents = {
        WEIGHTS: save(plain_tensors(state.network.state_dict())),
        BEST: save(plain_tensors(best)),
        STATE: changing.getvalue(),
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    within = f"-step-{len(state.losses):06d}" if state.losses else ""
    with replacing(folder / f"epoch-{state.epoch:04d}{within}") as temporary:
        temporary.mkdir()
        for name, content in (contents | {SUMS: json.dumps(sums).encode()}).items():
            (temporary / name).write_bytes(content)
    for older in sorted(folder.glob("epoch-*"), key=_position)[:-KEPT]:
        shutil.rmtree(older, ignore_errors=True)  # one more is no harm; NFS keeps what another process reads


def read_checkpoint(folder: Path, state: TrainingState) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Bring ``state`` to the newest whole checkpoint in ``folder``.

    Returns:
        The best weights so far; and for each newer checkpoint that is damaged, and removed, a sentence that says so.

    Raises:
        BundleError: There is no checkpoint, or none is whole.
    """
    found = sorted(folder.glob("epoch-*"), key=_position, reverse=True)
    if not found:
        problem = f"{folder} holds no checkpoint: the training stopped before its first step"
        raise BundleError(problem, hint=AGAIN)
    for torn in folder.glob(".epoch-*"):
        shutil.rmtree(torn)  # it was being written when the process was killed
    damaged: list[str] = []
    for checkpoint in found:
        try:
            best = _read(checkpoint, state)
        except (OSError, ValueError, KeyError, SafetensorError, RuntimeError, pickle.UnpicklingError) as error:
            damaged.append(f"checkpoint {checkpoint.name} is damaged: {str(error).splitlines()[0]}")
        else:
            for newer in found[: len(damaged)]:
                shutil.rmtree(newer)  # its epoch is trained again, and its place is needed
            return best, damaged
    raise BundleError(f"{folder}: {'; '.join(damaged)}", hint=AGAIN)


def _position(checkpoint: Path) -> tuple[int, ...]:
    """Return epoch and step of a checkpoint, by which they are ordered."""
    return tuple(int(number) for number in re.findall(r"\d+", checkpoint.name))


def _read(checkpoint: Path, state: TrainingState) -> dict[str, torch.Tensor]:
    sums = json.loads((checkpoint / SUMS).read_text(encoding="utf-8"))
    for name in (WEIGHTS, BEST, STATE):
        if hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() != sums[name]:
            raise ValueError(f"{name} is not what was written")
    state.network.load_state_dict(load_file(checkpoint / WEIGHTS))
    state.load_state_dict(torch.load(checkpoint / STATE, map_location="cpu", weights_only=True))
    return {name: tensor.clone() for name, tensor in load_file(checkpoint / BEST).items()}  # not mapped: it is removed


def write_start(folder: Path, network: torch.nn.Module) -> None:
    """Write a whole network beside the checkpoints, which hold its head alone where the backbone does not learn."""
    folder.mkdir(exist_ok=True)
    write_weights(network, folder / WEIGHTS)


def read_start(folder: Path, network: torch.nn.Module) -> None:
    """Bring a network to what ``write_start`` wrote.

    Raises:
        BundleError: There is no such file, or it is damaged.
    """
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        problem = f"{folder / WEIGHTS} is damaged: {error}"
        raise BundleError(problem, hint=AGAIN) from error
