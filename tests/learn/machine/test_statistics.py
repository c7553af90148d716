import pytest
import torch

from effmed.errors import RecipeError
from effmed.learn.kernels.layers import fuse_layers
from effmed.learn.machine.statistics import (
    SharedBatchNorm,
    checkpoint_blocks,
    has_blocks,
    seen_in_parts,
    share_statistics,
)
from effmed.learn.machine.team import ALONE, Team
from effmed.learn.network import build_network, create_network
from tests.learn import make


def network(seed=0):
    torch.manual_seed(seed)
    return build_network(make.plan())


def test_the_layers_keep_names_and_values_and_judge_alike():
    plain, shared = network(), network()
    share_statistics(shared, Team(0, 2))
    assert list(plain.state_dict()) == list(shared.state_dict())
    assert sum(isinstance(module, SharedBatchNorm) for module in shared.modules()) > 5
    images = torch.rand(4, 1, 32, 32)
    assert torch.allclose(plain.eval()(images), shared.eval()(images), atol=1e-6)


def test_a_process_alone_keeps_its_layers():
    alone = network()
    share_statistics(alone, ALONE)
    assert not any(isinstance(module, SharedBatchNorm) for module in alone.modules())


@pytest.mark.usefixtures("kernels")
def test_layers_that_compute_for_those_behind_them_stay_in_their_place():
    fused = network()
    fuse_layers(fused)
    with pytest.raises(ValueError, match="before layers are fused"):
        share_statistics(fused, Team(0, 2))


def test_one_process_learns_as_with_the_layers_of_torch(monkeypatch):
    """With nobody to add up with, values, gradients and running statistics are those of torch."""
    monkeypatch.setattr("effmed.learn.machine.team.distributed.all_reduce", lambda tensor: None)
    plain, shared = network(), network()
    share_statistics(shared, Team(0, 2))
    images = torch.rand(6, 1, 32, 32)
    for each in (plain, shared):
        each.train()(images).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), shared.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-6), name
    for (name, one), other in zip(plain.named_buffers(), shared.buffers(), strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-6), name


def test_blocks_that_are_computed_twice_have_the_same_gradient_and_statistics():
    plain, saving = network(), network()
    checkpoint_blocks(saving)
    images = torch.rand(6, 1, 32, 32)
    for each in (plain, saving):
        each.train()(images).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-7), name
    for (name, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert "num_batches" in name or torch.allclose(one, other, rtol=1e-5, atol=1e-7), name


def test_they_need_less_memory():
    kept = []
    for twice in (False, True):
        learned, n_bytes = network(), []
        if twice:
            checkpoint_blocks(learned)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, n=n_bytes: n.append(t.nbytes) or t, lambda t: t):
            learned.train()(torch.rand(6, 1, 32, 32))
        kept.append(sum(n_bytes))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize("name", ["inception_v3", "resnet18"])  # that of timm could, but names no blocks
def test_a_network_that_cannot_is_said(name):
    made = create_network(name, n_outputs=1, channels=3)
    assert not has_blocks(made)
    with pytest.raises(RecipeError, match="cannot compute its blocks twice"):
        checkpoint_blocks(made)


def test_parts_of_a_step_move_the_running_statistics_as_one_whole_does():
    """The same images four times, each a quarter of the way: as once, all the way."""
    plain, parted = network(), network()
    images = torch.rand(6, 1, 32, 32)
    plain.train()(images)
    with seen_in_parts(parted, 4):
        for _ in range(4):
            parted.train()(images)
    for (name, one), other in zip(plain.named_buffers(), parted.buffers(), strict=True):
        assert "num_batches" in name or torch.allclose(one, other, rtol=1e-4, atol=1e-7), name
    momenta = [{m.momentum for m in each.modules() if hasattr(m, "momentum")} for each in (plain, parted)]
    assert momenta[0] == momenta[1]
