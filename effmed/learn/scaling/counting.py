"""Tensors, parameters and multiply-adds of a network, from its stage table alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.learn.scaling.stages import Stage, StageTable

STEM_KERNEL, STEM_STRIDE = 3, 2
N_CLASSES = 1000  # ImageNet's, with which papers count
RGB = 3
HEAD = "classifier."


class Counts(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: What training changes; running statistics of norms are no parameters.
        multiply_adds: Of convolutions and linear layers, for one image. Norms, activations and pooling are not
            counted, as in the papers.
    """

    parameters: int
    multiply_adds: int


class Tensor(NamedTuple):
    """A tensor that training changes.

    Attributes:
        name: timm's.
        shape: Of a convolution: channels out, channels in of each group, height, width.
        uses: How often an image is multiplied with each number; 0 for biases and norms.
    """

    name: str
    shape: tuple[int, ...]
    uses: int


def count(table: StageTable, side_px: int, *, channels: int = RGB, n_outputs: int = N_CLASSES) -> Counts:
    """Count a network from its stage table.

    Args:
        table: Scaled already.
        side_px: Side of the square input.
        channels: Of the input.
        n_outputs: Of the linear layer at the end.
    """
    found = list(tensors(table, side_px, channels=channels, n_outputs=n_outputs))
    sizes = [math.prod(tensor.shape) for tensor in found]
    return Counts(sum(sizes), sum(size * tensor.uses for size, tensor in zip(sizes, found, strict=True)))


def carried_fraction(table: StageTable, giver: StageTable) -> float:
    """Return the share of a network's parameters, head left out, that another one has under the same name and shape.

    Args:
        table: Of the network that takes weights; scaled already.
        giver: Of the network whose weights are there; scaled already.
    """
    given = {tensor.name: tensor.shape for tensor in tensors(giver, 1)}
    sizes = {tensor: math.prod(tensor.shape) for tensor in tensors(table, 1) if not tensor.name.startswith(HEAD)}
    return sum(size for tensor, size in sizes.items() if given.get(tensor.name) == tensor.shape) / sum(sizes.values())


def tensors(table: StageTable, side_px: int, *, channels: int = RGB, n_outputs: int = N_CLASSES) -> Iterator[Tensor]:
    """Name the tensors of a network as timm does, in its order; arguments as those of ``count``."""
    side = strided(side_px, STEM_STRIDE)
    yield from _convolution("conv_stem", "bn1", (table.stem, channels, STEM_KERNEL), side)
    channels = table.stem
    for index, stage in enumerate(table.stages):
        for layer in range(stage.layers):
            before, side = side, strided(side, stage.stride if layer == 0 else 1)
            for tensor in _layer(stage, channels, before, side):
                yield tensor._replace(name=f"blocks.{index}.{layer}.{tensor.name}")
            channels = stage.channels
    yield from _convolution("conv_head", "bn2", (table.head, channels, 1), side)
    yield Tensor(f"{HEAD}weight", (n_outputs, table.head), 1)
    yield Tensor(f"{HEAD}bias", (n_outputs,), 0)


def strided(side_px: int, stride: int) -> int:
    """Return the side after a convolution that pads what its stride needs ("same"): rounded up."""
    return -(-side_px // stride)


def _layer(stage: Stage, channels: int, before: int, after: int) -> Iterator[Tensor]:
    """The tensors of one layer; ``before`` and ``after`` are the sides of what comes in and goes out."""
    inside, kernel = channels * stage.expansion, stage.kernel
    squeezed = round(channels * stage.squeeze)
    if stage.operator == "Conv":
        yield from _convolution("conv", "bn1", (stage.channels, channels, kernel), after)
    elif stage.operator == "DepthwiseSeparable":
        yield from _convolution("conv_dw", "bn1", (inside, 1, kernel), after)
        yield from _squeeze(inside, squeezed)
        yield from _convolution("conv_pw", "bn2", (stage.channels, inside, 1), after)
    elif stage.operator == "MBConv":
        yield from _convolution("conv_pw", "bn1", (inside, channels, 1), before)
        yield from _convolution("conv_dw", "bn2", (inside, 1, kernel), after)
        yield from _squeeze(inside, squeezed)
        yield from _convolution("conv_pwl", "bn3", (stage.channels, inside, 1), after)
    else:
        yield from _convolution("conv_exp", "bn1", (inside, channels, kernel), after)
        yield from _convolution("conv_pwl", "bn2", (stage.channels, inside, 1), after)


def _convolution(name: str, norm: str, sizes: tuple[int, int, int], side: int) -> Iterator[Tensor]:
    """A convolution without biases, (out, in of each group, side of the kernel), and its norm."""
    channels, incoming, kernel = sizes
    yield Tensor(f"{name}.weight", (channels, incoming, kernel, kernel), side**2)
    yield Tensor(f"{norm}.weight", (channels,), 0)
    yield Tensor(f"{norm}.bias", (channels,), 0)


def _squeeze(channels: int, squeezed: int) -> Iterator[Tensor]:
    """Two 1 x 1 convolutions with biases on the mean over the image; nothing where nothing is squeezed."""
    if squeezed:
        yield Tensor("se.conv_reduce.weight", (squeezed, channels, 1, 1), 1)
        yield Tensor("se.conv_reduce.bias", (squeezed,), 0)
        yield Tensor("se.conv_expand.weight", (channels, squeezed, 1, 1), 1)
        yield Tensor("se.conv_expand.bias", (channels,), 0)
