"""Kernels are called with tensors: float32 on the CPU and, where they have pixels, in channels_last order."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

from effmed.learn.kernels.build import PART, load_kernels

Context: TypeAlias = Any  # torch's, which takes any attribute
KINDS = {"identity": 0, "silu": 1, "relu": 2, "relu6": 3}  # as in activations.h; check.py asks for each


def call(name: str, *arguments: object) -> None:
    """Call a kernel; it gets the addresses of tensors."""
    getattr(load_kernels().library, name)(
        *(each.data_ptr() if isinstance(each, torch.Tensor) else each for each in arguments)
    )


def empty(*shape: int) -> torch.Tensor:
    """Return room for numbers."""
    return torch.empty(shape, dtype=torch.float32)


def empty_exact(*shape: int) -> torch.Tensor:
    """Return room for numbers in float64."""
    return torch.empty(shape, dtype=torch.float64)


def empty_images(*shape: int) -> torch.Tensor:
    """Return room for ``(batch, channel, height, width)``."""
    return torch.empty(shape, dtype=torch.float32, memory_format=torch.channels_last)


def ordered(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same in channels_last order."""
    return tensor.contiguous(memory_format=torch.channels_last)


def sizes(images: torch.Tensor) -> tuple[int, int]:
    """Return pixels and channels of ``(batch, channel, height, width)``."""
    channels = images.shape[1]
    return images.numel() // channels, channels


def n_parts(pixels: int) -> int:
    """Return how many parts are summed in float32 each."""
    return -(-pixels // PART)
