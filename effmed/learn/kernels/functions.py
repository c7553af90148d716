"""What the compiled layers compute, as functions that torch differentiates.

All tensors are float32 on the CPU and, where they have pixels, in channels_last order.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.autograd.function import once_differentiable

from effmed.learn.kernels.build import Shape, load_kernels

if TYPE_CHECKING:
    from collections.abc import Callable

Context: TypeAlias = Any  # torch's, which takes any attribute
PART = 128  # pixels whose sums are taken in float32; as in normalise.c
KINDS = {"identity": 0, "silu": 1, "relu": 2, "relu6": 3}  # as in normalise.c


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


def _call(name: str, *arguments: object) -> None:
    getattr(load_kernels().library, name)(
        *(each.data_ptr() if isinstance(each, torch.Tensor) else each for each in arguments)
    )


def _ordered(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _sizes(images: torch.Tensor) -> tuple[int, int]:
    """Return pixels and channels of ``(batch, channel, row, column)``."""
    channels = images.shape[1]
    return images.numel() // channels, channels


class NormaliseActivate(torch.autograd.Function):
    """Batch normalisation by the statistics of the batch, and the activation behind it.

    One pass for the statistics, one for the outputs; backward one for the sums and one for the gradient, where torch
    takes three and five. Nothing but the input is kept.

    Source:
        S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015 (forward and backward pass).
    """

    @staticmethod
    def forward(
        ctx: Context,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        kind: str,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return outputs, and the mean and biased variance per channel, through which no gradient flows."""
        pixels, channels = _sizes(inputs)
        mean, variance = torch.empty(channels), torch.empty(channels)
        parts = torch.empty(-(-pixels // PART), 2, channels)
        _call("effmed_moments", inputs, pixels, channels, parts, mean, variance)
        scale = weight * (variance + eps).rsqrt()
        shift = bias - mean * scale
        outputs = torch.empty_like(inputs, memory_format=torch.channels_last)
        _call("effmed_normalise", inputs, pixels, channels, scale, shift, KINDS[kind], outputs)
        ctx.save_for_backward(inputs, scale, shift, mean, variance)
        ctx.eps, ctx.kind = eps, KINDS[kind]
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        inputs, scale, shift, mean, variance = ctx.saved_tensors
        pixels, channels = _sizes(inputs)
        gradient = _ordered(gradient)
        sums, products = torch.empty(channels), torch.empty(channels)
        parts = torch.empty(-(-pixels // PART), 2, channels)
        known = (scale, shift)
        _call("effmed_slopes", inputs, gradient, pixels, channels, *known, mean, ctx.kind, parts, sums, products)
        inverse = (variance + ctx.eps).rsqrt()
        slant = scale * inverse * inverse * products / -pixels
        offset = scale * sums / -pixels - slant * mean
        found = torch.empty_like(inputs, memory_format=torch.channels_last)
        _call("effmed_normalise_back", inputs, gradient, pixels, channels, *known, slant, offset, ctx.kind, found)
        return found, products * inverse, sums, None, None


class Excite(torch.autograd.Function):
    """Scale each channel of an image by what a small network makes of the means of all channels.

    Source:
        J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    @staticmethod
    def forward(
        ctx: Context, inputs: torch.Tensor, gate: Callable[[torch.Tensor], torch.Tensor], *parameters: torch.Tensor
    ) -> torch.Tensor:
        """Return scaled inputs.

        Args:
            ctx: Of torch.
            inputs: ``(batch, channel, row, column)``.
            gate: Means ``(batch, channel, 1, 1)`` → factors of the same shape.
            parameters: Of the gate, which get gradients.
        """
        n_pixels = inputs.shape[2] * inputs.shape[3]
        with torch.enable_grad():
            means = (_sums(inputs) / n_pixels)[:, :, None, None].requires_grad_()
            factors = gate(means)
        ctx.save_for_backward(inputs)
        ctx.means, ctx.factors, ctx.parameters = means, factors, parameters
        return _scaled(inputs, factors.detach(), torch.zeros_like(means))

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input and parameters."""
        (inputs,) = ctx.saved_tensors
        gradient = _ordered(gradient)
        of_factors = _sums(inputs, gradient)[:, :, None, None]
        learning = [each for each in ctx.parameters if each.requires_grad]
        of_means, *found = torch.autograd.grad(ctx.factors, (ctx.means, *learning), of_factors)
        of_inputs = _scaled(gradient, ctx.factors.detach(), of_means / (inputs.shape[2] * inputs.shape[3]))
        rest = iter(found)
        return of_inputs, None, *(next(rest) if each.requires_grad else None for each in ctx.parameters)


def _sums(left: torch.Tensor, right: torch.Tensor | None = None) -> torch.Tensor:
    """Return the sums over the pixels of images, or of the products of two: ``(batch, channel)``."""
    images, channels, rows, columns = left.shape
    parts, sums = torch.empty(images, channels), torch.empty(images, channels)
    _call("effmed_sums", left, right, images, rows * columns, channels, parts, sums)
    return sums


def _scaled(inputs: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return scale · inputs + shift, both ``(batch, channel, 1, 1)``."""
    images, channels, rows, columns = inputs.shape
    found = torch.empty_like(inputs, memory_format=torch.channels_last)
    _call("effmed_scale", inputs, scale.contiguous(), shift.contiguous(), images, rows * columns, channels, found)
    return found


class ConvolveDepthwise(torch.autograd.Function):
    """Convolution of each channel with a square kernel of its own, zeros around the image."""

    @staticmethod
    def forward(ctx: Context, inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        """Return outputs for weights ``(channel, 1, row, column)``."""
        taps = _taps(weight)
        shape = _shape(inputs, weight, geometry)
        size = (*inputs.shape[:2], *geometry.out)
        outputs = torch.empty(size, memory_format=torch.channels_last)
        _call("effmed_depthwise", inputs, taps, ctypes.byref(shape), outputs)
        ctx.save_for_backward(inputs, weight)
        ctx.geometry = geometry
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input and weight, each where it is needed."""
        inputs, weight = ctx.saved_tensors
        gradient = _ordered(gradient)
        wanted: tuple[Callable[..., torch.Tensor], ...] = (_input_gradient, _weight_gradient)
        return *(
            find(inputs, weight, gradient, ctx.geometry) if needed else None
            for find, needed in zip(wanted, ctx.needs_input_grad, strict=False)
        ), None


def _taps(weight: torch.Tensor) -> torch.Tensor:
    """Return weights ``(channel, 1, row, column)`` as ``(row · column, channel)``."""
    return weight.flatten(1).t().contiguous()


def _shape(inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> Shape:
    images, channels, rows, columns = inputs.shape
    return Shape(images, channels, rows, columns, *geometry.out, weight.shape[-1], geometry.stride, *geometry.before)


def _input_gradient(
    inputs: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, geometry: Geometry
) -> torch.Tensor:
    """Return the gradient of the input."""
    found, shape = torch.empty_like(inputs, memory_format=torch.channels_last), _shape(inputs, weight, geometry)
    _call("effmed_depthwise_input", gradient, _taps(weight), ctypes.byref(shape), found)
    return found


def _weight_gradient(
    inputs: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, geometry: Geometry
) -> torch.Tensor:
    """Return the gradient of the weights, ``(channel, 1, row, column)``."""
    side, shape = weight.shape[-1], _shape(inputs, weight, geometry)
    parts, found = torch.empty(len(inputs), side * side, len(weight)), torch.empty(side * side, len(weight))
    _call("effmed_depthwise_weights", inputs, gradient, ctypes.byref(shape), parts, found)
    return found.t().reshape(weight.shape)
