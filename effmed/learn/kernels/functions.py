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
KINDS = {"identity": 0, "silu": 1, "relu": 2, "relu6": 3}  # as in activations.h; check.py asks for each
N_SUMS = 5  # as SUMS in excite.c


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


def _moments(inputs: torch.Tensor, manner: Normalisation) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and biased variance of each channel, after they were remembered."""
    pixels, channels = _sizes(inputs)
    mean, variance = _empty(channels), _empty(channels)
    _call("effmed_moments", inputs, pixels, channels, _empty(_n_parts(pixels), 2, channels), mean, variance)
    manner.remember(mean, variance)
    return mean, variance


def _n_parts(pixels: int) -> int:
    """Return how many parts are summed in float32 each."""
    return -(-pixels // PART)


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
        mean, variance = _moments(inputs, manner)
        scale = weight * (variance + manner.eps).rsqrt()
        shift = bias - mean * scale
        ctx.save_for_backward(inputs, scale, shift, mean, variance)
        ctx.manner = manner
        return activated(inputs, scale, shift, manner.kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        inputs, scale, shift, mean, variance = ctx.saved_tensors
        (pixels, channels), kind = _sizes(inputs), KINDS[ctx.manner.kind]
        gradient = _ordered(gradient)
        sums, products, parts = _empty(channels), _empty(channels), _empty(_n_parts(pixels), 2, channels)
        known = (inputs, gradient, pixels, channels, scale, shift, mean)
        _call("effmed_slopes", *known, kind, parts, sums, products)
        inverse = (variance + ctx.manner.eps).rsqrt()
        slant, offset = scale * inverse * inverse * products / pixels, scale * sums / pixels
        found = _empty_images(*inputs.shape)
        _call("effmed_normalise_back", *known, slant, offset, kind, found)
        return found, products * inverse, sums, None


def activated(inputs: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the activation of scale · inputs + shift, both ``(channel,)``."""
    outputs = _empty_images(*inputs.shape)
    _call("effmed_normalise", inputs, *_sizes(inputs), scale, shift, KINDS[kind], outputs)
    return outputs


@dataclass(frozen=True)
class Gate:
    """The small network between squeeze and excitation.

    Attributes:
        compute: Means ``(batch, channel, 1, 1)`` → factors of the same shape.
        parameters: Of it.
    """

    compute: Callable[[torch.Tensor], torch.Tensor]
    parameters: tuple[torch.Tensor, ...] = ()


class NormaliseExcite(torch.autograd.Function):
    """``NormaliseActivate``, and each channel of an image scaled by what a gate makes of the means of all channels.

    Forward a pass for the statistics, one for the means and one for the outputs; backward one for all sums and one for
    the gradient. The small gate is computed again for its own gradients. With b the gradient of an output, f and m the
    gradients of its factor and of the mean, the sums of s(f b + m) and of s(f b + m)(x - mean) that the gradient of
    batch normalisation needs come from those without f and m, which are known only after all pixels were seen.

    Source:
        J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    @staticmethod
    def forward(
        ctx: Context,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        manner: Normalisation,
        gate: Gate,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        """Return scaled outputs.

        Args:
            ctx: Of torch.
            inputs: ``(batch, channel, height, width)``.
            weight: ``(channel,)``.
            bias: ``(channel,)``.
            manner: How it is normalised.
            gate: What makes the factors.
            parameters: Those of the gate once more, for torch gives gradients to arguments alone.
        """
        mean, variance = _moments(inputs, manner)
        scale = weight * (variance + manner.eps).rsqrt()
        shift = bias - mean * scale
        outputs, means, factors = excited(inputs, scale, shift, manner.kind, gate)
        ctx.save_for_backward(inputs, scale, shift, mean, variance, means, factors)
        ctx.manner, ctx.gate = manner, gate
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight, bias, and parameters of the gate."""
        inputs, scale, shift, mean, variance, means, factors = ctx.saved_tensors
        images, channels, area = _areas(inputs)
        known = (inputs, _ordered(gradient), images, area, channels, scale, shift, mean)
        kind, found = KINDS[ctx.manner.kind], torch.empty(images, N_SUMS, channels, dtype=torch.float64)
        _call("effmed_excite_slopes", *known, kind, _empty(images, _n_parts(area), N_SUMS, channels), found)
        of_factors, of_y, slopes, of_x, slopes_x = found.unbind(1)
        of_means, of_gate = _gate_gradients(ctx.gate, means, of_factors)
        of_means = (of_means.flatten(1) / area).contiguous()
        sums, products = (
            (factors.flatten(1) * back + of_means * both).sum(0).float()
            for back, both in ((of_y, slopes), (of_x, slopes_x))
        )
        inverse, n = (variance + ctx.manner.eps).rsqrt(), images * area
        slant, offset = scale * inverse * inverse * products / n, scale * sums / n
        of_inputs = _empty_images(*inputs.shape)
        _call("effmed_excite_back", *known, slant, offset, factors, of_means, kind, of_inputs)
        return of_inputs, products * inverse, sums, None, None, *of_gate


def excited(
    inputs: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, kind: str, gate: Gate
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return activations of scale · inputs + shift times their factors, their means, and the factors."""
    images, channels, area = _areas(inputs)
    known = (inputs, images, area, channels, scale, shift)
    sums, outputs = torch.empty(images, channels, dtype=torch.float64), _empty_images(*inputs.shape)
    _call("effmed_squeeze", *known, KINDS[kind], _empty(images, _n_parts(area), channels), sums)
    means = (sums / area).float()[:, :, None, None]
    factors = gate.compute(means).contiguous()
    _call("effmed_excite", *known, factors, KINDS[kind], outputs)
    return outputs, means, factors


def _gate_gradients(
    gate: Gate, means: torch.Tensor, back: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Return the gradients of the means, and of the parameters of the gate, None for those that do not learn."""
    learning = [each for each in gate.parameters if each.requires_grad]
    with torch.enable_grad():
        again = means.detach().requires_grad_()
        learning = [each for each in gate.parameters if each.requires_grad]
        factors = gate.compute(again)
        of_means, *found = torch.autograd.grad(factors, (again, *learning), back.float()[:, :, None, None])
    rest = iter(found)
    return of_means, [next(rest) if each.requires_grad else None for each in gate.parameters]


def _areas(images: torch.Tensor) -> tuple[int, int, int]:
    """Return images, channels, and the pixels of one image."""
    count, channels, height, width = images.shape
    return count, channels, height * width


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
