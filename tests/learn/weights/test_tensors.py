import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from effmed.errors import MachineError, RecipeError
from effmed.learn.weights.records import file_sha256
from effmed.learn.weights.tensors import map_lite_names, read_tensors

TENSORS = {"conv.weight": torch.arange(4.0), "conv.bias": torch.ones(1)}


def same(found):
    return set(found) == set(TENSORS) and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_safetensors_are_read(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert same(read_tensors(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_tensors_that_torch_saved_are_read(tmp_path, suffix):
    torch.save(TENSORS, tmp_path / f"w{suffix}")
    assert same(read_tensors(tmp_path / f"w{suffix}"))


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "state_dict", "model"])
def test_tensors_are_found_in_the_checkpoint_of_a_training(tmp_path, key):
    parallel = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    torch.save({key: parallel, "epoch": 3}, tmp_path / "w.pth")
    assert same(read_tensors(tmp_path / "w.pth"))


def test_averaged_weights_are_preferred(tmp_path):
    other = {name: tensor + 1 for name, tensor in TENSORS.items()}
    torch.save({"state_dict": other, "state_dict_ema": TENSORS}, tmp_path / "w.pth")
    assert same(read_tensors(tmp_path / "w.pth"))


class Hostile:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (os.mkdir, (self.place,))


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path):
    hostile = Hostile(str(tmp_path / "made"))
    with (tmp_path / "w.pth").open("wb") as file:
        pickle.dump({"a": hostile}, file)
    torch.save({"a": hostile}, tmp_path / "new.pth")
    for name in ("w.pth", "new.pth"):
        with pytest.raises(RecipeError, match="without running code"):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("n_bytes", [0, 1, 10, 200, 500])
def test_a_cut_file_is_refused(tmp_path, n_bytes):
    for name, write in (("w.pth", torch.save), ("w.safetensors", save_file)):
        write(TENSORS, tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: min(n_bytes, len(data) - 1)])
        with pytest.raises(RecipeError, match="cannot be read"):
            read_tensors(tmp_path / name)


@pytest.mark.parametrize("data", [b"hello world" * 9, b"\x80\x02K\x01.", b"PK\x03\x04" + bytes(99), bytes(range(256))])
def test_something_else_is_refused(tmp_path, data):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(RecipeError, match=r"cannot be read|something else"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("held", [[1, 2], {}, {"a": 1}, {"model": {"a": "text"}}, torch.ones(2)])
def test_something_else_than_named_tensors_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises(RecipeError, match="something else than named tensors"):
        read_tensors(tmp_path / "w.pth")


def test_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"")
    with pytest.raises(RecipeError, match="of an unknown kind"):
        read_tensors(tmp_path / "w.h5")


def test_the_digits_in_a_name_are_checked(tmp_path):
    torch.save(TENSORS, tmp_path / "w.pth")
    data, digest = (tmp_path / "w.pth").read_bytes(), file_sha256(tmp_path / "w.pth")
    (tmp_path / f"w-{digest[:8]}.pth").write_bytes(data)
    (tmp_path / "w-00000000.pth").write_bytes(data)
    assert same(read_tensors(tmp_path / f"w-{digest[:8]}.pth"))
    with pytest.raises(MachineError, match="recorded 00000000"):
        read_tensors(tmp_path / "w-00000000.pth")


@pytest.mark.parametrize("name", ["_se_reduce.weight", "_blocks.0._se_reduce.weight", "_blocks.99._bn1.weight"])
def test_names_of_another_network_are_refused(name):
    with pytest.raises(RecipeError, match="not those of tf_efficientnet_lite0"):
        map_lite_names({name: torch.ones(1)}, "tf_efficientnet_lite0")
