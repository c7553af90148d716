import numpy as np
import pytest
import torch

from effmed.learn.fitting import predict_logits
from effmed.learn.machine.precision import autocast, set_precision
from effmed.learn.network import build_network
from tests.learn import make


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_layers_compute_in_the_planned_precision(precision, expected):
    with autocast(make.plan(precision=precision)):
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == expected


def test_logits_are_float32_even_in_half_precision():
    plan = make.plan(precision="bfloat16")
    network = build_network(plan)
    assert predict_logits(network, [torch.zeros(2, 1, 32, 32)], plan).dtype == np.float32


@pytest.fixture
def flags():
    """What CUDA may do with float32, set back afterwards."""
    places = [(torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32")]
    places.append((torch.backends.cudnn, "benchmark"))
    before = [getattr(place, name) for place, name in places]
    yield places
    for (place, name), value in zip(places, before, strict=True):
        setattr(place, name, value)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", True)])
def test_on_cuda_float32_is_itself_where_it_was_asked_for(flags, precision, allowed):
    for place, name in flags:
        setattr(place, name, not allowed)
    set_precision(make.plan(device="cpu", precision=precision))
    assert [getattr(place, name) for place, name in flags] == [not allowed] * 3
    set_precision(make.plan(device="cuda", precision=precision))
    assert [getattr(place, name) for place, name in flags] == [allowed, allowed, True]
