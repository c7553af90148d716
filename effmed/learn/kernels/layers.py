"""Layers of timm that compute with our kernels on a CPU, with the names and values they had."""

from __future__ import annotations

import math
from functools import partial

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, EdgeResidual, InvertedResidual, SqueezeExcite
from torch import nn

from effmed.learn.kernels.build import LANES
from effmed.learn.kernels.check import find_kernels
from effmed.learn.kernels.convolving import ConvolveDepthwise, Geometry, NormaliseConvolve, convolved
from effmed.learn.kernels.normalising import (
    Gate,
    Normalisation,
    NormaliseActivate,
    NormaliseExcite,
    activated,
    excited,
)

ACTIVATIONS = {nn.Identity: "identity", nn.SiLU: "silu", nn.ReLU: "relu", nn.ReLU6: "relu6"}
SIDES = (3, 5, 7)  # of the weights of a convolution, as in depthwise.h
NORM_BEFORE = {InvertedResidual: "bn2", DepthwiseSeparableConv: "bn1", EdgeResidual: "bn1"}  # squeeze-and-excitation


def _is_ours(inputs: torch.Tensor, layer: nn.Module) -> bool:
    """Whether kernels take such an input: all float32 on a CPU, channels last, and no autocast that would halve it."""
    return (
        all(each.device.type == "cpu" and each.dtype == torch.float32 for each in (inputs, *layer.parameters()))
        and inputs.ndim == 4
        and inputs.numel() > 0
        and inputs.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
    )


