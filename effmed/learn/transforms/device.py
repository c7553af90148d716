"""Changing a whole batch at once, on the device that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from effmed.learn.transforms.inputs import in_unit_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effmed.learn.transforms.changes import Change

N_NUMBERS = 8  # of a change: six of the map, contrast, brightness


def packed(changes: Sequence[Change]) -> torch.Tensor:
    """Return drawn changes in the form that ``changed_on_device`` takes.

    Returns:
        float32 ``(image, 8)``: the map from a pixel of the changed image to its place in the image as it is, row by
        row, then contrast and brightness.
    """
    matrices = np.array([change.matrix for change in changes])
    back = np.linalg.inv(matrices[:, :, :2])
    places = np.concatenate((back, -back @ matrices[:, :, 2:]), axis=2).reshape(len(changes), -1)
    shades = np.array([(change.contrast, change.brightness) for change in changes])
    return torch.from_numpy(np.concatenate((places, shades), axis=1).astype(np.float32))


def changed_on_device(batch: torch.Tensor, changes: torch.Tensor) -> torch.Tensor:
    """Change every image of a batch as drawn for it: what ``augment`` makes of it, but for rounding.

    Args:
        batch: ``(image, channel, height, width)``, uint8 or float32 in [0, 1], on any device.
        changes: float32 ``(image, 8)`` from ``packed``, on any device.

    Returns:
        float32 in [0, 1] of the same shape, on the device of ``batch``.
    """
    height, width = batch.shape[2:]
    numbers = changes.to(batch.device, non_blocking=True).view(-1, N_NUMBERS, 1, 1)
    xx, xy, x0, yx, yy, y0, contrast, brightness = numbers.unbind(1)  # each (image, 1, 1)
    x = torch.arange(width, dtype=torch.float32, device=batch.device).view(1, 1, -1)
    y = torch.arange(height, dtype=torch.float32, device=batch.device).view(1, -1, 1)
    places = (xx * x + xy * y + x0, yx * x + yy * y + y0)  # no matrix product: TF32 would move pixels by a tenth
    grid = torch.stack([(2 * at + 1) / side - 1 for at, side in zip(places, (width, height), strict=True)], dim=-1)
    moved = torch.nn.functional.grid_sample(in_unit_range(batch), grid, padding_mode="zeros", align_corners=False)
    return moved.mul_(contrast.unsqueeze(1)).add_(brightness.unsqueeze(1)).clamp_(0, 1)
