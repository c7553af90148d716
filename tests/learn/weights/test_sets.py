import subprocess
import sys
from pathlib import Path

import pytest
from timm.models import get_pretrained_cfg, list_pretrained

from effmed.errors import RecipeError
from effmed.learn.scaling import VARIANTS
from effmed.learn.weights.records import file_sha256
from effmed.learn.weights.sets import PACKAGES, SETS, default_set, find_set

ALL = [each for sets in SETS.values() for each in sets]


@pytest.mark.parametrize("weight_set", ALL, ids=lambda each: each.network)
def test_every_set_is_as_timm_describes_it(weight_set):
    config = get_pretrained_cfg(weight_set.network)
    assert weight_set.hub_name == config.hf_hub_id
    assert weight_set.resolution_px == config.input_size[-1] == config.input_size[-2]
    assert (weight_set.mean, weight_set.std) == (tuple(config.mean), tuple(config.std))
    assert weight_set.licence.lower() == config.license
    assert (weight_set.top1_percent is None) == (config.num_classes != 1000)


@pytest.mark.parametrize("variant", list(SETS))
def test_no_set_that_timm_knows_is_missing(variant):
    architecture = default_set(variant).network.partition(".")[0]
    assert {each.network for each in SETS[variant]} == set(list_pretrained(f"{architecture}.*"))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_what_is_trained_is_named_after_the_default_set(variant):
    if variant in SETS:
        assert VARIANTS[variant].network == default_set(variant).network


@pytest.mark.parametrize("variant", list(SETS))
def test_one_set_is_the_default_and_says_why(variant):
    default, *others = SETS[variant]
    assert default.reason != ""
    assert {each.reason for each in others} <= {""}


@pytest.mark.parametrize("variant", list(SETS))
def test_the_default_is_the_most_accurate_of_the_variant_unless_it_says_otherwise(variant):
    best = max(each.top1_percent for each in SETS[variant] if each.top1_percent is not None)
    if default_set(variant).reason.startswith("as accurate as"):
        assert best - default_set(variant).top1_percent <= 0.2 + 1e-9
    else:
        assert default_set(variant).top1_percent == best


def test_the_only_set_of_a_network_says_so():
    for variant, sets in SETS.items():
        assert (sets[0].reason.startswith("the only")) == (len(sets) == 1), variant


def test_a_set_is_found_by_its_tag():
    assert find_set("b4", "ap_in1k").network == "tf_efficientnet_b4.ap_in1k"
    assert find_set("b4", "auto") == default_set("b4")
    with pytest.raises(RecipeError, match="no weights called 'in22k'") as caught:
        find_set("b4", "in22k")
    assert "ns_jft_in1k, ap_in1k" in caught.value.hint


@pytest.mark.parametrize("variant", list(PACKAGES))
def test_the_recorded_digests_are_those_of_the_packages(variant):
    package = PACKAGES[variant]
    module = __import__(package.module)
    theirs = getattr(module, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    assert Path(theirs) == Path(module.__file__).parent / package.file
    assert file_sha256(Path(theirs)) == package.sha256


@pytest.mark.parametrize("module", ["sets", "places", "records", "hub"])
def test_listing_weights_needs_no_deep_learning_library(module):
    probe = (
        f"import sys, effmed.learn.weights.{module}\n"
        "sys.stderr.write(','.join(sorted({'torch', 'timm', 'pandas', 'huggingface_hub'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr == ""
