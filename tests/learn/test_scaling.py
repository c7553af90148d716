import pytest

from effmed.errors import RecipeError
from effmed.learn.scaling import VARIANTS, compound_scaling, find_variant

PUBLISHED_PX = {
    "b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600,
    "lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300,
    "v2-b0": 224, "v2-b3": 300, "v2-s": 300, "v2-m": 384, "v2-l": 384,
}  # fmt: skip


@pytest.mark.parametrize(("name", "resolution"), PUBLISHED_PX.items())
def test_resolutions_are_the_published_ones(name, resolution):
    assert find_variant(name).resolution_px == resolution


def test_each_step_of_phi_doubles_the_work_about():
    depth, width, resolution = compound_scaling(1.0)
    assert depth * width**2 * resolution**2 == pytest.approx(2.0, abs=0.1)


def test_phi_zero_is_the_base_network():
    assert compound_scaling(0.0) == (1.0, 1.0, 1.0)


def test_the_law_is_near_the_published_resolution():
    for variant in VARIANTS.values():
        if variant.phi is not None and variant.name.startswith("b"):
            assert 224 * compound_scaling(variant.phi)[2] == pytest.approx(variant.resolution_px, rel=0.16)


def test_an_unknown_variant_is_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"'b44'; did you mean 'b4'"):
        find_variant("b44")


def test_any_network_of_timm_can_be_named():
    variant = find_variant("timm:test_efficientnet.r160_in1k")
    assert (variant.architecture, variant.resolution_px) == ("test_efficientnet", 224)
    with pytest.raises(RecipeError):
        find_variant("timm:")
