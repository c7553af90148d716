"""Plan → timm network with a new head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.models import get_pretrained_cfg
from timm.models.efficientnet import _gen_efficientnet  # what timm builds every variant with
from torch import nn

from effmed.errors import RecipeError
from effmed.learn.scaling import PHI_PREFIX, find_variant
from effmed.learn.scaling.counting import RGB

if TYPE_CHECKING:
    from effmed.learn.plan import Plan
    from effmed.learn.scaling import Variant
    from effmed.learn.weights.tensors import StateDict

BASE = "tf_efficientnet_b0"
AS_IN_TENSORFLOW = {"bn_eps": 1e-3, "pad_type": "same"}  # what timm gives its tf_ networks, whose weights these take
SHARE_TOLERANCE = 0.001  # another number of input channels changes the stem
HEAD_STD = 0.01  # He et al. 2016 and torchvision start new linear heads so
STANDARDISED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)  # kernels are no sum over channels


def made_for_px(variant: Variant) -> int:
    """Return the side in pixels that timm's settings of a network name; 0 for a variant, and where they name none."""
    config = get_pretrained_cfg(variant.architecture) if variant.table is None else None
    return 0 if config is None else int(config.input_size[-1])


def takes_one_size(variant: Variant) -> bool:
    """Whether a network is made for images of one size alone, as timm says; False where timm says nothing."""
    config = get_pretrained_cfg(variant.architecture)
    return config is not None and bool(config.fixed_input_size)


def check_size_fits(plan: Plan) -> None:
    """Send an empty image through the planned network, without memory for its weights.

    A network of the family is fully convolutional and is not asked.

    Raises:
        RecipeError: It takes no image of the planned size or channels, or gives no logits; or timm knows no such
            network.
    """
    variant = find_variant(plan.variant)
    if variant.table is not None:
        return
    spec = plan.preprocessing
    with torch.device("meta"), torch.no_grad():
        network = build_network(plan).eval()
        try:
            logits = network(torch.zeros(1, spec.channels, spec.height, spec.width))
        except (AssertionError, RuntimeError, ValueError) as error:
            problem = f"{plan.variant} takes no image of {spec.size_text}: {str(error).splitlines()[0]}"
            size = made_for_px(variant) or "another size"
            is_own_size = spec.height == spec.width == size
            setting = f"model.channels={RGB}" if is_own_size else f"model.image_size={size}"
            raise RecipeError(problem, hint=f"--set {setting}, or take an EfficientNet") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, plan.n_outputs):
        problem = f"{plan.variant} gives no row of logits for an image: it is no classifier of images"
        raise RecipeError(problem, hint="take an EfficientNet, or another classifier of timm")


def build_network(plan: Plan, weights: StateDict | None = None, *, keep_head: bool = False) -> nn.Module:
    """Build the planned network, with a fresh head unless ``keep_head``.

    Args:
        plan: What was decided.
        weights: Pretrained tensors under timm's names, or None for random ones. Their head is left out; a stem of
            three channels is spread over the planned number, so that equal channels give the same outputs as RGB. A
            network between the variants takes those whose names and shapes agree, and keeps the rest random.
        keep_head: Take the weights' head too: it was trained for the plan's task and classes.

    Returns:
        The network on the CPU in training mode: ``(batch, channel, height, width)`` → ``(batch, n_outputs)`` logits.

    Raises:
        RecipeError: timm knows no such network, or the weights are another network's.
    """
    between = find_variant(plan.variant) if plan.variant.startswith(PHI_PREFIX) else None
    network = create_network(
        plan.network.partition(".")[0],
        n_outputs=plan.n_outputs,
        channels=plan.preprocessing.channels,
        dropout=plan.dropout,
        drop_path=plan.drop_path,
        multipliers=None if between is None else between.multipliers,
    )
    if weights is not None:
        giver = weights if between is None else _carried(network, weights, between)
        load_backbone(network, giver, with_head=keep_head)
    if weights is None or not keep_head:
        _start_head(network)
    return network


