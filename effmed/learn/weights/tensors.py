"""Files of weights → tensors, without running what a file may hold; names of EfficientNet-Lite's authors → timm's."""

from __future__ import annotations

import pickle  # for the name of its error: torch.load(weights_only=True) runs no code
import re
import struct
import warnings
from typing import TYPE_CHECKING

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from effmed.errors import RecipeError
from effmed.learn.weights.records import check_sha256

if TYPE_CHECKING:
    from pathlib import Path

StateDict = dict[str, torch.Tensor]

SAFETENSORS, PICKLES = ".safetensors", (".pth", ".pt", ".bin")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training programs put the tensors
PARALLEL = "module."  # what DistributedDataParallel puts before every name
_DIGITS = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt)$")  # torch.hub's names: how the file's SHA-256 starts
_DAMAGES = (
    OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, struct.error,
    pickle.UnpicklingError,
)  # fmt: skip  # what torch.load raises on files that are none, cut, or hold code

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


def read_tensors(path: Path) -> StateDict:
    """Read a file of weights on the CPU.

    Args:
        path: ``.safetensors``; or ``.pth``, ``.pt``, ``.bin``, read by torch's loader that runs no code. Where such a
            file holds more than tensors, those below "state_dict_ema", "model_ema", "state_dict" or "model" are taken.

    Raises:
        RecipeError: The file is none of these, or holds something else than tensors.
        MachineError: Its name ends with digits of its SHA-256, and they are another file's.
    """
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    if path.suffix not in PICKLES:
        problem = f"weights {path} are of an unknown kind"
        raise RecipeError(problem, hint=f"name a {SAFETENSORS}, {', '.join(PICKLES)} file, or the folder of a run")
    named = _DIGITS.search(path.name)
    if named is not None:
        check_sha256(path, named[1], remedy="copy or download the file again")
    return _read_pickle(path)


def map_lite_names(reference: StateDict, architecture: str) -> StateDict:
    """Rename tensors from the names of EfficientNet-Lite's reference implementation to timm's.

    Args:
        reference: State dict under the reference implementation's names (``_blocks.3._bn0.weight`` …).
        architecture: timm's name of the network. Block i is the i-th ``blocks.S.B`` of its parameters.

    Raises:
        RecipeError: A name is not one of EfficientNet-Lite's: the weights are another network's.
    """
    with torch.device("meta"):  # names alone: nothing is drawn or stored
        names = list(timm.create_model(architecture, pretrained=False).state_dict())
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names if name.startswith("blocks.")))
    try:
        return {_timm_name(name, blocks): tensor for name, tensor in reference.items()}
    except (KeyError, IndexError) as error:
        problem = f"the weights are not those of {architecture}: {error} is not one of its parts"
        raise RecipeError(problem, hint="use the weights of the same variant, or --set model.weights=none") from error


def _timm_name(name: str, blocks: list[str]) -> str:
    match = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
    if match is None:
        module, _, rest = name.partition(".")
        return f"{_OUTSIDE_BLOCKS[module]}.{rest}"
    index, module, rest = int(match[1]), match[2], match[3]
    names = _FIRST_BLOCK if index == 0 else _OTHER_BLOCKS
    return f"{blocks[index]}.{names[module]}.{rest}"


def _read_safetensors(path: Path) -> StateDict:
    try:
        tensors: StateDict = load_file(path)
    except (OSError, SafetensorError) as error:
        problem = f"weights {path} cannot be read as safetensors: {error}"
        raise RecipeError(problem, hint="copy the file again; a .pth file must be called so") from error
    return tensors


def _read_pickle(path: Path) -> StateDict:
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that other programs wrote
            held = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGES as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        problem = f"weights {path} cannot be read without running code: {why}"
        raise RecipeError(problem, hint="copy the file again, or save its state_dict alone as safetensors") from error
    held = next((held[key] for key in WRAPPERS if isinstance(held, dict) and isinstance(held.get(key), dict)), held)
    if not (isinstance(held, dict) and held and all(isinstance(each, torch.Tensor) for each in held.values())):
        problem = f"weights {path} hold something else than named tensors"
        raise RecipeError(problem, hint="save the network's state_dict alone, best as safetensors")
    return {str(name).removeprefix(PARALLEL): tensor for name, tensor in held.items()}
