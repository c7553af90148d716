"""Batch normalisation over the images of all processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm  # what all of them are, timm's own too

from effmed.errors import RecipeError
from effmed.learn.kernels.layers import FusedNormAct
from effmed.learn.machine.team import AddUp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.learn.machine.team import Team


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation whose mean and variance are those of a batch spread over all processes.

    torch's own SyncBatchNorm computes on GPUs alone; this one on all devices, with names and values of the layer that
    it takes the place of, and the activation that timm puts behind it.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.drop = getattr(layer, "drop", nn.Identity())
        self.act = getattr(layer, "act", nn.Identity())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return normalised inputs, ``(batch, channel, …)``."""
        if not self.training:
            found = functional.batch_norm(
                inputs, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
            return self.act(self.drop(found))  # type: ignore[no-any-return]  # a module's
        dimensions = [0, *range(2, inputs.ndim)]
        shape = (1, -1, *(1,) * (inputs.ndim - 2))
        wide = inputs.float()
        n_local = wide.numel() // wide.shape[1]
        sums = AddUp.apply(torch.cat([wide.sum(dimensions), wide.new_tensor([n_local])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = wide - mean.view(shape)
        variance = AddUp.apply(centred.square().sum(dimensions)) / count
        self._remember(mean.detach(), variance.detach(), count)
        scale = (variance + self.eps).rsqrt() * self.weight
        found = centred * scale.view(shape) + self.bias.view(shape)
        return self.act(self.drop(found.to(inputs.dtype)))  # type: ignore[no-any-return]  # a module's

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        """Move the running statistics, of which the variance is the unbiased one, as torch does."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), self.momentum)


def share_statistics(network: nn.Module, team: Team) -> None:
    """Put ``SharedBatchNorm`` in the place of every batch normalisation; nothing where a process is alone.

    Raises:
        ValueError: Layers are fused already: what a normalisation computes for the layer behind it would be lost.
    """
    if team.size == 1:
        return
    if any(isinstance(module, FusedNormAct) for module in network.modules()):
        raise ValueError("statistics are shared before layers are fused")
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(module, name, SharedBatchNorm(child))


def has_blocks(network: nn.Module) -> bool:
    """Whether a network names the blocks that it would compute twice, as the family does."""
    return isinstance(getattr(network, "blocks", None), nn.Module) and hasattr(network, "set_grad_checkpointing")


def checkpoint_blocks(network: nn.Module) -> None:
    """Let a network of timm forget what is inside its blocks, and compute it again for the backward pass.

    Batch normalisation then sees every batch twice: two updates of a running statistic that keeps √(1 − m) of itself
    are one that keeps 1 − m.

    Raises:
        RecipeError: The network cannot, or does not say which of its statistics would be updated twice.
    """
    problem = f"{type(network).__name__} of timm cannot compute its blocks twice to save memory"
    refusal = RecipeError(problem, hint="--set train.gradient_checkpointing=false")
    if not has_blocks(network):
        raise refusal
    try:
        network.set_grad_checkpointing(True)  # type: ignore[operator]  # timm's, no module
    except AssertionError as error:
        raise refusal from error
    for module in network.blocks.modules():  # type: ignore[union-attr]  # likewise
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** 0.5


@contextmanager
def seen_in_parts(network: nn.Module, n_parts: int) -> Iterator[None]:
    """Let running statistics move by 1 − (1 − m)^(1/n) in each of n parts of a step: together as in one whole."""
    if n_parts == 1:
        yield
        return
    layers = [each for each in network.modules() if isinstance(each, _BatchNorm) and each.momentum is not None]
    momenta = [float(each.momentum or 0.0) for each in layers]
    try:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = 1 - (1 - momentum) ** (1 / n_parts)
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
