"""Whether the kernels compute what torch does: asked before they are used, in a fraction of a second."""

from __future__ import annotations

import functools
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from effmed.learn.kernels.build import LANES, Kernels, load_kernels
from effmed.learn.kernels.calls import KINDS
from effmed.learn.kernels.convolving import ConvolveDepthwise, Geometry, NormaliseConvolve
from effmed.learn.kernels.normalising import Gate, Normalisation, NormaliseActivate, NormaliseExcite

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES, HEIGHT, WIDTH = 3, 11, 15
CHANNELS = (3 * LANES, 4 * LANES)  # in blocks of one and of two vectors
SIDES, STRIDES = (3, 5, 7), (1, 2)
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x,
    "silu": functional.silu,
    "relu": functional.relu,
    "relu6": functional.relu6,
}
EPS = 1e-3
TOLERANCE = 1e-4  # of the largest number; what differs by rounding alone differs by a hundredth of that


@functools.cache
def find_kernels() -> Kernels:
    """Return the kernels, None with a reason where there are none, or none that agree with torch."""
    kernels = load_kernels()
    if kernels.library is None or _agree():
        return kernels
    return Kernels(None, f"what {kernels.why} compiled gives other numbers than torch")


def _agree() -> bool:
    """Whether outputs and gradients of layers of every size that is compiled are those of torch in float64."""
    sizes = product(CHANNELS, SIDES, STRIDES)
    return all(_is_close(*size, kind) for size, kind in zip(sizes, 3 * tuple(KINDS), strict=True))


def _is_close(channels: int, side: int, stride: int, kind: str) -> bool:
    shapes = ((IMAGES, channels, HEIGHT, WIDTH), (channels, 1, side, side), (channels,), (channels,))
    layers = [_own_layers(side, stride, kind), _layers_of_torch(side, stride, kind)]
    ours, theirs = (_learn(each, shapes, of) for each, of in zip(layers, (torch.float32, torch.float64), strict=True))
    return all(
        bool((own.double() - other).abs().max() <= TOLERANCE * other.abs().max())
        for own, other in zip(ours, theirs, strict=True)
    )


def _learn(
    layers: Callable[..., torch.Tensor], shapes: tuple[tuple[int, ...], ...], of: torch.dtype
) -> list[torch.Tensor]:
    """Return the outputs of layers for made-up numbers, and the gradients of all that goes in."""
    with torch.enable_grad():
        given = [_made_up(shape, of).requires_grad_() for shape in shapes]
        outputs = layers(*given)
        return [outputs.detach(), *torch.autograd.grad(outputs, given, _made_up(tuple(outputs.shape), of))]


def _made_up(shape: tuple[int, ...], of: torch.dtype) -> torch.Tensor:
    """Return numbers between -1 and 3 that look random and are the same everywhere."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    made = (1 + 2 * (numbers * numbers * 0.37).sin()).reshape(shape).to(of)
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made


def _own_layers(side: int, stride: int, kind: str) -> Callable[..., torch.Tensor]:
    before = (side // 2, side // 2 - 1)  # one zero less before the first column than behind the last
    geometry = Geometry(stride, before, ((HEIGHT - 1) // stride + 1, (WIDTH - 1) // stride + 1))

    def layers(images: torch.Tensor, weights: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        manner = Normalisation(EPS, kind, lambda *_: None)
        found = NormaliseConvolve.apply(images, weight, bias, weights, (manner, geometry))
        again = NormaliseActivate.apply(images, weight, bias, manner)
        found = found + ConvolveDepthwise.apply(again, weights, geometry)
        return NormaliseExcite.apply(found, weight, bias, manner, Gate(torch.sigmoid))  # type: ignore[no-any-return]  # torch's apply is untyped

    return layers


def _layers_of_torch(side: int, stride: int, kind: str) -> Callable[..., torch.Tensor]:
    half = side // 2

    def layers(images: torch.Tensor, weights: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(activated(images, weight, bias), (half - 1, half + 1, half, half))
        found = 2 * functional.conv2d(padded, weights, stride=stride, groups=len(weights))
        found = activated(found, weight, bias)
        return found * found.mean((2, 3), keepdim=True).sigmoid()

    def activated(images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return ACTIVATIONS[kind](functional.batch_norm(images, None, None, weight, bias, training=True, eps=EPS))

    return layers
