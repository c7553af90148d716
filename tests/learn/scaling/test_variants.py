import pytest
from timm.models import get_pretrained_cfg

from effmed.errors import RecipeError
from effmed.learn.scaling import VARIANTS, compound_scaling, find_variant

PUBLISHED_PX = {
    "b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600,
    "lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300,
    "b8": 672, "l2": 800, "v2-b0": 224, "v2-b1": 240, "v2-b2": 260, "v2-b3": 300, "v2-s": 300, "v2-m": 384, "v2-l": 384,
    "v2-xl": 384,
}  # fmt: skip
LITE_ELSEWHERE = ("lite3", "lite4")


@pytest.mark.parametrize(("name", "resolution"), PUBLISHED_PX.items())
def test_resolutions_are_the_published_ones(name, resolution):
    assert find_variant(name).resolution_px == resolution


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
def test_timm_knows_every_network_and_its_sides(variant):
    config = get_pretrained_cfg(variant.network)
    assert config is not None
    if variant.name not in LITE_ELSEWHERE:
        tested = config.test_input_size or config.input_size
        assert (config.input_size[1], tested[1]) == (variant.train_px, variant.test_px)


def test_timms_sides_of_two_lite_networks_are_not_the_references():
    assert {name: get_pretrained_cfg(find_variant(name).network).input_size[1] for name in LITE_ELSEWHERE} == {
        "lite3": 300,
        "lite4": 380,
    }


def test_v2_is_tested_above_the_side_it_was_trained_with_and_the_others_at_it():
    for variant in VARIANTS.values():
        assert (variant.test_px > variant.train_px) == variant.name.startswith("v2-")
        assert variant.train_px <= variant.resolution_px <= variant.test_px


def test_the_published_multipliers_are_near_the_law():
    """Within the reference's own rounding, which runs ahead of φ from B4 on."""
    for variant in VARIANTS.values():
        if variant.phi is not None:
            depth, width, _ = compound_scaling(variant.phi)
            assert (variant.depth, variant.width) == (pytest.approx(depth, rel=0.08), pytest.approx(width, rel=0.14))


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


def test_a_network_between_the_variants_follows_the_law():
    variant = find_variant("phi:2.5")
    assert (variant.depth, variant.width) == pytest.approx((1.2**2.5, 1.1**2.5))
    assert (variant.resolution_px, variant.phi) == (320, 2.5)
    assert variant.multipliers == (variant.width, variant.depth)
    below, above = (VARIANTS[name].counts(320).parameters for name in ("b3", "b4"))
    assert below < variant.counts(320).parameters < above


def test_a_network_between_starts_from_the_variant_that_has_most_of_its_tensors():
    shares = {phi: find_variant(f"phi:{phi}") for phi in ("0", "1", "2", "2.5", "3.5")}
    assert {phi: item.architecture[-2:] for phi, item in shares.items()} == {
        "0": "b0", "1": "b2", "2": "b3", "2.5": "b3", "3.5": "b4",
    }  # fmt: skip
    fractions = [item.carried_fraction for item in shares.values()]
    assert fractions == pytest.approx([1.0, 1.0, 0.944, 0.015, 0.954], abs=0.001)


def test_the_published_variants_carry_everything_over_and_have_no_multipliers_of_their_own():
    assert {(item.carried_fraction, item.multipliers) for item in VARIANTS.values()} == {(1.0, None)}


@pytest.mark.parametrize("number", ["-0.1", "7.1", "nan", "inf", "two", ""])
def test_a_phi_outside_of_the_family_is_refused(number):
    with pytest.raises(RecipeError, match="φ = "):
        find_variant(f"phi:{number}")
