"""Mixup and CutMix: images of a batch are mixed with each other, and so are their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from effmed.learn.plan import Plan


def mix(
    inputs: torch.Tensor, targets: torch.Tensor, plan: Plan, chance: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every image of a batch with another one; where the plan has both kinds, either is drawn.

    Args:
        inputs: ``(batch, channel, height, width)``.
        targets: ``(batch, …)`` as of ``make_targets``.
        plan: ``mixup`` and ``cutmix`` are the parameters α of the Beta distribution of the share; 0 for none.
        chance: Draws kind, share, partners and place.

    Returns:
        Both, mixed in the same shares; as they came where nothing is planned.

    Source:
        Zhang et al., mixup (ICLR 2018); Yun et al., CutMix (ICCV 2019), with the share that the box has in the end.
    """
    kinds = [(each, alpha) for each, alpha in (("mixup", plan.mixup), ("cutmix", plan.cutmix)) if alpha > 0]
    if not kinds or len(inputs) < 2:
        return inputs, targets
    kind, alpha = kinds[int(chance.integers(len(kinds)))]
    kept = float(chance.beta(alpha, alpha))
    partners = chance.permutation(len(inputs))
    if kind == "mixup":
        inputs = kept * inputs + (1 - kept) * inputs[partners]
    else:
        inputs, kept = _paste(inputs, partners, kept, chance)
    return inputs, kept * targets + (1 - kept) * targets[partners]


def _paste(
    inputs: torch.Tensor, partners: np.ndarray, kept: float, chance: np.random.Generator
) -> tuple[torch.Tensor, float]:
    """Paste a box of each partner at the same place; return the images and the share that is left of each."""
    height, width = inputs.shape[-2:]
    side = (1 - kept) ** 0.5
    rows, columns = (_stretch(n, side, chance) for n in (height, width))
    mixed = inputs.clone()
    mixed[..., rows, columns] = inputs[partners][..., rows, columns]
    n_pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - n_pasted / (height * width)


def _stretch(n: int, share: float, chance: np.random.Generator) -> slice:
    """Return a stretch of about that share of a side around a point drawn, cut off at the border."""
    centre, half = int(chance.integers(n)), round(n * share / 2)
    return slice(max(0, centre - half), min(n, centre + half))
