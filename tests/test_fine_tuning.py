"""How deep a training reaches, from the first image to the bundle."""

import json
import shutil

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from effmed import workflows
from effmed.errors import BundleError
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.training import learning as module
from effmed.workflows.values import Training
from tests import make


class Heard(workflows.Silence):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights of a network that nobody trained, in a file."""
    path = tmp_path_factory.mktemp("weights") / "test_efficientnet.safetensors"
    torch.manual_seed(3)
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make.class_folders(tmp_path_factory.mktemp("data"), patients=14, images=2)


def training(start, data, folder, *settings):
    small = ("model.image_size=32", "train.epochs=3", "train.threads=1", "train.batch_size=8")
    recipe = find_recipe(None, [f"model.weights={start}", "data.patient_pattern=(p[0-9]+)_", *small, *settings])
    return Training("timm:test_efficientnet", data, None, recipe, folder)


def backbone(path, channels=1):
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("classifier.")}
    stem = tensors["conv_stem.weight"]
    return tensors | {"conv_stem.weight": stem if stem.shape[1] == channels else stem.sum(dim=1, keepdim=True)}


def moved(run, start):
    before, after = backbone(start), backbone(run.bundle / "weights.safetensors")
    return {name for name in before if not torch.allclose(before[name].float(), after[name].float(), atol=1e-6)}


def interrupted(wanted, monkeypatch):
    """Train until the first epoch has ended and its checkpoint is written."""
    write = module.write_checkpoint

    def interrupt(folder, state, best):
        write(folder, state, best)
        if state.epoch > 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_checkpoint", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflows.train(wanted)


def test_a_head_that_learns_alone_leaves_the_backbone_and_resumes_to_the_same(start, data, tmp_path, monkeypatch):
    settings = ("train.depth=head", "train.views=2")
    heard = Heard()
    workflows.train(training(start, data, tmp_path / "whole", *settings), heard)
    whole = Run(tmp_path / "whole")
    assert moved(whole, start) == set()
    assert any(line.startswith("features of ") and "the head learns from them" in line for line in heard.lines)
    interrupted(training(start, data, tmp_path / "parts", *settings), monkeypatch)
    workflows.resume(tmp_path / "parts")
    parts = Run(tmp_path / "parts")
    assert json.loads(parts.done.read_text()) == json.loads(whole.done.read_text())
    assert not parts.last.exists()


def test_a_head_that_learns_alone_is_judged_by_several_views_too(start, data, tmp_path):
    settings = ("train.depth=head", "train.epochs=1", "augment.test_views=3", "augment.rotation_degrees=30")
    workflows.train(training(start, data, tmp_path / "run", *settings))
    run = Run(tmp_path / "run")
    workflows.predict(run.folder, data, tmp_path / "s.csv", find_recipe(None, ["data.patient_pattern=(p[0-9]+)_"]))
    scored = pd.read_csv(tmp_path / "s.csv").set_index("image")
    for split in ("val", "test"):
        known = pd.read_parquet(run.predictions(split)).set_index("image")
        both = scored.loc[known.index]
        assert both["logit_sick"].to_numpy() == pytest.approx(known["logit_sick"].to_numpy(), abs=1e-4)
        assert both["probability_sick"].to_numpy() == pytest.approx(known["probability_sick"].to_numpy(), abs=1e-4)
    facts = json.loads((run.folder / "report.json").read_text())["data"]["facts"]
    assert facts["views"].startswith("mean of the logits of 3 views")
    assert "mean of the logits of 3 views" in (run.bundle / "CARD.md").read_text()


def test_the_network_beside_the_checkpoints_is_needed(start, data, tmp_path, monkeypatch):
    interrupted(training(start, data, tmp_path / "run", "train.depth=head"), monkeypatch)
    (tmp_path / "run" / "last" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(BundleError, match=r"weights\.safetensors is damaged"):
        workflows.resume(tmp_path / "run")


def test_the_last_stage_learns_and_those_before_it_stay(start, data, tmp_path):
    workflows.train(training(start, data, tmp_path / "run", "train.depth=1"))
    names = {name.split(".")[0] + "." + name.split(".")[1] for name in moved(Run(tmp_path / "run"), start)}
    last = max(int(name.split(".")[1]) for name in backbone(start) if name.startswith("blocks."))
    assert {name for name in names if name.startswith("blocks")} == {f"blocks.{last}"}
    assert not {name for name in names if name.startswith(("conv_stem", "bn1"))}


def test_what_is_averaged_is_what_the_bundle_holds(start, data, tmp_path, monkeypatch):
    kept = {}
    write = module.write_checkpoint

    def keep(folder, state, best):
        write(folder, state, best)
        if state.best_epoch == state.epoch:
            kept["judged"] = {name: tensor.clone() for name, tensor in state.judged.state_dict().items()}
            kept["network"] = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}

    monkeypatch.setattr(module, "write_checkpoint", keep)
    workflows.train(training(start, data, tmp_path / "run", "train.ema_decay=0.9"))
    held = load_file(tmp_path / "run" / "bundle" / "weights.safetensors")
    assert all(torch.equal(held[name], tensor) for name, tensor in kept["judged"].items())
    assert not torch.equal(held["conv_head.weight"], kept["network"]["conv_head.weight"])
    shutil.rmtree(tmp_path / "run")
