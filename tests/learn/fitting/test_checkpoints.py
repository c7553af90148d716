import pytest
import torch

from effmed.errors import BundleError
from effmed.learn.bundle import weights_digest
from effmed.learn.fitting import fit, start_training
from effmed.learn.fitting.checkpoints import BEST, STATE, SUMS, read_checkpoint, write_checkpoint
from effmed.learn.network import build_network
from tests.learn import make

FILES = ("weights.safetensors", BEST, STATE)


def started(plan):
    torch.manual_seed(plan.seed)
    return start_training(build_network(plan), plan)


@pytest.fixture
def trained(tmp_path):
    """Four epochs, a checkpoint after each; the weights after each."""
    plan, digests = make.plan(epochs=4, dropout=0.2), []
    state = started(plan)
    for _ in fit(state, make.images(16), make.images(8, seed=1), plan):
        write_checkpoint(tmp_path, state, state.network.state_dict())
        digests.append(weights_digest(state.network))
    return tmp_path, plan, digests


def test_the_two_newest_are_kept_and_the_newest_is_used(trained):
    folder, plan, digests = trained
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-0003", "epoch-0004"]
    state = started(plan)
    best, damaged = read_checkpoint(folder, state)
    assert damaged == []
    assert (state.epoch, weights_digest(state.network)) == (4, digests[3])
    assert all(torch.equal(best[name], tensor) for name, tensor in state.network.state_dict().items())


@pytest.mark.parametrize("name", [*FILES, SUMS])
@pytest.mark.parametrize("harm", ["cut", "flip", "missing"])
def test_of_a_damaged_one_the_one_before_is_used_and_said(trained, name, harm):
    folder, plan, digests = trained
    path = folder / "epoch-0004" / name
    content = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    state = started(plan)
    _, damaged = read_checkpoint(folder, state)
    assert (state.epoch, weights_digest(state.network)) == (3, digests[2])
    assert len(damaged) == 1
    assert damaged[0].startswith("checkpoint epoch-0004 is damaged: ")
    for _ in fit(state, make.images(16), make.images(8, seed=1), plan):
        write_checkpoint(folder, state, state.network.state_dict())
    assert weights_digest(state.network) == digests[3]
    again = started(plan)
    assert read_checkpoint(folder, again)[1] == []
    assert again.epoch == 4


def test_where_none_is_whole_nothing_is_resumed(trained):
    folder, plan, _ = trained
    for checkpoint in folder.iterdir():
        (checkpoint / STATE).unlink()
    with pytest.raises(BundleError, match=r"epoch-0004 is damaged.*epoch-0003 is damaged"):
        read_checkpoint(folder, started(plan))


def test_a_training_without_a_whole_epoch_is_not_resumed(tmp_path):
    with pytest.raises(BundleError, match="holds no checkpoint"):
        read_checkpoint(tmp_path, started(make.plan()))


def test_the_newest_is_known_by_its_numbers_and_not_by_its_letters(tmp_path):
    state = started(make.plan())
    for epoch, losses in ((9999, []), (10000, []), (10000, [0.5] * 9), (10000, [0.5] * 10)):
        state.epoch, state.losses = epoch, losses
        write_checkpoint(tmp_path, state, {})
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-10000-step-000009", "epoch-10000-step-000010"}
    again = started(make.plan())
    read_checkpoint(tmp_path, again)
    assert (again.epoch, len(again.losses)) == (10000, 10)
