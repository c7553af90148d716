"""The measurement of a GPU, on the CPU: both trainings run the same loop, one of them on one batch."""

import json

import numpy as np
import pytest
import torch

from benchmarks import gpu_training
from tests.learn import make


def test_noise_has_the_form_of_the_cache():
    plan = make.plan(channels=3, pixel_depth="uint16")
    images = gpu_training.made_up(plan, 10)
    assert images.pixels.shape == (10, make.SIZE, make.SIZE, 3)
    assert images.pixels.dtype == np.uint16
    assert images.truth.tolist() == [0, 1] * 5


def test_more_images_than_differ_are_the_same_ones_again(monkeypatch):
    monkeypatch.setattr(gpu_training, "N_DIFFERENT", 4)
    images = gpu_training.made_up(make.plan(), 10)
    assert len(images.pixels) == 4
    assert images.rows.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_a_resident_batch_is_the_same_memory_every_time():
    plan = make.plan()
    resident = gpu_training.Resident(make.images(20), plan)
    first, later = (resident.changed_inputs(np.arange(k, k + 8), plan, epoch) for k, epoch in ((0, 0), (8, 3)))
    assert first.data_ptr() == later.data_ptr()
    assert first.shape == (8, 1, make.SIZE, make.SIZE)
    assert len(resident.changed_inputs(np.arange(4), plan, 0)) == 4


def test_a_resident_batch_is_what_the_loader_gives_first():
    plan, images = make.plan(), make.images(20)
    expected = images.changed_inputs(np.arange(8), plan, 0)
    assert torch.equal(gpu_training.Resident(images, plan).inputs(np.arange(8), plan), expected)


def test_the_first_epoch_does_not_count():
    plan = make.plan(epochs=2)
    assert gpu_training.rate_of(make.images(24), make.images(8), plan) > 0
    with pytest.raises(ZeroDivisionError):
        gpu_training.rate_of(make.images(24), make.images(8), make.plan(epochs=1))


@pytest.mark.slow
def test_every_figure_is_there(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny = "--network test_efficientnet --size 32 --batch 8 --images 24 --epochs 1 --long 24 --device cpu"
    gpu_training.main(tiny.split())
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["network"], found["size"], found["batch"]) == ("test_efficientnet", 32, 8)
    assert found["precision"] == "float32"
    assert min(found["whole_s"], found["fed_rate"], found["resident_rate"]) > 0
