"""The stage table of a network as it is built: read from its modules and from one pass of an empty image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from effmed.errors import RecipeError
from effmed.learn.network import create_network, made_for_px
from effmed.learn.scaling.counting import N_CLASSES, RGB
from effmed.recipe import SIDE_MAX_PX, SIDE_MIN_PX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.learn.scaling import Variant

OPERATORS = {  # timm's classes → the papers' words
    "Conv2d": "Conv",
    "Conv2dSame": "Conv",
    "ConvBnAct": "Conv",
    "ConvNormAct": "Conv",
    "DepthwiseSeparableConv": "DepthwiseSeparable",
    "InvertedResidual": "MBConv",
    "EdgeResidual": "Fused-MBConv",
}
EXPANDED = {  # timm's name of the convolution that takes the expanded channels
    "DepthwiseSeparable": ".conv_pw",
    "MBConv": ".conv_pwl",
    "Fused-MBConv": ".conv_pwl",
}
SQUEEZING = (".se.conv_reduce", ".se.fc1")  # timm's names of the convolution that squeezes
IMAGE_AXES = 4  # batch, and channels first or last
STAGES_INSIDE = {"blocks", "stages", "layers", "features", "body"}  # timm's names of containers


class BuiltStage(BaseModel):
    """A row of the table.

    Attributes:
        stage: timm's name of the module.
        operator: Kind of the layers; timm's class name where the papers have no word for it.
        kernel: Sides of the largest kernel of the first layer; "" where it has no convolution.
        stride: Side of what comes in over side of what goes out, rounded; of the largest kernel where that is no image.
        expansion: Channels inside the first layer over those that come in; None where the kind does not expand.
        squeeze: Channels inside squeeze-and-excitation over those that come in; None where there is none.
        channels: That go out.
        layers: How many there are, one after another.
        side_px: Height of what comes in; None where that is no image.
        parameters: Of this stage, with the norm that follows it.
        multiply_adds: Of convolutions and linear layers, for one image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    operator: str
    kernel: str
    stride: int
    expansion: float | None
    squeeze: float | None
    channels: int
    layers: int
    side_px: int | None
    parameters: int
    multiply_adds: int


