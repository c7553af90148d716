"""The planned input: rectangles, and what images, weights and letterbox have against it."""

import re
from dataclasses import replace

import pytest

from effmed.learn.plan import Machine, NativeInput, make_plan
from effmed.learn.scaling import find_variant
from effmed.recipe import input_sides, make_recipe
from tests.learn.make import fingerprint

CPU = Machine("cpu", "cpu", 2, has_bfloat16=False)
SCRATCH = NativeInput("none", "", (0.5,) * 3, (0.5,) * 3)
AT_224 = NativeInput("installed package x", "Apache-2.0", (0.5,) * 3, (0.5,) * 3, resolution_px=224)
SMALLER, OTHER_SCALE, PADDED = "smaller than the network's input", "were trained at", "stays black"


def planned(variant="lite0", native=SCRATCH, size="auto", **changes):
    recipe = make_recipe({"model": {"image_size": size}})
    return make_plan(recipe, fingerprint(**changes), find_variant(variant), native, CPU)


def pictures(height, width, *, least=None):
    """Facts of 140 images, half of them at least as high and wide as given."""
    low = least or (height, width)
    shape = f"{height / width:.3g}"
    return {
        "height_px": (low[0], height, 2 * height),
        "width_px": (low[1], width, 2 * width),
        "shapes": {shape: 140},
    }


def offered(plan):
    """What the warnings say that model.image_size might be."""
    return re.findall(r"model\.image_size=([0-9x]+)", " ".join(plan.warnings))


def warned(plan):
    return [kind for kind in (SMALLER, OTHER_SCALE, PADDED) if any(kind in each for each in plan.warnings)]


def test_images_that_fit_are_no_reason_to_warn():
    assert planned().warnings == ()
    assert planned(native=AT_224).warnings == ()


def test_a_rectangle_is_planned_as_height_by_width():
    plan = planned(size="512x384", **pictures(1000, 750))
    assert (plan.preprocessing.height, plan.preprocessing.width) == (512, 384)
    assert plan.reasons["model.image_size"] == "set by the recipe"
    assert plan.warnings == ()


@pytest.mark.parametrize("variant", ["lite0", "timm:resnet50"])
def test_a_batch_has_as_many_rectangles_as_squares_of_their_area(variant):
    many = {"images_per_split": {"train": 9000, "val": 9, "test": 9}}
    sizes = {size: planned(variant, size=size, **many).batch_size for size in (320, "640x160", "1280x320")}
    assert sizes[320] == sizes["640x160"] > sizes["1280x320"]
    assert "640x160 px on cpu" in planned(variant, size="640x160", **many).reasons["train.batch_size"]


@pytest.mark.parametrize(
    ("height", "width", "is_told"),
    [(28, 28, True), (200, 200, True), (207, 207, True), (209, 209, False), (224, 224, False), (28, 224, False)],
)
def test_images_smaller_than_the_input_are_told_where_a_smaller_one_fits(height, width, is_told):
    assert (SMALLER in warned(planned(**pictures(height, width)))) == is_told


def test_small_images_are_told_with_their_sizes_and_what_fits():
    plan = planned("b4", **pictures(250, 200, least=(28, 20)))
    (told,) = plan.warnings
    assert "input of 380 px" in told
    assert "median height 250 px and width 200 px, smallest 28 and 20 px" in told
    assert "enlarged 1.5 times they hold no more information and cost more time" in told
    assert "--set model.image_size=256 or --variant b2 (260 px)" in told


def test_a_smaller_variant_is_named_where_the_size_is_the_variants_own():
    assert "--variant b0 (224 px)" in planned("b1", **pictures(64, 64)).warnings[0]
    assert "--variant" not in planned("b1", size=240, **pictures(64, 64)).warnings[0]
    assert "--variant" not in planned("b0", **pictures(64, 64)).warnings[0]


def test_one_small_image_among_large_ones_is_no_reason_to_warn():
    assert planned(**pictures(1000, 1000, least=(28, 28))).warnings == ()


def test_pixels_that_are_wider_than_high_make_a_picture_lower():
    square = pictures(200, 100) | {"pixel_aspect": 0.5, "shapes": {"1": 140}}
    plan = planned(**square)
    assert warned(plan) == [SMALLER]
    assert offered(plan) == ["96"]
    assert warned(planned(**pictures(200, 100))) == [SMALLER, PADDED]


