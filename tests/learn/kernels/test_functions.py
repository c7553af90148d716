"""Ours beside torch in float64, and within what float32 rounds."""

from contextlib import contextmanager
from copy import deepcopy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from effmed.learn.kernels import build, functions
from effmed.learn.kernels.functions import (
    ConvolveDepthwise,
    Gate,
    Geometry,
    Normalisation,
    NormaliseActivate,
    NormaliseExcite,
)

pytestmark = pytest.mark.usefixtures("kernels")

ACTIVATIONS = {"identity": nn.Identity(), "silu": nn.SiLU(), "relu": nn.ReLU(), "relu6": nn.ReLU6()}
EPS = 1e-3
CLOSE = 2e-6  # of the largest number: float32 keeps 6e-8 of each, and sums of up to 20,000 of them lose some more


def pictures(*shape, seed=0):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(memory_format=torch.channels_last)


def per_channel(channels, seed=1):
    return torch.randn(2, channels, generator=torch.Generator().manual_seed(seed)).unbind()


def learned(function, *given):
    """Return the outputs of a function, and the gradients of what goes in."""
    given = [tensor.detach().clone().requires_grad_() for tensor in given]
    outputs = function(*given)
    back = pictures(*outputs.shape, seed=9).to(outputs.dtype)
    return [outputs.detach(), *torch.autograd.grad(outputs, given, back)]


def assert_close(ours, theirs, tolerance=CLOSE):
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert own.shape == other.shape
        assert own.dtype == torch.float32
        assert float((own.double() - other).abs().max()) <= tolerance * float(other.abs().max())


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forget(mean, variance):
    pass


def normalised(kind):
    return lambda *given: NormaliseActivate.apply(*given, Normalisation(EPS, kind, forget))


def excited(kind, gate=torch.sigmoid):
    return lambda *given: NormaliseExcite.apply(*given, Normalisation(EPS, kind, forget), Gate(gate))


def excited_by_torch(kind, gate=torch.sigmoid):
    def compute(images, weight, bias):
        found = normalised_by_torch(kind)(images, weight, bias)
        return found * gate(found.mean((2, 3), keepdim=True))

    return compute


def moments(images, weight, bias, kind):
    """Return outputs, mean and variance."""
    found = []
    outputs = NormaliseActivate.apply(images, weight, bias, Normalisation(EPS, kind, lambda *both: found.extend(both)))
    return outputs, *found


def normalised_by_torch(kind):
    def compute(images, weight, bias):
        return ACTIVATIONS[kind](functional.batch_norm(images, None, None, weight, bias, training=True, eps=EPS))

    return compute


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
    functions._call("effmed_normalise", values, len(values), 8, ones, zeros, functions.KINDS["silu"], found)
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
    kernels = pictures(64, 1, 3, 3, seed=3)
    geometry = Geometry(1, (1, 1), (132, 132))
    assert_close(
        learned(lambda *both: ConvolveDepthwise.apply(*both, geometry), images, kernels),
        learned(lambda a, b: functional.conv2d(a, b, padding=1, groups=64), images.double(), kernels.double()),
        1e-5,
    )
    factors = torch.rand(8, 64, 1, 1, generator=torch.Generator().manual_seed(5))

    def gate(means):
        return factors.to(means.dtype) * means.exp()

    theirs = learned(excited_by_torch("silu", gate), *(each.double() for each in given))
    assert_close(learned(excited("silu", gate), *given), theirs, 1e-5)


def convolved(rows, columns, kernel, stride, before, after):
    """Return ours and torch's, for zeros before the first and after the last row and column."""
    out = [
        (side + first + last - kernel) // stride + 1
        for side, first, last in zip((rows, columns), before, after, strict=True)
    ]
    geometry = Geometry(stride, before, tuple(out))

    def by_torch(images, kernels):
        padded = functional.pad(images, (before[1], after[1], before[0], after[0]))
        return functional.conv2d(padded, kernels, stride=stride, groups=len(kernels))

    return lambda *both: ConvolveDepthwise.apply(*both, geometry), by_torch


@pytest.mark.parametrize("channels", [8, 24, 32])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_convolution_is_that_of_torch(kernel, stride, channels):
    for rows, columns in ((1, 1), (2, 3), (7, 7), (13, 22)):
        half = kernel // 2
        for before, after in (
            ((half, half), (half, half)),
            ((half - 1, half), (half, half - 1)),
            ((0, half), (half, half)),
        ):
            if min(rows + before[0] + after[0], columns + before[1] + after[1]) < kernel:
                continue
            own, by_torch = convolved(rows, columns, kernel, stride, before, after)
            given = pictures(2, channels, rows, columns), pictures(channels, 1, kernel, kernel, seed=2)
            assert_close(learned(own, *given), learned(by_torch, *(each.double() for each in given)))


def test_only_gradients_that_are_needed_are_computed(monkeypatch):
    called = []
    call = functions._call
    monkeypatch.setattr(functions, "_call", lambda name, *rest: (called.append(name), call(name, *rest)))
    images, kernels = pictures(2, 8, 5, 5), pictures(8, 1, 3, 3)
    geometry = Geometry(1, (1, 1), (5, 5))
    ConvolveDepthwise.apply(images, kernels.requires_grad_(), geometry).sum().backward()
    assert called == ["effmed_depthwise", "effmed_depthwise_weights"]
    called.clear()
    ConvolveDepthwise.apply(images.requires_grad_(), kernels.detach(), geometry).sum().backward()
    assert called == ["effmed_depthwise", "effmed_depthwise_input"]


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


def test_numbers_do_not_depend_on_the_threads():
    """Bit for bit: a training may be resumed where there are more cores."""
    images, (weight, bias) = pictures(5, 40, 19, 18), per_channel(40)
    kernels = pictures(40, 1, 5, 5, seed=4)
    geometry = Geometry(2, (1, 2), (9, 9))

    def layers(pixels, taps, scale, shift):
        found = normalised("silu")(ConvolveDepthwise.apply(pixels, taps, geometry), scale, shift)
        return excited("silu")(found, scale, shift)

    found = []
    for n in (1, 3):
        with threads(n):
            found.append(learned(layers, images, kernels, weight, bias))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("n_images", [1, 33])  # fewer and more than are computed whole
@pytest.mark.parametrize("channels", [8, 40, 96])
def test_few_images_are_the_same_as_many(n_images, channels):
    own, by_torch = convolved(6, 5, 3, 1, (1, 1), (1, 1))
    given = pictures(n_images, channels, 6, 5), pictures(channels, 1, 3, 3, seed=2)
    assert_close(learned(own, *given), learned(by_torch, *(each.double() for each in given)))


def test_every_kernel_is_declared():
    names = {
        line.split("(")[0].split()[-1]
        for source in build.SOURCES
        for line in (build.FOLDER / source).read_text().splitlines()
        if line.startswith("void effmed_")
    }
    assert names == build.SIGNATURES.keys()
