"""What the compiled layers compute, as functions that torch differentiates.

All tensors are float32 on the CPU and, where they have pixels, in channels_last order.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.autograd.function import once_differentiable

from effmed.learn.kernels.build import LANES, PART, Shape, load_kernels

if TYPE_CHECKING:
    from collections.abc import Callable

Context: TypeAlias = Any  # torch's, which takes any attribute
KINDS = {"identity": 0, "silu": 1, "relu": 2, "relu6": 3}  # as in normalise.c; check.py asks for each


@dataclass(frozen=True)
class Normalisation:
    """How a batch is normalised and activated.

    Attributes:
        eps: Added to the variance.
        kind: Of activation, a key of ``KINDS``.
        remember: Gets mean and biased variance per channel. It is called before anything is saved for the gradient:
            there the second pass of gradient checkpointing ends.
    """

    eps: float
    kind: str
    remember: Callable[[torch.Tensor, torch.Tensor], None]


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


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _empty_images(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32, memory_format=torch.channels_last)


def _ordered(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _sizes(images: torch.Tensor) -> tuple[int, int]:
    """Return pixels and channels of ``(batch, channel, height, width)``."""
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
        manner: Normalisation,
    ) -> torch.Tensor:
        """Return activated outputs.

        Args:
            ctx: Of torch.
            inputs: ``(batch, channel, height, width)``.
            weight: ``(channel,)``.
            bias: ``(channel,)``.
            manner: How it is normalised.
        """
        pixels, channels = _sizes(inputs)
        mean, variance = _empty(channels), _empty(channels)
        _call("effmed_moments", inputs, pixels, channels, _parts(pixels, channels), mean, variance)
        manner.remember(mean, variance)
        scale = weight * (variance + manner.eps).rsqrt()
        shift = bias - mean * scale
        outputs = _empty_images(*inputs.shape)
        _call("effmed_normalise", inputs, pixels, channels, scale, shift, KINDS[manner.kind], outputs)
        ctx.save_for_backward(inputs, scale, shift, mean, variance)
        ctx.eps, ctx.kind = manner.eps, KINDS[manner.kind]
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        inputs, scale, shift, mean, variance = ctx.saved_tensors
        pixels, channels = _sizes(inputs)
        gradient = _ordered(gradient)
        sums, products, parts = _empty(channels), _empty(channels), _parts(pixels, channels)
        known = (inputs, gradient, pixels, channels, scale, shift, mean)
        _call("effmed_slopes", *known, ctx.kind, parts, sums, products)
        inverse = (variance + ctx.eps).rsqrt()
        slant, offset = scale * inverse * inverse * products / pixels, scale * sums / pixels
        found = _empty_images(*inputs.shape)
        _call("effmed_normalise_back", *known, slant, offset, ctx.kind, found)
        return found, products * inverse, sums, None


def _parts(pixels: int, channels: int) -> torch.Tensor:
    """Return room for two sums per channel over each part of the pixels."""
    return _empty(-(-pixels // PART), 2, channels)


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
            inputs: ``(batch, channel, height, width)``.
            gate: Means ``(batch, channel, 1, 1)`` → factors of the same shape.
            parameters: Of the gate, which get gradients.
        """
        means = _sums(inputs) / (inputs.shape[2] * inputs.shape[3])
        factors = gate(means)
        ctx.save_for_backward(inputs, means, factors)
        ctx.gate, ctx.parameters = gate, parameters
        return _scaled(inputs, factors, torch.zeros_like(means))

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input and parameters; the gate, which is small, is computed again for its own."""
        inputs, means, factors = ctx.saved_tensors
        gradient = _ordered(gradient)
        learning = [each for each in ctx.parameters if each.requires_grad]
        with torch.enable_grad():
            again = means.detach().requires_grad_()
            of_means, *found = torch.autograd.grad(ctx.gate(again), (again, *learning), _sums(inputs, gradient))
        of_inputs = _scaled(gradient, factors, of_means / (inputs.shape[2] * inputs.shape[3]))
        rest = iter(found)
        return of_inputs, None, *(next(rest) if each.requires_grad else None for each in ctx.parameters)


def _sums(left: torch.Tensor, right: torch.Tensor | None = None) -> torch.Tensor:
    """Return the sums over the pixels of images, or of the products of two: ``(batch, channel, 1, 1)``."""
    images, channels, height, width = left.shape
    parts, sums = _empty(images, channels), _empty(images, channels)
    _call("effmed_sums", left, right, images, height * width, channels, parts, sums)
    return sums[:, :, None, None]


def _scaled(inputs: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return scale · inputs + shift, both ``(batch, channel, 1, 1)``."""
    images, channels, height, width = inputs.shape
    found = _empty_images(*inputs.shape)
    _call("effmed_scale", inputs, scale.contiguous(), shift.contiguous(), images, height * width, channels, found)
    return found


class ConvolveDepthwise(torch.autograd.Function):
    """Convolution of each channel with square weights of its own, zeros around the image."""

    @staticmethod
    def forward(ctx: Context, inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        """Return outputs for weights ``(channel, 1, height, width)``."""
        shape, outputs = _shape(inputs, weight, geometry), _empty_images(*inputs.shape[:2], *geometry.out)
        _call("effmed_depthwise", inputs, _packed(weight), ctypes.byref(shape), outputs)
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
    found, shape = _empty_images(*inputs.shape), _shape(inputs, weight, geometry)
    _call("effmed_depthwise_input", gradient, _packed(weight), ctypes.byref(shape), found)
    return found


def _weight_gradient(
    inputs: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, geometry: Geometry
) -> torch.Tensor:
    """Return the gradient of the weights, ``(channel, 1, height, width)``."""
    side, shape = weight.shape[-1], _shape(inputs, weight, geometry)
    parts, found = _empty(len(inputs), side * side, len(weight)), _empty(side * side, len(weight))
    _call("effmed_depthwise_weights", inputs, gradient, ctypes.byref(shape), parts, found)
    return found.t().reshape(weight.shape)
