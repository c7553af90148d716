"""Ours beside torch in float64, and within what float32 rounds."""

from copy import deepcopy

import pytest
import timm
import torch
from torch.nn import functional

from effmed.learn.kernels.calls import KINDS, call
from effmed.learn.kernels.normalising import Gate, Normalisation, NormaliseActivate, NormaliseExcite
from tests.learn.kernels.beside import (
    ACTIVATIONS,
    EPS,
    assert_close,
    excited,
    excited_by_torch,
    forget,
    learned,
    normalised,
    normalised_by_torch,
    per_channel,
    pictures,
)

pytestmark = pytest.mark.usefixtures("kernels")


def moments(images, weight, bias, kind):
    """Return outputs, mean and variance."""
    found = []
    outputs = NormaliseActivate.apply(images, weight, bias, Normalisation(EPS, kind, lambda *both: found.extend(both)))
    return outputs, *found


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 24, 3, 5), (3, 33, 16, 17), (4, 16, 12, 11)])
def test_normalisation_is_that_of_torch(shape, kind):
    given = (pictures(*shape) * 2, *per_channel(shape[1]))
    theirs = learned(normalised_by_torch(kind), *(each.double() for each in given))
    assert_close(learned(normalised(kind), *given), theirs)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 24, 3, 5), (3, 33, 16, 17), (4, 16, 12, 11)])
def test_normalisation_with_excitation_is_that_of_torch(shape, kind):
    """With a gate in which channels see each other."""
    given = (pictures(*shape) * 2, *per_channel(shape[1]))

    def gate(means):
        return (means * 3 + means.roll(1, dims=1)).sigmoid()

    theirs = learned(excited_by_torch(kind, gate), *(each.double() for each in given))
    assert_close(learned(excited(kind, gate), *given), theirs)


def test_mean_and_variance_are_right_far_from_zero():
    """Sums of squares in float32 would have lost all digits of the variance."""
    images = pictures(4, 8, 40, 40) + 1000
    _, mean, variance = moments(images, torch.ones(8), torch.zeros(8), "silu")
    exact = images.double()
    assert torch.allclose(mean.double(), exact.mean((0, 2, 3)), rtol=1e-7)
    assert torch.allclose(variance.double(), exact.var((0, 2, 3), unbiased=False), rtol=1e-6)


def test_outputs_and_gradients_are_those_of_torch_far_from_zero():
    """As near as what goes in: a step of float32 at 1000 is 6e-5."""
    given = (pictures(4, 8, 20, 20) + 1000, *per_channel(8))
    theirs = learned(normalised_by_torch("silu"), *(each.double() for each in given))
    assert_close(learned(normalised("silu"), *given), theirs, 2e-4)


def test_channels_that_do_not_vary_have_no_variance():
    images = torch.full((2, 8, 9, 9), 0.1).to(memory_format=torch.channels_last)
    outputs, mean, variance = moments(images, torch.ones(8), torch.full((8,), 3.0), "identity")
    assert torch.all(variance == 0)
    assert torch.allclose(mean, torch.tensor(0.1))
    assert torch.allclose(outputs, torch.tensor(3.0), atol=1e-5)


def test_silu_is_that_of_torch_from_end_to_end():
    values = torch.cat([torch.linspace(-200, 200, 80_001), torch.tensor([1e30, -1e30, 3e38, -3e38, 0.0])])
    values = torch.cat([values, values.new_zeros(-len(values) % 8)]).reshape(-1, 8)
    found, ones, zeros = torch.empty_like(values), torch.ones(8), torch.zeros(8)
    call("effmed_normalise", values, len(values), 8, ones, zeros, KINDS["silu"], found)
    exact = functional.silu(values.double())
    assert torch.all((found - exact).abs() <= 2e-7 * values.double().abs())


def test_what_is_no_number_stays_none_and_in_its_channel():
    images = pictures(2, 8, 6, 6)
    images[1, 3, 2, 2] = float("nan")
    images[0, 5, 0, 0] = float("inf")
    outputs, _, _ = moments(images, torch.ones(8), torch.zeros(8), "silu")
    broken = outputs.isnan().any(dim=0).flatten(1).any(dim=1)
    assert broken.tolist() == [channel in {3, 5} for channel in range(8)]


def test_large_tensors_are_written_past_the_cache_and_are_the_same():
    images = pictures(8, 64, 132, 132)
    assert images.numel() > 8 << 20
    given = (images, *per_channel(64))
    theirs = learned(normalised_by_torch("silu"), *(each.double() for each in given))
    assert_close(learned(normalised("silu"), *given), theirs, 1e-5)
    factors = torch.rand(8, 64, 1, 1, generator=torch.Generator().manual_seed(5))

    def gate(means):
        return factors.to(means.dtype) * means.exp()

    theirs = learned(excited_by_torch("silu", gate), *(each.double() for each in given))
    assert_close(learned(excited("silu", gate), *given), theirs, 1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_squeeze_and_excitation_is_that_of_timm(frozen):
    """Its weights learn as well, or not."""
    torch.manual_seed(0)
    theirs = timm.models._efficientnet_blocks.SqueezeExcite(24, rd_ratio=0.25)
    theirs.conv_reduce.requires_grad_(not frozen)
    own = deepcopy(theirs)

    def compute(means):
        return own.gate(own.conv_expand(own.act1(own.conv_reduce(means))))

    images, weight, bias = pictures(3, 24, 15, 14), *per_channel(24)
    given = (images, weight, bias, Normalisation(EPS, "silu", forget), Gate(compute, tuple(own.parameters())))
    NormaliseExcite.apply(*given, *own.parameters()).square().sum().backward()
    theirs.double()(
        normalised_by_torch("silu")(images.double(), weight.double(), bias.double())
    ).square().sum().backward()
    for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if other.grad is not None:
            assert_close([mine.grad], [other.grad])


def test_gradients_in_another_order_of_memory_are_the_same():
    given = (pictures(2, 8, 6, 5), *per_channel(8))
    back = pictures(2, 8, 6, 5, seed=3)
    found = []
    for kind in (torch.channels_last, torch.contiguous_format):
        leaves = [each.clone().requires_grad_() for each in given]
        outputs = normalised("silu")(*leaves)
        found.append(torch.autograd.grad(outputs, leaves, back.clone(memory_format=kind)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
