"""Whether the compiled layers compute what torch's do: asked before they are used, in milliseconds."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from effmed.learn.kernels.build import Kernels, load_kernels
from effmed.learn.kernels.functions import ConvolveDepthwise, Excite, Geometry, NormaliseActivate

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES, CHANNELS, ROWS, COLUMNS, SIDE = 3, 24, 17, 15, 5
EPS = 1e-3
TOLERANCE = 1e-4  # of the largest number; what differs by rounding alone differs by a hundredth of that


@functools.cache
def find_kernels() -> Kernels:
    """Return the compiled layers, None with a reason where there are none, or none that agree with torch's."""
    kernels = load_kernels()
    if kernels.library is None or _agree():
        return kernels
    return Kernels(None, f"what {kernels.why} compiled gives other numbers than torch")


def _agree() -> bool:
    """Whether outputs and gradients of a few layers are those of torch in float64."""
    ours, theirs = _learn(_own_layers, torch.float32), _learn(_layers_of_torch, torch.float64)
    return all(
        bool((own.double() - other).abs().max() <= TOLERANCE * other.abs().max())
        for own, other in zip(ours, theirs, strict=True)
    )


def _learn(layers: Callable[..., torch.Tensor], kind: torch.dtype) -> list[torch.Tensor]:
    """Return the outputs of layers for made-up numbers, and the gradients of all that goes in."""
    shapes = ((IMAGES, CHANNELS, ROWS, COLUMNS), (CHANNELS, 1, SIDE, SIDE), (CHANNELS,), (CHANNELS,))
    with torch.enable_grad():
        given = [_made_up(shape, kind).requires_grad_() for shape in shapes]
        outputs = layers(*given)
        return [outputs.detach(), *torch.autograd.grad((outputs * _made_up(tuple(outputs.shape), kind)).sum(), given)]


def _made_up(shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
    """Return numbers between 0 and 2 that look random and are the same everywhere."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    made = (1 + (numbers * numbers * 0.37).sin()).reshape(shape).to(kind)
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made


def _own_layers(images: torch.Tensor, kernels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    found = ConvolveDepthwise.apply(images, kernels, Geometry(2, (1, 2), (ROWS // 2, COLUMNS // 2)))
    found, _, _ = NormaliseActivate.apply(found, weight, bias, EPS, "silu")
    return Excite.apply(found, torch.sigmoid)  # type: ignore[no-any-return]  # torch's apply is untyped


def _layers_of_torch(
    images: torch.Tensor, kernels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    padded = functional.pad(images, (2, 1, 1, 1))
    found = functional.conv2d(padded, kernels, stride=2, groups=CHANNELS)
    found = functional.silu(functional.batch_norm(found, None, None, weight, bias, training=True, eps=EPS))
    return found * found.mean((2, 3), keepdim=True).sigmoid()