def _carried(network: nn.Module, weights: StateDict, variant: Variant) -> StateDict:
    """Return the network's own tensors, with those of other weights in their place where name and shape agree.

    Raises:
        RecipeError: Fewer agree than the plan tells: the weights are not those it was made for.
    """
    own, head = network.state_dict(), head_prefix(network)
    fitting = {name: tensor for name, tensor in _with_stem(network, weights).items() if name in own}
    fitting = {name: tensor for name, tensor in fitting.items() if tensor.shape == own[name].shape}
    sizes = {name: tensor.numel() for name, tensor in network.named_parameters() if not name.startswith(head)}
    share = sum(size for name, size in sizes.items() if name in fitting) / sum(sizes.values())
    if share < variant.carried_fraction - SHARE_TOLERANCE:
        problem = f"{share:.1%} of the parameters can be carried over, not {variant.carried_fraction:.1%} as planned"
        raise RecipeError(problem, hint=f"use the weights {variant.network}, or --set model.weights=none")
    return own | fitting


def create_network(
    architecture: str,
    *,
    n_outputs: int,
    channels: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    multipliers: tuple[float, float] | None = None,
) -> nn.Module:
    """Build a network of timm with random weights, on the device that is the default at the time.

    Args:
        architecture: timm's name, without the weights' tag.
        n_outputs: Of the head.
        channels: Of the input.
        dropout: Rate before the head.
        drop_path: Rate of stochastic depth at the last block.
        multipliers: Of B0's channels and layers, for a network between the variants, whatever ``architecture`` is.

    Raises:
        RecipeError: timm knows no such network, or it does not know one of these settings.
    """
    settings: dict[str, Any] = {"num_classes": n_outputs, "in_chans": channels, "drop_rate": dropout}
    if drop_path > 0:  # many networks do not know the word
        settings["drop_path_rate"] = drop_path
    if multipliers is not None:
        width, depth = multipliers
        scaling = {"channel_multiplier": width, "depth_multiplier": depth}
        network: nn.Module = _gen_efficientnet(BASE, **scaling, **AS_IN_TENSORFLOW, **settings)  # type: ignore[no-untyped-call]
        return network
    if not timm.is_model(architecture):
        raise RecipeError(f"timm knows no network {architecture!r}", hint="'effmed variants' lists the variants")
    try:
        made: nn.Module = timm.create_model(architecture, pretrained=False, **settings)
    except TypeError as error:
        unknown = next((key for key in settings if f"'{key}'" in str(error)), None)
        if unknown is None:
            raise
        if unknown != "drop_path_rate":
            problem = f"{architecture} of timm has no {unknown}, as a classifier of images has"
            raise RecipeError(problem, hint="take an EfficientNet, or another classifier of timm") from error
        problem = f"{architecture} has no stochastic depth, but model.drop_path = {drop_path:g}"
        raise RecipeError(problem, hint="--set model.drop_path=0") from error
    return made


def _start_head(network: nn.Module) -> None:
    """Start the new head near zero: timm draws it from ±1/√outputs, which for one output gives logits of ±30."""
    head = head_prefix(network)
    for name, parameter in network.named_parameters():
        if name.startswith(head):
            nn.init.normal_(parameter, std=HEAD_STD) if parameter.ndim > 1 else nn.init.zeros_(parameter)


def head_prefix(network: nn.Module) -> str:
    """Return how the names of the head's parameters begin, as timm says.

    Raises:
        RecipeError: The network has several heads, or none that timm names.
    """
    named = network.default_cfg.get("classifier")  # type: ignore[union-attr,operator]  # timm's, no module
    if not isinstance(named, str):
        problem = f"{type(network).__name__} has not one last layer but {named!r}: it cannot be fine-tuned here"
        raise RecipeError(problem, hint="take an EfficientNet, or another network of timm with one classifier")
    return f"{named}."