@pytest.mark.parametrize("size", [512, "512x256", "64x2048"])
@pytest.mark.parametrize("height", [28, 47, 49, 111, 230, 500])
@pytest.mark.parametrize("width", [28, 50, 112, 239, 500])
def test_who_does_as_told_is_told_no_more(size, height, width):
    plan = planned(size=size, **pictures(height, width))
    for _ in range(2):  # a letterbox that is better filled may show that the images are small
        found = offered(plan)
        if not found:
            break
        assert all(side % 32 == 0 for side in input_sides(found[0]))
        plan = planned(size=found[-1], **pictures(height, width))
    assert offered(plan) == []


@pytest.mark.parametrize(("size", "is_told"), [(280, False), (281, True), (168, False), (167, True), (224, False)])
def test_weights_of_another_scale_are_told_beyond_a_quarter(size, is_told):
    plan = planned(native=AT_224, size=size)
    assert warned(plan) == ([OTHER_SCALE] if is_told else [])
    assert warned(planned(size=size)) == []


def test_weights_of_another_scale_are_told_with_both_sizes():
    (told,) = planned(native=AT_224, size=448).warnings
    assert "trained at 224 px, and the input is 448 px, 100% larger" in told
    assert "--set model.image_size=224" in told
    assert "50% smaller" in planned(native=AT_224, size=112).warnings[0]


def test_weights_of_unknown_training_are_not_told_of():
    assert planned(native=replace(AT_224, resolution_px=0), size=512).warnings == ()


def test_a_network_that_takes_little_over_is_from_scratch():
    assert planned("phi:2.5", native=AT_224).warnings == ()
    assert warned(planned("phi:3.5", native=AT_224)) == [OTHER_SCALE]


def test_the_scale_of_a_rectangle_is_that_of_a_square_of_its_area():
    wide = pictures(500, 2000)
    assert warned(planned(native=AT_224, size="112x448", **wide)) == []
    plan = planned(native=AT_224, size="192x768", **wide)
    assert warned(plan) == [OTHER_SCALE]
    assert offered(plan) == ["128x448"]


@pytest.mark.parametrize(
    ("shape", "is_told"), [("0.7", False), ("0.699", True), ("1.42", False), ("1.43", True), ("1", False)]
)
def test_a_letterbox_is_told_of_beyond_three_tenths(shape, is_told):
    plan = planned(shapes={shape: 140})
    assert (PADDED in warned(plan)) == is_told


def test_the_padding_is_the_mean_over_images_and_not_that_of_the_median():
    assert PADDED not in warned(planned(shapes={"1": 60, "0.5": 80}))  # 80 of 140 half black: 29 %
    assert PADDED in warned(planned(shapes={"1": 50, "0.5": 90}))  # 32 %


@pytest.mark.parametrize(("height", "width", "expected"), [(3000, 1000, "384x128"), (600, 1400, "160x352")])
def test_a_rectangle_of_the_images_shape_is_offered(height, width, expected):
    plan = planned(**pictures(height, width))
    assert warned(plan) == [PADDED]
    assert offered(plan) == [expected]
    high, wide = input_sides(expected)
    assert high * wide == pytest.approx(224**2, rel=0.15)
    assert planned(size=expected, **pictures(height, width)).warnings == ()


def test_the_rectangle_enlarges_no_image():
    assert offered(planned(**pictures(300, 100))) == ["288x96"]
    plan = planned(**pictures(150, 50))
    assert warned(plan) == [SMALLER, PADDED]
    assert offered(plan) == ["160x64", "160x64"]


def test_no_rectangle_is_offered_to_images_of_many_shapes():
    plan = planned(shapes={"0.5": 70, "2": 70})
    assert warned(plan) == [PADDED]
    assert "no rectangle fits most of them" in plan.warnings[0]
    assert offered(plan) == []


def test_a_network_of_one_size_is_offered_no_other():
    fixed = replace(AT_224, is_fixed=True)
    plan = planned("timm:vit_tiny_patch16_224", native=fixed, **pictures(90, 30))
    assert warned(plan) == [SMALLER, PADDED]
    assert offered(plan) == []
    assert "timm:vit_tiny_patch16_224 takes no rectangle" in plan.warnings[1]
    assert offered(planned("timm:vit_tiny_patch16_224", native=fixed, size=384)) == []


def test_warnings_survive_the_disk():
    plan = planned(**pictures(150, 50))
    assert type(plan).model_validate_json(plan.model_dump_json()).warnings == plan.warnings != ()
