"""Ensemble: networks whose logits are averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ensemble(torch.nn.Module):
    """Networks of one plan as one network: its logits are the mean of theirs, in float32.

    What the loss did to the logits is the same for all of them, because they have one plan: a prior shift may be
    subtracted before or after the mean alike, and all that follows (files, studies, calibration) is as for one network.
    Of the focal loss the mean is taken on the scale of its own logits, before they are mapped back.
    """

    def __init__(self, members: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the mean logits ``(batch, n_outputs)`` of ``(batch, channel, height, width)``."""
        return torch.stack([member(batch).float() for member in self.members]).mean(dim=0)
