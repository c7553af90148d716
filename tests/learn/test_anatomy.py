import pytest

from effmed.errors import RecipeError
from effmed.learn.anatomy import read_anatomy
from effmed.learn.scaling import VARIANTS, find_variant

# Tan and Le, EfficientNet (ICML 2019), table 1, with the convolution and the linear layer of its stage 9 apart:
# operator, kernel, stride, expansion, squeeze-and-excitation, channels, layers, side of what comes in.
PAPER_B0 = [
    ("Conv", "3x3", 2, None, None, 32, 1, 224),
    ("DepthwiseSeparable", "3x3", 1, 1.0, 0.25, 16, 1, 112),
    ("MBConv", "3x3", 2, 6.0, 0.25, 24, 2, 112),
    ("MBConv", "5x5", 2, 6.0, 0.25, 40, 2, 56),
    ("MBConv", "3x3", 2, 6.0, 0.25, 80, 3, 28),
    ("MBConv", "5x5", 1, 6.0, 0.25, 112, 3, 14),
    ("MBConv", "5x5", 2, 6.0, 0.25, 192, 4, 14),
    ("MBConv", "3x3", 1, 6.0, 0.25, 320, 1, 7),
    ("Conv", "1x1", 1, None, None, 1280, 1, 7),
    ("Linear", "", 1, None, None, 1000, 1, None),
]
# Tan and Le, EfficientNetV2 (ICML 2021), table 4.
PAPER_V2_S = [
    ("Conv", "3x3", 2, None, None, 24, 1),
    ("Conv", "3x3", 1, None, None, 24, 2),
    ("Fused-MBConv", "3x3", 2, 4.0, None, 48, 4),
    ("Fused-MBConv", "3x3", 2, 4.0, None, 64, 4),
    ("MBConv", "3x3", 2, 4.0, 0.25, 128, 6),
    ("MBConv", "3x3", 1, 6.0, 0.25, 160, 9),
    ("MBConv", "3x3", 2, 6.0, 0.25, 256, 15),
    ("Conv", "1x1", 1, None, None, 1280, 1),
    ("Linear", "", 1, None, None, 1000, 1),
]
COLUMNS = ("operator", "kernel", "stride", "expansion", "squeeze", "channels", "layers", "side_px")


def rows(name, image_size=None, columns=COLUMNS):
    return [
        tuple(getattr(stage, key) for key in columns) for stage in read_anatomy(find_variant(name), image_size).stages
    ]


def test_b0_as_built_is_the_table_of_the_paper():
    assert rows("b0") == PAPER_B0


def test_v2_s_as_built_is_the_table_of_the_paper():
    assert rows("v2-s", columns=COLUMNS[:7]) == PAPER_V2_S


def test_lite_as_built_squeezes_nowhere():
    assert {stage.squeeze for stage in read_anatomy(find_variant("lite0")).stages} == {None}


@pytest.mark.parametrize("name", ["b4", "v2-b3", "v2-m", "lite4", "l2"])
def test_the_network_as_built_is_the_scaled_table(name):
    variant = VARIANTS[name]
    table = variant.scaled_table
    wanted = [(s.operator, f"{s.kernel}x{s.kernel}", s.stride, s.channels, s.layers) for s in table.stages]
    assert rows(name, columns=("operator", "kernel", "stride", "channels", "layers"))[1:-2] == wanted


@pytest.mark.parametrize("name", ["b2", "v2-b1", "v2-s", "lite3", "phi:2.5"])
def test_what_is_measured_is_what_was_counted(name):
    variant = find_variant(name)
    found, counted = read_anatomy(variant, 96), variant.counts(96)
    assert (found.parameters, found.multiply_adds) == tuple(counted)


@pytest.mark.parametrize("name", ["b1", "v2-b0", "lite2", "timm:resnet50", "timm:densenet121", "timm:inception_v3"])
def test_stages_add_up_to_the_whole(name):
    found = read_anatomy(find_variant(name))
    assert sum(stage.parameters for stage in found.stages) == found.parameters
    assert sum(stage.multiply_adds for stage in found.stages) == found.multiply_adds


def test_resnet_is_read_from_its_modules():
    assert rows("timm:resnet50", columns=("operator", "stride", "channels", "layers", "side_px")) == [
        ("Conv", 2, 64, 1, 224),
        ("Bottleneck", 1, 256, 3, 56),
        ("Bottleneck", 2, 512, 4, 56),
        ("Bottleneck", 2, 1024, 6, 28),
        ("Bottleneck", 2, 2048, 3, 14),
        ("Linear", 1, 1000, 1, None),
    ]


def test_channels_of_images_with_channels_last_are_not_mistaken_for_sides():
    columns = ("stage", "stride", "channels", "layers", "side_px")
    assert rows("timm:swin_tiny_patch4_window7_224", columns=columns)[:3] == [
        ("patch_embed", 4, 96, 1, 224),
        ("layers.0", 1, 96, 2, 56),
        ("layers.1", 2, 192, 2, 56),
    ]


def test_what_belongs_to_no_stage_is_in_the_total():
    found = read_anatomy(find_variant("timm:vit_tiny_patch16_224"))
    assert found.parameters - sum(stage.parameters for stage in found.stages) == 192 + 197 * 192  # class token, places


def test_the_image_size_moves_sides_and_multiply_adds_but_no_parameters():
    small, large = read_anatomy(VARIANTS["b0"], 224), read_anatomy(VARIANTS["b0"], 448)
    assert [stage.side_px for stage in small.stages][:3] == [224, 112, 112]
    assert small.parameters == large.parameters
    assert small.multiply_adds == pytest.approx(large.multiply_adds / 4, rel=0.01)


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("b0", 31, "31 px"),
        ("b0", 2049, "2049 px"),
        ("timm:no_such_net", None, "no_such_net"),
        ("timm:hf-hub:someone/some_net", None, "knows no network"),
        ("timm:vit_tiny_patch16_224", 100, "takes no image of 100 x 100 px"),
    ],
)
def test_what_cannot_be_built_is_refused(name, size, says):
    with pytest.raises(RecipeError, match=says):
        read_anatomy(find_variant(name), size)
