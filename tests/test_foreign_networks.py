"""Networks of timm that are no EfficientNets, from a file of weights to scores; and weights that do not fit."""

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from effmed import workflows
from effmed.errors import RecipeError
from effmed.learn.network import head_prefix
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.training import deciding
from effmed.workflows.values import Training
from tests import make


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make.class_folders(tmp_path_factory.mktemp("data"), patients=14, images=2)


def weights(folder, name):
    """Weights of a network that nobody trained, in a file."""
    torch.manual_seed(3)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    return path


def training(name, start, data, folder, *settings):
    small = ("train.epochs=1", "train.threads=1", "train.batch_size=8", "data.patient_pattern=(p[0-9]+)_")
    return Training(
        f"timm:{name}", data, None, find_recipe(None, [f"model.weights={start}", *small, *settings]), folder
    )


@pytest.mark.parametrize(("name", "depth"), [("test_resnet", "head"), ("test_resnet", "1"), ("test_vit", "all")])
def test_a_network_of_timm_is_trained_and_scores(tmp_path, data, name, depth):
    start, run = weights(tmp_path, name), Run(tmp_path / "run")
    workflows.train(training(name, start, data, run.folder, f"train.depth={depth}"))
    before, after = load_file(start), load_file(run.bundle / "weights.safetensors")
    head = head_prefix(timm.create_model(name))
    assert after[f"{head}weight"].shape[0] == 1
    stem = f"{timm.create_model(name).default_cfg['first_conv']}.weight"
    moved = {
        key for key in after if key != stem and not key.startswith(head) and not torch.equal(before[key], after[key])
    }
    assert bool(moved) == (depth != "head")
    scores = workflows.predict(run.folder, data, tmp_path / "scores.csv", find_recipe(None, []))
    assert scores.n_ok == 56
    assert pd.read_csv(tmp_path / "scores.csv")["probability_sick"].between(0, 1).all()


@pytest.fixture
def _no_decoding(monkeypatch):
    def open_images(*_):
        raise AssertionError

    monkeypatch.setattr(deciding, "open_images", open_images)


@pytest.mark.usefixtures("_no_decoding")
def test_weights_of_another_network_are_refused_before_decoding(tmp_path, data):
    start = weights(tmp_path, "test_vit")
    with pytest.raises(RecipeError, match="do not fit the network"):
        workflows.train(training("test_resnet", start, data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_no_decoding")
def test_a_head_that_is_no_layer_on_pooled_features_is_refused_before_decoding(tmp_path, data):
    network = timm.create_model("shvit_s1")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_var.fill_(4.0)  # not the identity, as after training
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(RecipeError, match="does more between its pooled features and its last layer"):
        workflows.train(training("shvit_s1", tmp_path / "w.safetensors", data, tmp_path / "run", "train.depth=head"))
