"""What training a variant costs in memory and time, estimated from its stage table (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.learn.scaling.counting import RGB, STEM_STRIDE, count, strided

if TYPE_CHECKING:
    from effmed.learn.scaling.stages import Stage, StageTable

BYTES_PER_FLOAT32 = 4
STATES_PER_PARAMETER = 4  # the parameter, its gradient, two moments of AdamW; all float32
PASSES_OF_TRAINING = 3  # forward, and backward for inputs and for weights, each as many multiply-adds
# Tensors that the backward pass needs of what a convolution gives: what its norm takes, what its activation takes (a
# copy, as the activation works in place), and what the next layer takes. Within 1 % of what torch keeps; see the tests.
SAVED_IF_ACTIVE = 3
SAVED_IF_LINEAR = 2


def training_bytes(table: StageTable, side_px: int, batch_size: int, *, bytes_per_number: int) -> int:
    """Estimate the memory that a training step of a network takes, without that of the program itself.

    Args:
        table: Scaled already.
        side_px: Side of the square input.
        batch_size: Images of a step.
        bytes_per_number: Of what the forward pass leaves for the backward pass: 4 in float32, 2 in half precision.
    """
    parameters = count(table, side_px).parameters
    saved = saved_numbers(table, side_px) * batch_size * bytes_per_number
    return parameters * STATES_PER_PARAMETER * BYTES_PER_FLOAT32 + saved


def training_seconds(table: StageTable, side_px: int, *, n_train: float, n_val: float, speed: float) -> float:
    """Estimate the time that training takes, decoding and evaluation left out; right within a factor of two.

    Args:
        table: Scaled already.
        side_px: Side of the square input.
        n_train: Images to learn from, each counted as often as it is seen.
        n_val: Images that are looked at in between, each counted as often as it is seen.
        speed: Multiply-adds per second of training, forward and backward pass.
    """
    return count(table, side_px).multiply_adds * (PASSES_OF_TRAINING * n_train + n_val) / speed


def saved_numbers(table: StageTable, side_px: int) -> int:
    """Count the numbers that the forward pass of one image leaves for the backward pass.

    Args:
        table: Scaled already.
        side_px: Side of the square input with three channels.
    """
    side = strided(side_px, STEM_STRIDE)
    total, channels = RGB * side_px**2 + SAVED_IF_ACTIVE * table.stem * side**2, table.stem
    for stage in table.stages:
        for layer in range(stage.layers):
            before, side = side, strided(side, stage.stride if layer == 0 else 1)
            total += _layer(stage, channels, before, side)
            channels = stage.channels
    return total + SAVED_IF_ACTIVE * table.head * side**2


def _layer(stage: Stage, channels: int, before: int, after: int) -> int:
    """Of one layer; ``before`` and ``after`` are the sides of what comes in and goes out.

    The last convolution of a layer has no activation, but in "Conv"; what squeeze-and-excitation gives is kept.
    """
    inside, out = channels * stage.expansion * after**2, stage.channels * after**2
    if stage.operator == "Conv":
        return SAVED_IF_ACTIVE * out
    if stage.operator == "Fused-MBConv":
        return SAVED_IF_ACTIVE * inside + SAVED_IF_LINEAR * out
    expanded = channels * stage.expansion * before**2 if stage.operator == "MBConv" else 0
    squeezed = inside if stage.squeeze else 0
    return SAVED_IF_ACTIVE * (expanded + inside) + squeezed + SAVED_IF_LINEAR * out
