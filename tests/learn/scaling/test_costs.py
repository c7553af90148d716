import pytest
import torch

from effmed.learn.network import create_network
from effmed.learn.scaling import VARIANTS, count, stages
from effmed.learn.scaling.costs import saved_numbers, training_bytes, training_seconds

SIDE_PX = 64


def kept_by_torch(name, side_px):
    """Numbers of one image that torch keeps for the backward pass, from two images of which the memory is counted."""
    network = create_network(VARIANTS[name].architecture, n_outputs=1, channels=3).train()
    parameters = {each.data_ptr() for each in network.parameters()}
    storages = {}

    def note(tensor):
        if tensor.data_ptr() not in parameters:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # lest another tensor takes its place in memory
        return tensor

    alive = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(torch.randn(2, 3, side_px, side_px))
    return sum(storages.values()) / 4 / 2


@pytest.mark.parametrize("name", ["lite0", "b0", "b1", "v2-b0", "v2-s"])
def test_the_forward_pass_leaves_what_is_counted(name):
    table = VARIANTS[name].scaled_table
    assert saved_numbers(table, SIDE_PX) == pytest.approx(kept_by_torch(name, SIDE_PX), rel=0.1)


def test_at_the_variants_own_side_the_count_is_within_one_percent():
    assert saved_numbers(stages.B0, 224) == pytest.approx(kept_by_torch("b0", 224), rel=0.01)


def test_memory_is_four_numbers_per_parameter_and_what_every_image_leaves():
    parameters = count(stages.B0, 224).parameters
    none, one, two = (training_bytes(stages.B0, 224, n, bytes_per_number=4) for n in (0, 1, 2))
    assert none == 16 * parameters
    assert one - none == two - one == 4 * saved_numbers(stages.B0, 224)
    assert training_bytes(stages.B0, 224, 1, bytes_per_number=2) - none == 2 * saved_numbers(stages.B0, 224)


def test_an_image_to_learn_from_takes_three_times_one_to_look_at():
    macs = count(stages.B0, 224).multiply_adds
    assert training_seconds(stages.B0, 224, n_train=10, n_val=0, speed=macs) == pytest.approx(30)
    assert training_seconds(stages.B0, 224, n_train=10, n_val=5, speed=macs / 2) == pytest.approx(70)
