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


def test_scores_are_those_of_float32_whatever_the_network_learned_in(flags):
    half, full = make.plan(precision="bfloat16"), make.plan()
    network, images = build_network(full), [torch.rand(2, 1, 32, 32)]
    torch.backends.cudnn.allow_tf32 = True
    found = predict_logits(network, images, half)
    assert found.dtype == np.float32
    assert np.array_equal(found, predict_logits(network, images, full))
    assert torch.backends.cudnn.allow_tf32  # as it was


def test_no_score_is_computed_in_tf32(flags):
    seen = []

    class Network(torch.nn.Module):
        def forward(self, inputs):
            seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            return inputs.mean(dim=(1, 2, 3)).unsqueeze(1)

    set_precision(make.plan(device="cuda", precision="bfloat16"))
    predict_logits(Network(), [torch.rand(2, 1, 32, 32)], make.plan())
    assert seen == [(False, False)]


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
