import numpy as np
import pytest
import torch

from effmed.learn.fitting import predict_logits
from effmed.learn.machine.precision import autocast
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
