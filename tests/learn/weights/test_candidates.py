import pytest
import torch

from effmed.errors import MachineError, RecipeError
from effmed.learn.weights import candidates, places
from effmed.learn.weights.candidates import CONSIDERED, find_candidates
from effmed.learn.weights.sets import default_set, find_set
from tests.learn.weights import make


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "PACKAGES", {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def names(setting="auto"):
    return tuple(variant.name for variant in find_candidates(setting).variants)


def test_with_a_network_what_lies_here_makes_no_difference(tmp_path, monkeypatch):
    assert names() == CONSIDERED
    make.fetched(tmp_path, default_set("b2"), {"a": torch.ones(1)})
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path))
    assert names() == CONSIDERED


@pytest.mark.parametrize("switch", ["EFFMED_OFFLINE", "HF_HUB_OFFLINE"])
def test_without_a_network_only_what_lies_here_is_considered(tmp_path, monkeypatch, switch):
    make.fetched(tmp_path, default_set("b2"), {"a": torch.ones(1)})
    make.fetched(tmp_path, find_set("b4", "ap_in1k"), {"a": torch.ones(1)})
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path))
    monkeypatch.setenv(switch, "1")
    assert names() == ("b2",)
    assert names("ap_in1k") == ("b4",)
    assert f"({switch}=1)" in find_candidates("auto").why


def test_without_a_network_and_weights_both_remedies_are_named(monkeypatch):
    monkeypatch.setenv("EFFMED_OFFLINE", "1")
    with pytest.raises(MachineError, match="EFFMED_OFFLINE=1 forbids the network") as caught:
        find_candidates("auto")
    assert "effmed weights fetch" in caught.value.hint
    assert "model.weights=none" in caught.value.hint


def test_from_scratch_every_variant_is_considered_whatever_lies_here(monkeypatch):
    monkeypatch.setenv("EFFMED_OFFLINE", "1")
    assert names("none") == CONSIDERED


def test_a_tag_leaves_the_variants_that_have_it():
    assert names("ra_in1k") == ("b5", "b7")
    assert names("in1k") == tuple(name for name in CONSIDERED if name not in {"b6", "b7"})


@pytest.mark.parametrize("setting", ["weights.pth", "runs/first", "no_such_tag"])
def test_weights_of_one_network_leave_nothing_to_choose(setting):
    with pytest.raises(RecipeError, match="is for one network") as caught:
        find_candidates(setting)
    assert "--variant b4" in caught.value.hint


def test_the_accuracy_is_that_of_the_weights_that_would_be_taken():
    found = find_candidates("in1k")
    accuracies = dict(zip((variant.name for variant in found.variants), found.top1_percent, strict=True))
    assert (accuracies["b0"], accuracies["lite0"]) == (76.5, 74.8)
    assert set(candidates.CONSIDERED) >= set(accuracies)