def _stem_names(network: nn.Module) -> list[str]:
    """Return the names of the kernels that meet the image, as timm says."""
    named = network.default_cfg.get("first_conv")  # type: ignore[union-attr,operator]  # timm's, no module
    return [f"{name}.weight" for name in ((named,) if isinstance(named, str) else named or ())]


def _with_stem(network: nn.Module, weights: StateDict) -> StateDict:
    """Return weights whose first convolutions take as many channels as the network's.

    A layer that standardises its kernels over all channels would not give the same after spreading: its kernels stay
    as they are, as do those of a layer that is no convolution.
    """
    own = network.state_dict()
    layers = {name: network.get_submodule(name.removesuffix(".weight")) for name in _stem_names(network) if name in own}
    spread = [
        name
        for name, layer in layers.items()
        if name in weights and isinstance(layer, nn.Conv2d) and not isinstance(layer, STANDARDISED)
    ]
    return weights | {name: spread_channels(weights[name], own[name].shape[1]) for name in spread}


def load_backbone(network: nn.Module, weights: StateDict, *, with_head: bool = False) -> None:
    """Put pretrained tensors into everything but the head, or into the head too.

    Tensors that the network has no place for are left out where they are none of its layers (the auxiliary classifier
    of Inception); a further layer of the same kind means that the weights are a deeper network's.

    Raises:
        RecipeError: Names or shapes differ: the weights are another network's, or of channels that cannot be spread.
    """
    own = network.state_dict()
    left_out = () if with_head else (head_prefix(network),)
    taken = {name: tensor for name, tensor in _with_stem(network, weights).items() if not name.startswith(left_out)}
    expected = [name for name in own if not name.startswith(left_out)]
    wrong = [name for name in expected if name not in taken or taken[name].shape != own[name].shape]
    if wrong and set(wrong) <= taken.keys() & set(_stem_names(network)):
        given, wanted = (tuple(tensors[wrong[0]].shape) for tensors in (taken, own))
        problem = (
            f"the first layer of these weights cannot be spread over other channels: {wrong[0]} {given}, not {wanted}"
        )
        raise RecipeError(problem, hint=f"--set model.channels={RGB} for weights of timm, or take an EfficientNet")
    if wrong:
        problem = (
            f"the weights do not fit the network: {len(wrong)} of {len(expected)} tensors differ, such as {wrong[0]}"
        )
        raise RecipeError(problem, hint="use the weights of the same variant, or --set model.weights=none")
    further = _further_layers(own, taken)
    if further:
        problem = f"the weights are a deeper network's: no place for {len(further)} tensors, such as {further[0]}"
        raise RecipeError(problem, hint="use the weights of the same variant, or --set model.weights=none")
    network.load_state_dict(taken, strict=False)


def _further_layers(own: StateDict, taken: StateDict) -> list[str]:
    """Return the names that differ from names of the network in nothing but the numbers of layers."""
    kinds = {re.sub(r"\d+", "#", name) for name in own}
    return [name for name in taken if name not in own and re.sub(r"\d+", "#", name) in kinds]


def spread_channels(kernels: torch.Tensor, channels: int) -> torch.Tensor:
    """Spread the kernels of RGB evenly over another number of input channels, in their order.

    The sum over the channels stays: where all channels are equal, so is what the layer gives. One channel takes the
    whole sum, two take R + G/2 and G/2 + B, three stay as they are.

    Args:
        kernels: ``(out, RGB, height, width)``.
        channels: How many there are to be.

    Returns:
        ``(out, channels, height, width)``.
    """
    n_before = kernels.shape[1]
    if n_before == channels:
        return kernels
    fine = kernels.repeat_interleave(channels, dim=1)  # in as many parts that both numbers divide it
    return fine.reshape(len(kernels), channels, n_before, *kernels.shape[2:]).sum(dim=2) / channels
