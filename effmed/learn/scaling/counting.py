"""Parameters and multiply-adds of a network, counted from its stage table alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.learn.scaling.stages import Stage, StageTable

STEM_KERNEL, STEM_STRIDE = 3, 2
N_CLASSES = 1000  # ImageNet's, with which papers count
RGB = 3


class Counts(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: What training changes; running statistics of norms are no parameters.
        multiply_adds: Of convolutions and linear layers, for one image. Norms, activations and pooling are not
            counted, as in the papers.
    """

    parameters: int
    multiply_adds: int


def count(table: StageTable, side_px: int, *, channels: int = RGB, n_outputs: int = N_CLASSES) -> Counts:
    """Count a network from its stage table.

    Args:
        table: Scaled already.
        side_px: Side of the square input.
        channels: Of the input.
        n_outputs: Of the linear layer at the end.
    """
    parts = list(_parts(table, side_px, channels, n_outputs))
    return Counts(sum(part.parameters for part in parts), sum(part.multiply_adds for part in parts))


def strided(side_px: int, stride: int) -> int:
    """Return the side after a convolution that pads what its stride needs ("same"): rounded up."""
    return -(-side_px // stride)


def _parts(table: StageTable, side_px: int, channels: int, n_outputs: int) -> Iterator[Counts]:
    side = strided(side_px, STEM_STRIDE)
    yield _convolution(channels, table.stem, side, kernel=STEM_KERNEL)
    channels = table.stem
    for stage in table.stages:
        for layer in range(stage.layers):
            before, side = side, strided(side, stage.stride if layer == 0 else 1)
            yield from _layer(stage, channels, before, side)
            channels = stage.channels
    yield _convolution(channels, table.head, side)
    yield Counts(table.head * n_outputs + n_outputs, table.head * n_outputs)


def _layer(stage: Stage, channels: int, before: int, after: int) -> Iterator[Counts]:
    """The convolutions of one layer; ``before`` and ``after`` are the sides of what comes in and goes out."""
    inside = channels * stage.expansion
    if stage.operator == "Conv":
        yield _convolution(channels, stage.channels, after, kernel=stage.kernel)
        return
    if stage.operator == "Fused-MBConv":
        yield _convolution(channels, inside, after, kernel=stage.kernel)
    else:
        if stage.operator == "MBConv":
            yield _convolution(channels, inside, before)
        yield _convolution(inside, inside, after, kernel=stage.kernel, groups=inside)
    if stage.squeeze:
        squeezed = round(channels * stage.squeeze)
        yield Counts(2 * inside * squeezed + squeezed + inside, 2 * inside * squeezed)
    yield _convolution(inside, stage.channels, after)


def _convolution(before: int, after: int, side: int, *, kernel: int = 1, groups: int = 1) -> Counts:
    """A convolution without biases and its norm, which has a factor and a bias per channel."""
    weights = kernel**2 * before // groups * after
    return Counts(weights + 2 * after, weights * side**2)
