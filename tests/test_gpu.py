"""What only a GPU can show: it gives what the CPU gives, and learns; ``make gpu-check`` runs these."""

import numpy as np
import pytest
import torch

from effmed.learn.fitting import fit, predict_logits, start_training
from effmed.learn.loader import ordered_batches
from effmed.learn.machine.device import find_machine
from effmed.learn.machine.precision import set_precision
from effmed.learn.network import build_network
from effmed.learn.transforms import changed_on_device, draw_change, make_augmentation, normalised, packed, stacked
from effmed.recipe import AugmentSettings
from tests.learn import make

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_the_gpu_is_found_and_named():
    machine = find_machine("auto")
    assert machine.device == "cuda"
    assert machine.name == torch.cuda.get_device_name()
    assert machine.memory_bytes > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_batch_is_changed_and_normalised_as_on_the_cpu(dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 40, 56, 3), dtype=dtype)
    strong = make_augmentation(AugmentSettings(rotation_degrees=90, scale_fraction=0.3, horizontal_flip=True))
    changes = packed([draw_change(strong, (40, 56), seed=(i,)) for i in range(6)])
    batch = stacked(pixels)
    ours = normalised(changed_on_device(batch, changes), MEAN, STD)
    theirs = normalised(changed_on_device(batch.cuda(), changes), MEAN, STD)
    assert theirs.is_cuda
    assert theirs.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(theirs.cpu(), ours, atol=2e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_learns_on_the_gpu_and_scores_alike_on_the_cpu(precision):
    plan = make.plan(device="cuda", precision=precision, epochs=8, patience=8)
    torch.manual_seed(0)
    set_precision(plan)
    state = start_training(build_network(plan), plan)
    epochs = list(fit(state, make.images(64), make.images(32, seed=1), plan))
    assert max(epoch.val_score for epoch in epochs) > 0.9
    scored = make.images(32, seed=2)
    exact = plan.model_copy(update={"precision": "float32"})
    there = predict_logits(state.network, ordered_batches(scored, exact), exact)
    alone = exact.model_copy(update={"device": "cpu"})
    here = predict_logits(state.network.cpu(), ordered_batches(scored, alone), alone)
    assert there.dtype == np.float32
    assert np.abs(there - here).max() < 0.02 * max(1.0, np.abs(here).max())
