"""Depthwise convolution, alone or behind batch normalisation, as functions that torch differentiates."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.autograd.function import once_differentiable

from effmed.learn.kernels.build import LANES, Shape
from effmed.learn.kernels.calls import KINDS, Context, call, empty, empty_exact, empty_images, n_parts, ordered, sizes
from effmed.learn.kernels.normalising import Normalisation, Sums, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Numbers of float32, a megabyte: what a core's own cache holds. From half a megabyte to two the layers of B0 took as
# long on two cores, with a quarter they took up to a third longer.
STRIP_SIZE = 1 << 18
ENOUGH_STRIPS = 32  # of a batch, for as many cores: more would compute more rows twice


@dataclass(frozen=True)
class Geometry:
    """How a depthwise convolution meets its input.

    Attributes:
        stride: Of rows and columns, in pixels.
        before: Zeros before the first row and the first column.
        out: Rows and columns of the output.
    """

    stride: int
    before: tuple[int, int]
    out: tuple[int, int]


class ConvolveDepthwise(torch.autograd.Function):
    """Convolution of each channel with square weights of its own, zeros around the image."""

    @staticmethod
    def forward(ctx: Context, inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        """Return outputs for weights ``(channel, 1, height, width)``."""
        shape, outputs = _shape(inputs, weight, geometry), empty_images(*inputs.shape[:2], *geometry.out)
        call("effmed_depthwise", inputs, _packed(weight), ctypes.byref(shape), outputs)
        ctx.save_for_backward(inputs, weight)
        ctx.geometry = geometry
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input and weight, each where it is needed."""
        inputs, weight = ctx.saved_tensors
        gradient = ordered(gradient)
        wanted: tuple[Callable[..., torch.Tensor], ...] = (_input_gradient, _weight_gradient)
        return *(
            find(inputs, weight, gradient, ctx.geometry) if needed else None
            for find, needed in zip(wanted, ctx.needs_input_grad, strict=False)
        ), None


def _packed(weight: torch.Tensor) -> torch.Tensor:
    """Return weights ``(channel, 1, height, width)`` as depthwise.c reads them: a block of channels after the other."""
    taps = weight.flatten(1)
    block = 2 * LANES if len(taps) % (2 * LANES) == 0 else LANES
    return taps.reshape(-1, block, taps.shape[1]).transpose(1, 2).contiguous()


def _shape(inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> Shape:
    images, channels, height, width = inputs.shape
    return Shape(images, channels, height, width, *geometry.out, weight.shape[-1], geometry.stride, *geometry.before)


def _input_gradient(
    inputs: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, geometry: Geometry
) -> torch.Tensor:
    """Return the gradient of the input."""
    found, shape = empty_images(*inputs.shape), _shape(inputs, weight, geometry)
    call("effmed_depthwise_input", gradient, _packed(weight), ctypes.byref(shape), found)
    return found


def _weight_gradient(
    inputs: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, geometry: Geometry
) -> torch.Tensor:
    """Return the gradient of the weights, ``(channel, 1, height, width)``."""
    side, shape = weight.shape[-1], _shape(inputs, weight, geometry)
    parts, found = empty(len(inputs), side * side, len(weight)), empty_exact(side * side, len(weight))
    call("effmed_depthwise_weights", inputs, gradient, ctypes.byref(shape), parts, found)
    return _unpacked(found, weight)


def _unpacked(found: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return gradients ``(taps, channel)`` in the order of the weights."""
    return found.float().t().reshape(weight.shape)


@dataclass(frozen=True)
class _Strips:
    """How many rows of an output are computed together from activations that fit into the cache.

    Attributes:
        n_rows: Of the output.
        count: How many strips an image has.
        size: Numbers of the rows of the input that a strip meets, and of two more to work in.
    """

    n_rows: int
    count: int
    size: int


def _strips(inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> _Strips:
    """Choose strips by the images alone: were they chosen by the threads, sums would depend on these."""
    images, channels, height, width = inputs.shape
    side, line = weight.shape[-1], width * channels
    that_fit = (STRIP_SIZE // line - side) // geometry.stride + 1
    n_rows = max(min(that_fit, -(-geometry.out[0] * images // ENOUGH_STRIPS), geometry.out[0]), 1)
    met = min((n_rows - 1) * geometry.stride + side, height)
    return _Strips(n_rows, -(-geometry.out[0] // n_rows), (met + 2) * line)


class NormaliseConvolve(torch.autograd.Function):
    """``NormaliseActivate`` and the ``ConvolveDepthwise`` behind it, without the activations that lie between.

    Forward a pass for the statistics and one for the outputs; backward one for all sums, the gradient of the weights
    and what comes back to the activation, and one for the gradient of the input. Activations are computed again from
    the input, some rows at a time, which takes less than writing and reading them. Nothing but the input is kept.
    """

    @staticmethod
    def forward(
        ctx: Context,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        weights: torch.Tensor,
        how: tuple[Normalisation, Geometry],
    ) -> torch.Tensor:
        """Return outputs.

        Args:
            ctx: Of torch.
            inputs: ``(batch, channel, height, width)``.
            weight: ``(channel,)``.
            bias: ``(channel,)``.
            weights: Weights of the convolution, ``(channel, 1, height, width)``.
            how: The batch is normalised and convolved.
        """
        manner, geometry = how
        scale, shift, mean, variance = line_of(inputs, weight, bias, manner)
        ctx.save_for_backward(inputs, weights, scale, shift, mean, variance)
        ctx.manner, ctx.geometry = manner, geometry
        return convolved(inputs, scale, shift, manner.kind, weights, geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight and bias of the normalisation, and weights of the convolution."""
        inputs, weights, scale, shift, mean, variance = ctx.saved_tensors
        (images, channels, height, width), (pixels, _) = inputs.shape, sizes(inputs)
        strips, shape = _strips(inputs, weights, ctx.geometry), _shape(inputs, weights, ctx.geometry)
        side, n_threads = weights.shape[-1], torch.get_num_threads()
        found, of_weights = empty_exact(2, channels), empty_exact(side * side, channels)
        back = empty_images(*inputs.shape)
        call(
            "effmed_normalise_depthwise_back",
            *(inputs, ordered(gradient), scale, shift, mean, KINDS[ctx.manner.kind], _packed(weights)),
            *(ctypes.byref(shape), strips.n_rows, n_threads, strips.size, empty(n_threads, strips.size)),
            *(empty(images, height, n_parts(width), 2, channels), found),
            *(empty(images, strips.count, side * side, channels), of_weights, back),
        )
        sums, eps = Sums(found[0].float(), found[1].float(), pixels), ctx.manner.eps
        known = (inputs, back, pixels, channels, scale, shift, mean, *sums.slant_and_offset(scale, variance, eps))
        call("effmed_normalise_back", *known, KINDS["identity"], back)
        return back, sums.of_weight(variance, eps), sums.of_y, _unpacked(of_weights, weights), None


def convolved(
    inputs: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    kind: str,
    weights: torch.Tensor,
    geometry: Geometry,
) -> torch.Tensor:
    """Return the convolution of the activation of scale · inputs + shift."""
    strips, shape = _strips(inputs, weights, geometry), _shape(inputs, weights, geometry)
    n_threads, outputs = torch.get_num_threads(), empty_images(*inputs.shape[:2], *geometry.out)
    call(
        "effmed_normalise_depthwise",
        *(inputs, scale, shift, KINDS[kind], _packed(weights), ctypes.byref(shape)),
        *(strips.n_rows, n_threads, strips.size, empty(n_threads, strips.size), outputs),
    )
    return outputs
