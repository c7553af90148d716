from copy import deepcopy

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from effmed.learn.fitting import start_training
from effmed.learn.machine.activations import NEED_INPUT, compute_beside
from effmed.learn.network import build_network
from tests.learn import make


class Copies(TorchDispatchMode):
    """Counts what is copied whole."""

    def __init__(self):
        super().__init__()
        self.n_copies = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n_copies += function is torch.ops.aten.clone.default
        return function(*args, **(kwargs or {}))


def learned(network, images):
    network.zero_grad()
    with Copies() as copies:
        network(images).square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()], copies.n_copies


def test_gradients_are_the_same_without_copies_of_what_activations_get():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_b0", num_classes=1, in_chans=1).train()
    images = torch.rand(2, 1, 32, 32)
    beside = deepcopy(network)
    compute_beside(beside)
    (before, n_before), (after, n_after) = learned(network, images), learned(beside, images)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    n_activations = sum(isinstance(module, NEED_INPUT) for module in network.modules())
    assert n_before - n_after == n_activations > 0


@pytest.mark.parametrize("kind", NEED_INPUT)
def test_torch_copies_the_input_of_these(kind):
    """Where it no longer does, this module has nothing left to do."""
    values = torch.linspace(-2, 2, 5, requires_grad=True)
    with Copies() as copies:
        kind(inplace=True)(values * 1)
    assert copies.n_copies == 1
    with Copies() as copies:
        nn.ReLU(inplace=True)(values * 1)
    assert copies.n_copies == 0


def test_a_training_starts_so():
    made = make.plan()
    state = start_training(build_network(made), made)
    found = [module for module in state.network.modules() if isinstance(module, NEED_INPUT)]
    assert found
    assert not any(module.inplace for module in found)
