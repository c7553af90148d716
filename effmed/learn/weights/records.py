"""The JSON beside a file of weights: origin, licence and SHA-256, checked whenever it is used (no torch)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from effmed.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path


class WeightsRecord(BaseModel):
    """What ``<file>.json`` says about a fetched file of weights.

    Attributes:
        variant: What ``--variant`` takes.
        network: timm's name of architecture and weights.
        source: Where the file came from.
        revision: The hub's commit; "" where it named none.
        licence: Of the weights.
        sha256: That the hub announced and the file had when it was fetched.
        bytes: Size of the file.
        resolution_px: Side of the square images that the weights were trained on; 0 if unknown.
        mean: Per RGB channel, subtracted from intensities in [0, 1].
        std: Per RGB channel, what the difference is divided by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    variant: str
    network: str
    source: str
    revision: str
    licence: str
    sha256: str
    bytes: int
    resolution_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def record_file(path: Path) -> Path:
    """Return where the record of a file lies: beside it, with ``.json`` added."""
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> WeightsRecord | None:
    """Return what is recorded about the file ``path``, None where nothing is.

    Raises:
        MachineError: The record is damaged.
    """
    try:
        return WeightsRecord.model_validate_json(record_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        problem = f"{record_file(path)} cannot be understood: {str(error).splitlines()[0]}"
        raise MachineError(problem, hint="copy it again together with its weights, or fetch both again") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        MachineError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        problem = f"weights {path} cannot be read: {error.strerror or error}"
        raise MachineError(problem, hint="check the file and its permissions, or fetch it again") from error


def check_sha256(path: Path, recorded: str, *, remedy: str) -> None:
    """Raise ``MachineError`` where a file is not the one that ``recorded`` (its SHA-256, or how that starts) is of."""
    found = file_sha256(path)
    if not found.startswith(recorded):
        problem = f"weights {path} are damaged: SHA-256 {found}, recorded {recorded}"
        raise MachineError(problem, hint=remedy)