class Anatomy(BaseModel):
    """A network as it is built.

    Attributes:
        variant: What ``--variant`` takes.
        network: timm's name of the architecture; or B0 with the multipliers of the law.
        image_size: Side of the square input in pixels.
        channels: Of the input.
        n_outputs: Of the head.
        stages: Rows, in the order of the network.
        parameters: Of the whole network, with those outside of all stages.
        multiply_adds: Of convolutions and linear layers, for one image; not of products inside attention.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str
    network: str
    image_size: int
    channels: int
    n_outputs: int
    stages: tuple[BuiltStage, ...]
    parameters: int
    multiply_adds: int


class _Pass(NamedTuple):
    """What went through a module: shapes with the batch first, and multiply-adds (0 unless it has weights)."""

    name: str
    before: torch.Size
    after: torch.Size
    multiply_adds: int


@dataclass(frozen=True)
class _Part:
    """A row before it is read: the module, and norms that follow it."""

    name: str
    module: nn.Module
    norms: tuple[nn.Module, ...] = ()


def read_anatomy(variant: Variant, image_size: int | None = None) -> Anatomy:
    """Build the variant's network without memory for its weights, and read its stages.

    Args:
        variant: What will be built, with three channels and 1,000 outputs.
        image_size: Side of the square input in pixels; default: the variant's own.

    Raises:
        RecipeError: timm knows no such network, or it takes no such image.

    The rows of an EfficientNet are its stages; those of another network are timm's modules, which may run side by side.
    """
    side = (made_for_px(variant) or variant.resolution_px) if image_size is None else image_size
    if not SIDE_MIN_PX <= side <= SIDE_MAX_PX:
        problem = f"an image size of {side} px is not within {SIDE_MIN_PX} and {SIDE_MAX_PX}"
        raise RecipeError(problem, hint="model.image_size has the same bounds")
    with torch.device("meta"):
        multipliers = variant.multipliers
        network = create_network(variant.architecture, n_outputs=N_CLASSES, channels=RGB, multipliers=multipliers)
        passes = _watch(network.eval(), torch.zeros(1, RGB, side, side), variant)
    stages = tuple(_read_stage(network, part, passes) for part in _parts(network))
    return Anatomy(
        variant=variant.name,
        network=variant.architecture if multipliers is None else variant.built,
        image_size=side,
        channels=RGB,
        n_outputs=N_CLASSES,
        stages=stages,
        parameters=_n_parameters(network),
        multiply_adds=sum(item.multiply_adds for item in passes),
    )


def _watch(network: nn.Module, image: torch.Tensor, variant: Variant) -> list[_Pass]:
    """Send an image through, and note what goes through each module, in the order in which they end."""
    passes: list[_Pass] = []

    def note(name: str, module: nn.Module, before: object, after: object) -> None:
        first = before[0] if isinstance(before, tuple) and before else None
        if isinstance(first, torch.Tensor) and isinstance(after, torch.Tensor):
            passes.append(_Pass(name, first.shape, after.shape, _multiply_adds(module, after.shape)))

    for name, module in network.named_modules():
        module.register_forward_hook(lambda module, before, after, name=name: note(name, module, before, after))
    try:
        with torch.no_grad():
            network(image)
    except (AssertionError, RuntimeError, ValueError) as error:
        side = image.shape[-1]
        problem = f"{variant.name} takes no image of {side} x {side} px: {str(error).splitlines()[0]}"
        raise RecipeError(problem, hint="--image-size sets another side") from error
    return passes


def _multiply_adds(module: nn.Module, after: torch.Size) -> int:
    if isinstance(module, nn.Conv2d):
        return math.prod(after[1:]) * math.prod(module.weight.shape[1:])
    return math.prod(after[1:]) * module.in_features if isinstance(module, nn.Linear) else 0


def _parts(network: nn.Module) -> list[_Part]:
    """Return the rows: children with convolutions or linear layers, containers of stages opened, norms with them."""
    parts: list[_Part] = []
    for name, child in _opened(network):
        if _weighted(child):
            parts.append(_Part(name, child))
        elif _n_parameters(child) and parts:
            last = parts.pop()
            parts.append(_Part(last.name, last.module, (*last.norms, child)))
    return parts


def _opened(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        inside = list(child.named_children())
        if name in STAGES_INSIDE and any(_is_sequence(grandchild) for _, grandchild in inside):
            yield from ((f"{name}.{key}", grandchild) for key, grandchild in inside)
        else:
            yield name, child


def _layers(stage: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a stage by their name inside it; a module that is no sequence is its own only layer."""
    inner = getattr(stage, "blocks", stage)
    prefix = "blocks." if inner is not stage else ""
    children = {f"{prefix}{name}": child for name, child in inner.named_children() if _weighted(child)}
    stems = {name.rstrip("0123456789") for name in children}
    is_numbered = len(stems) == 1 and all(name[-1].isdigit() for name in children)
    return children if children and (_is_sequence(inner) or is_numbered) else {"": stage}


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(getattr(module, "blocks", module), (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _read_stage(network: nn.Module, part: _Part, passes: list[_Pass]) -> BuiltStage:
    inside = [item for item in passes if _is_in(item, part.name)]
    layers = _layers(part.module)
    first = ".".join(word for word in (part.name, next(iter(layers))) if word)
    whole = [item for item in inside if item.name == part.name] or inside
    before, after = _side(whole[0].before), _side(whole[-1].after)
    operator = " + ".join(dict.fromkeys(_operator(layer) for layer in layers.values()))
    in_first = [item for item in inside if _is_in(item, first)]
    largest = _largest_convolution(network, in_first)
    return BuiltStage(
        stage=part.name,
        operator=operator,
        kernel="" if largest is None else "{}x{}".format(*largest.kernel_size),
        stride=round(before / after) if before and after else max((1,) if largest is None else largest.stride),
        expansion=_share(in_first, EXPANDED[operator]) if operator in EXPANDED else None,
        squeeze=_share(in_first, SQUEEZING, outgoing=True),
        channels=_channels(whole[-1].after),
        layers=len(layers),
        side_px=before,
        parameters=_n_parameters(part.module) + sum(_n_parameters(norm) for norm in part.norms),
        multiply_adds=sum(item.multiply_adds for item in inside),
    )


def _is_in(item: _Pass, name: str) -> bool:
    return item.name == name or item.name.startswith(f"{name}.")


def _operator(layer: nn.Module) -> str:
    name = type(layer).__name__
    return OPERATORS.get(name, name)


def _largest_convolution(network: nn.Module, passes: list[_Pass]) -> nn.Conv2d | None:
    modules = [network.get_submodule(item.name) for item in passes]
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    return max(convolutions, key=lambda module: math.prod(module.kernel_size), default=None)


def _share(passes: list[_Pass], ending: str | tuple[str, ...], *, outgoing: bool = False) -> float | None:
    """Return the channels at a module of a layer over those that come into the layer, whose pass is the last."""
    found = [item for item in passes if item.name.endswith(ending)]
    if not found:
        return None
    return _channels(found[0].after if outgoing else found[0].before) / _channels(passes[-1].before)


def _side(shape: torch.Size) -> int | None:
    """Return the height of a square image, channels first or last; None where it is none."""
    if len(shape) != IMAGE_AXES or 1 not in (shape[2] / shape[3], shape[1] / shape[2]):
        return None
    return shape[2]


def _channels(shape: torch.Size) -> int:
    is_first = len(shape) == IMAGE_AXES and shape[2] == shape[3]
    return shape[1] if is_first else shape[-1]


def _weighted(module: nn.Module) -> bool:
    return any(isinstance(inner, (nn.Conv2d, nn.Linear)) for inner in module.modules())


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