class FusedNormAct(BatchNormAct2d):
    """Batch normalisation with its activation in one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return activated outputs; what the kernels do not compute, timm does."""
        if self._learns(x):
            return NormaliseActivate.apply(x, self.weight, self.bias, self._manner(x))  # type: ignore[no-any-return]  # torch's apply is untyped
        if self._judges(x):
            return activated(x, *self._line(), self._kind)
        return super().forward(x)  # type: ignore[no-any-return,no-untyped-call]  # timm's

    @property
    def _kind(self) -> str:
        return ACTIVATIONS.get(type(self.act), "")

    def _learns(self, x: torch.Tensor) -> bool:
        """Whether the kernels compute this batch by its own statistics."""
        is_learning = self.training and torch.is_grad_enabled() and self.momentum is not None
        return is_learning and bool(self._kind) and _is_ours(x, self) and x.numel() > x.shape[1]

    def _judges(self, x: torch.Tensor) -> bool:
        """Whether the kernels compute this batch by the statistics that were kept."""
        is_judging = not self.training and not torch.is_grad_enabled() and self.running_mean is not None
        return is_judging and bool(self._kind) and _is_ours(x, self)

    def _manner(self, x: torch.Tensor) -> Normalisation:
        return Normalisation(self.eps, self._kind, partial(self._remember, count=x.numel() // x.shape[1]))

    def _line(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and shift that normalise by the statistics that were kept."""
        scale = self.weight * (self.get_buffer("running_var") + self.eps).rsqrt()
        return scale, self.bias - self.get_buffer("running_mean") * scale

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, *, count: int) -> None:
        """Move the running statistics, of which the variance is the unbiased one, as torch does."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


class FusedNormExcite(FusedNormAct):
    """Batch normalisation, activation, and the squeeze-and-excitation that follows in the block."""

    excite: SqueezeExcite  # no part of this layer: its weights are those of the block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scaled outputs; what the kernels do not compute, timm does."""
        learns = self._learns(x)
        if not (learns or self._judges(x)):
            return SqueezeExcite.forward(self.excite, super().forward(x))  # type: ignore[no-any-return,no-untyped-call]  # timm's
        gate = Gate(self._factors, tuple(self.excite.parameters()))
        if learns:
            return NormaliseExcite.apply(x, self.weight, self.bias, self._manner(x), gate, *gate.parameters)  # type: ignore[no-any-return]  # torch's apply is untyped
        return excited(x, *self._line(), self._kind, gate)[0]

    def _factors(self, means: torch.Tensor) -> torch.Tensor:
        layers = self.excite
        return layers.gate(layers.conv_expand(layers.act1(layers.conv_reduce(means))))  # type: ignore[no-any-return]  # timm's


class FusedNormDepthwise(FusedNormAct):
    """Batch normalisation, activation, and the depthwise convolution that follows in the block."""

    depthwise: FusedDepthwise  # no part of this layer: its weights are those of the block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return convolved outputs; what the kernels do not compute together, they or timm do one after the other."""
        geometry, weights = self.depthwise.geometry(x), self.depthwise.weight
        if geometry is not None and self._learns(x):
            return NormaliseConvolve.apply(x, self.weight, self.bias, weights, (self._manner(x), geometry))  # type: ignore[no-any-return]  # torch's apply is untyped
        if geometry is not None and self._judges(x):
            return convolved(x, *self._line(), self._kind, weights, geometry)
        return self.depthwise.convolve(super().forward(x))


class ExcitedBefore(SqueezeExcite):
    """A squeeze-and-excitation that the layer before it has computed already."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the inputs."""
        return x


class FusedDepthwise(nn.Conv2d):
    """A depthwise convolution with our kernels; zeros on all sides, as many as the layer says."""

    is_done_before = False  # by the layer in front of it

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs, or the inputs where they are the outputs already."""
        return x if self.is_done_before else self.convolve(x)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs; of half precision as torch does."""
        geometry = self.geometry(x)
        if geometry is None:
            return super().forward(x)
        return ConvolveDepthwise.apply(x, self.weight, geometry)  # type: ignore[no-any-return]  # torch's apply is untyped

    def geometry(self, x: torch.Tensor) -> Geometry | None:
        """Return how it meets its input, None where torch has to compute it, or to say what is wrong."""
        if not _is_ours(x, self):
            return None
        found = self._geometry(x.shape[2], x.shape[3])
        return found if min(found.out) > 0 else None

    def _geometry(self, rows: int, columns: int) -> Geometry:
        kernel, stride = self.kernel_size[0], self.stride[0]
        before = (int(self.padding[0]), int(self.padding[1]))
        out = [(side + 2 * zeros - kernel) // stride + 1 for side, zeros in zip((rows, columns), before, strict=True)]
        return Geometry(stride, before, (out[0], out[1]))


class FusedDepthwiseSame(FusedDepthwise, Conv2dSame):
    """Zeros as TensorFlow adds them: as many as let every stride find a pixel, the odd one behind."""

    def _geometry(self, rows: int, columns: int) -> Geometry:
        kernel, stride = self.kernel_size[0], self.stride[0]
        out = (math.ceil(rows / stride), math.ceil(columns / stride))
        missing = [max((n - 1) * stride + kernel - side, 0) for n, side in zip(out, (rows, columns), strict=True)]
        return Geometry(stride, (missing[0] // 2, missing[1] // 2), out)


def _is_depthwise(layer: nn.Conv2d) -> bool:
    """Whether our kernels compute such a layer: square weights for each channel, one stride, no bias, no gaps."""
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and layer.in_channels % LANES == 0
        and layer.kernel_size[0] == layer.kernel_size[1]
        and layer.kernel_size[0] in SIDES
        and layer.stride[0] == layer.stride[1]
        and tuple(layer.dilation) == (1, 1)
        and layer.bias is None
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _fused_kind(layer: nn.Module) -> type[nn.Module] | None:
    """Return the class that computes a layer with our kernels, None where there is none."""
    if type(layer) is BatchNormAct2d and layer.affine and isinstance(layer.drop, nn.Identity):
        return FusedNormAct
    if type(layer) is Conv2dSame and _is_depthwise(layer):
        return FusedDepthwiseSame
    return FusedDepthwise if type(layer) is nn.Conv2d and _is_depthwise(layer) else None


def can_fuse(network: nn.Module) -> tuple[bool, str]:
    """Return whether kernels of ours compute some layers of a network, and their compiler, or what is in the way."""
    kernels = find_kernels()
    has_some = any(_fused_kind(layer) for layer in network.modules())
    if kernels.library is not None and not has_some:
        return False, "there are none for the layers of this network"
    return kernels.library is not None, kernels.why


def fuse_layers(network: nn.Module) -> None:
    """Let the layers of a network that our kernels compute do so.

    Names, parameters and statistics stay; so do the numbers, but for rounding. Where there are no kernels, nothing
    changes.
    """
    if find_kernels().library is None:
        return
    for layer in network.modules():
        layer.__class__ = _fused_kind(layer) or type(layer)
    for block in network.modules():
        _join_excitation(block)
        _join_convolution(block)


def _join_excitation(block: nn.Module) -> None:
    """Let the normalisation in front of a squeeze-and-excitation compute it as well."""
    norm = getattr(block, NORM_BEFORE.get(type(block), ""), None)
    if type(norm) is FusedNormAct and type(block.se) is SqueezeExcite and isinstance(block.aa, nn.Identity):
        norm.__class__, block.se.__class__ = FusedNormExcite, ExcitedBefore
        norm.__dict__["excite"] = block.se  # as an attribute it would be a part, and saved twice


def _join_convolution(block: nn.Module) -> None:
    """Let the normalisation in front of a depthwise convolution compute it as well."""
    if type(block) is not InvertedResidual:
        return
    norm, depthwise = block.bn1, block.conv_dw
    if type(norm) is FusedNormAct and isinstance(depthwise, FusedDepthwise):
        norm.__class__, depthwise.is_done_before = FusedNormDepthwise, True
        norm.__dict__["depthwise"] = depthwise
