"""What is computed by our functions and by those of torch."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from effmed.learn.kernels import calls, convolving, normalising
from effmed.learn.kernels.normalising import Gate, Normalisation, NormaliseActivate, NormaliseExcite

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


def normalised_by_torch(kind):
    def compute(images, weight, bias):
        return ACTIVATIONS[kind](functional.batch_norm(images, None, None, weight, bias, training=True, eps=EPS))

    return compute


def watch(monkeypatch, watched):
    """Let kernels be called through a function that gets what calls them, their names and their arguments."""
    call = calls.call
    for module in (normalising, convolving):
        monkeypatch.setattr(module, "call", lambda name, *arguments: watched(call, name, *arguments))
