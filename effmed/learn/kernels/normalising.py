"""Batch normalisation with what follows it, as functions that torch differentiates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.autograd.function import once_differentiable

from effmed.learn.kernels.calls import KINDS, Context, call, empty, empty_exact, empty_images, n_parts, ordered, sizes

if TYPE_CHECKING:
    from collections.abc import Callable

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


def line_of(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, manner: Normalisation
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scale and shift that normalise a batch, and its mean and biased variance, after they were remembered."""
    pixels, channels = sizes(inputs)
    mean, variance = empty(channels), empty(channels)
    call("effmed_moments", inputs, pixels, channels, empty(n_parts(pixels), 2, channels), mean, variance)
    manner.remember(mean, variance)
    scale = weight * (variance + manner.eps).rsqrt()
    return scale, bias - mean * scale, mean, variance


@dataclass(frozen=True)
class Sums:
    """What the gradients of batch normalisation need, per channel.

    Attributes:
        of_y: Sum of what comes back to the normalised pixels.
        of_x: Sum of the same times the distance of the input from its mean.
        n: Pixels.
    """

    of_y: torch.Tensor
    of_x: torch.Tensor
    n: int

    def slant_and_offset(self, scale: torch.Tensor, variance: torch.Tensor, eps: float) -> tuple[torch.Tensor, ...]:
        """Return what the gradient of the input loses per distance from the mean, and per pixel."""
        return scale / (variance + eps) * self.of_x / self.n, scale * self.of_y / self.n

    def of_weight(self, variance: torch.Tensor, eps: float) -> torch.Tensor:
        """Return the gradient of the weight; that of the bias is ``of_y``."""
        return self.of_x * (variance + eps).rsqrt()


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
        scale, shift, mean, variance = line_of(inputs, weight, bias, manner)
        ctx.save_for_backward(inputs, scale, shift, mean, variance)
        ctx.manner = manner
        return activated(inputs, scale, shift, manner.kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        inputs, scale, shift, mean, variance = ctx.saved_tensors
        (pixels, channels), kind = sizes(inputs), KINDS[ctx.manner.kind]
        gradient = ordered(gradient)
        known = (inputs, gradient, pixels, channels, scale, shift, mean)
        found, of_inputs = empty_exact(2, channels), empty_images(*inputs.shape)
        call("effmed_slopes", *known, kind, empty(n_parts(pixels), 2, channels), found)
        sums, eps = Sums(found[0].float(), found[1].float(), pixels), ctx.manner.eps
        call("effmed_normalise_back", *known, *sums.slant_and_offset(scale, variance, eps), kind, of_inputs)
        return of_inputs, sums.of_weight(variance, eps), sums.of_y, None


def activated(inputs: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the activation of scale · inputs + shift, both ``(channel,)``."""
    outputs = empty_images(*inputs.shape)
    call("effmed_normalise", inputs, *sizes(inputs), scale, shift, KINDS[kind], outputs)
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
        scale, shift, mean, variance = line_of(inputs, weight, bias, manner)
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
        known = (inputs, ordered(gradient), images, area, channels, scale, shift, mean)
        kind, found = KINDS[ctx.manner.kind], empty_exact(images, N_SUMS, channels)
        call("effmed_excite_slopes", *known, kind, empty(images, n_parts(area), N_SUMS, channels), found)
        of_factors, of_y, slopes, of_x, slopes_x = found.unbind(1)
        of_means, of_gate = _gate_gradients(ctx.gate, means, of_factors)
        of_means = (of_means.flatten(1) / area).contiguous()
        both = [
            (factors.flatten(1) * back + of_means * both).sum(0).float()
            for back, both in ((of_y, slopes), (of_x, slopes_x))
        ]
        sums, eps = Sums(both[0], both[1], images * area), ctx.manner.eps
        of_inputs = empty_images(*inputs.shape)
        of_statistics = sums.slant_and_offset(scale, variance, eps)
        call("effmed_excite_back", *known, *of_statistics, factors, of_means, kind, of_inputs)
        return of_inputs, sums.of_weight(variance, eps), sums.of_y, None, None, *of_gate


def excited(
    inputs: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, kind: str, gate: Gate
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return activations of scale · inputs + shift times their factors, their means, and the factors."""
    images, channels, area = _areas(inputs)
    known = (inputs, images, area, channels, scale, shift)
    sums, outputs = empty_exact(images, channels), empty_images(*inputs.shape)
    call("effmed_squeeze", *known, KINDS[kind], empty(images, n_parts(area), channels), sums)
    means = (sums / area).float()[:, :, None, None]
    factors = gate.compute(means).contiguous()
    call("effmed_excite", *known, factors, KINDS[kind], outputs)
    return outputs, means, factors


def _gate_gradients(
    gate: Gate, means: torch.Tensor, back: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Return the gradients of the means, and of the parameters of the gate, None for those that do not learn."""
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
