"""The step from stored pixels to the network's input: stacked on the CPU, normalised where the batch is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UINT16_MAX = 65535
UINT8_MAX = 255


def to_input(pixels: NDArray[np.generic], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn stored pixels into what the network takes.

    Args:
        pixels: ``(batch, height, width)`` or ``(batch, height, width, channel)``, uint8, uint16, or float32 in
            [0, 1].
        mean: Per channel, in [0, 1].
        std: Per channel.

    Returns:
        float32 ``(batch, channel, height, width)``, channels last in memory, normalised.
    """
    return normalised(stacked(pixels), mean, std)


def stacked(pixels: NDArray[np.generic]) -> torch.Tensor:
    """Return pixels in the form in which they travel to the device: a byte each where they have 8 bits.

    Args:
        pixels: As of ``to_input``.

    Returns:
        ``(batch, channel, height, width)``: uint8 as they are, all others float32 in [0, 1]. Of pixels that are so
        already, and may be written, the memory is shared.
    """
    fit = np.float32(pixels) / np.float32(UINT16_MAX) if pixels.dtype == np.uint16 else pixels
    batch = torch.from_numpy(np.require(fit, requirements=["C", "W"]))  # torch knows no other memory
    return batch.unsqueeze(1) if batch.ndim == 3 else batch.permute(0, 3, 1, 2)  # (batch, height, width) is grey


def normalised(batch: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Scale grey levels to [0, 1], subtract the mean and divide by the deviation, on the device of the batch.

    Args:
        batch: From ``stacked``, on any device; it stays as it is.
        mean: Per channel, in [0, 1].
        std: Per channel.

    Returns:
        float32 of the same shape, channels last in memory.
    """
    middle, spread = (torch.tensor(each, device=batch.device).view(1, -1, 1, 1) for each in (mean, std))
    return ((in_unit_range(batch) - middle) / spread).contiguous(memory_format=torch.channels_last)


def in_unit_range(batch: torch.Tensor) -> torch.Tensor:
    """Return float32 in [0, 1]: of 8 bits a copy, of all others the batch itself."""
    return batch.float().div_(UINT8_MAX) if batch.dtype == torch.uint8 else batch
