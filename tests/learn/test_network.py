import pytest
import timm
import torch
from torch import nn

from effmed.errors import RecipeError
from effmed.learn.network import (
    build_network,
    check_size_fits,
    create_network,
    head_prefix,
    load_backbone,
    made_for_px,
    spread_channels,
    takes_one_size,
)
from effmed.learn.scaling import VARIANTS, count, find_variant
from effmed.learn.scaling.counting import tensors
from tests.learn import make

SIDE_PX = 64


def test_two_classes_have_one_output_and_more_have_one_each():
    assert build_network(make.plan()).classifier.out_features == 1
    three = make.plan(task="multiclass", classes=("a", "b", "c"), imbalance=make.imbalance(3, n_logits=3))
    assert build_network(three).classifier.out_features == 3


@pytest.mark.parametrize("size", [(32, 32), (96, 40)])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_equal_channels_give_the_same_output_as_the_image_replicated(n, size):
    torch.manual_seed(0)
    picture = torch.randn(2, 1, *size)
    colour = timm.create_model("test_efficientnet", num_classes=1).eval()
    network = build_network(make.plan(channels=n), colour.state_dict()).eval()
    network.classifier.load_state_dict(colour.classifier.state_dict())
    with torch.inference_mode():
        found, expected = network(picture.expand(-1, n, -1, -1)), colour(picture.expand(-1, 3, -1, -1))
    assert float((found - expected).abs().max()) < 1e-6  # float32 leaves 4e-8
    assert float((expected[0] - expected[1]).abs().max()) > 1e-4  # the outputs depend on the picture


OTHERS = {"test_resnet": "fc", "test_vit": "head", "test_byobnet": "head.fc", "test_convnext": "head.fc"}


@pytest.mark.parametrize("name", OTHERS)
def test_any_network_of_timm_is_fine_tuned_with_a_new_head_on_grey_images(name):
    torch.manual_seed(0)
    colour = timm.create_model(name).eval()
    made = make.plan(network=name, variant=f"timm:{name}", channels=1)
    network = build_network(made, colour.state_dict()).eval()
    head = f"{OTHERS[name]}."
    assert head_prefix(network) == head
    own, given = network.state_dict(), colour.state_dict()
    stem = f"{colour.default_cfg['first_conv']}.weight"
    same = {key for key in own if not key.startswith(head) and key != stem}
    assert all(torch.equal(own[key], given[key]) for key in same)
    assert own[f"{head}weight"].shape[0] == 1
    assert float(own[f"{head}weight"].std()) < 0.02
    picture = torch.randn(2, 1, 160, 160)
    with torch.inference_mode():
        features = network.forward_features(picture)
        expected = colour.forward_features(picture.expand(-1, 3, -1, -1))
    assert float((features - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("name", OTHERS)
def test_the_weights_of_a_foreign_network_may_keep_their_head(name):
    made = make.plan(network=name, variant=f"timm:{name}", channels=3)
    given = timm.create_model(name, num_classes=1).state_dict()
    kept, fresh = (build_network(made, given, keep_head=keep).state_dict() for keep in (True, False))
    key = f"{OTHERS[name]}.weight"
    assert torch.equal(kept[key], given[key])
    assert not torch.equal(fresh[key], given[key])


def test_a_network_with_two_heads_is_refused():
    made = make.plan(network="deit_tiny_distilled_patch16_224", variant="timm:deit_tiny_distilled_patch16_224")
    with torch.device("meta"), pytest.raises(RecipeError, match="not one last layer but"):
        build_network(made)


@pytest.mark.parametrize(("name", "side"), [("inception_v3", 299), ("test_vit", 160), ("resnet50", 224)])
def test_a_network_of_timm_knows_the_side_that_it_was_made_for(name, side):
    assert made_for_px(find_variant(f"timm:{name}")) == side
    assert made_for_px(find_variant("b4")) == 0


def test_colours_are_spread_over_channels_in_their_order():
    red, green, blue = torch.eye(3)
    kernels = torch.stack([red, green, blue], dim=0).reshape(3, 3, 1, 1)
    assert spread_channels(kernels, 2)[..., 0, 0].tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    assert spread_channels(kernels, 3) is kernels


def test_a_new_head_starts_undecided():
    head = build_network(make.plan()).classifier
    assert float(head.weight.detach().std()) < 0.02
    assert float(head.bias.detach().abs().max()) == 0


def test_the_pretrained_head_is_left_out():
    weights = timm.create_model("test_efficientnet", num_classes=1, in_chans=1).state_dict()
    network = build_network(make.plan(), weights)
    assert torch.equal(network.conv_stem.weight, weights["conv_stem.weight"])
    assert not torch.equal(network.classifier.weight, weights["classifier.weight"])


def test_weights_of_another_network_are_refused():
    with pytest.raises(RecipeError, match="do not fit"):
        load_backbone(build_network(make.plan()), timm.create_model("test_resnet").state_dict())


@pytest.mark.parametrize(
    ("planned", "given"), [("tf_efficientnet_b0", "tf_efficientnet_b1"), ("resnet50", "resnet101")]
)
def test_weights_of_a_deeper_network_of_the_same_widths_are_refused(planned, given):
    """Every tensor that the shallower network asks for is among them, in its shape."""
    with torch.device("meta"):
        network, deeper = (create_network(name, n_outputs=1, channels=1) for name in (planned, given))
        with pytest.raises(RecipeError, match="the weights are a deeper network's: no place for"):
            load_backbone(network, deeper.state_dict())


def test_what_is_no_layer_of_the_network_is_left_out():
    """As the auxiliary classifier among the published weights of Inception v3."""
    torch.manual_seed(0)
    given = timm.create_model("inception_v3", aux_logits=True).state_dict()
    assert any(name.startswith("AuxLogits.") for name in given)
    own = build_network(make.plan(network="inception_v3"), given).state_dict()
    assert all(
        torch.equal(own[name], given[name]) for name in own if not name.startswith(("fc.", "Conv2d_1a_3x3.conv"))
    )
    assert torch.equal(own["Conv2d_1a_3x3.conv.weight"], given["Conv2d_1a_3x3.conv.weight"].sum(dim=1, keepdim=True))


def test_kernels_that_are_standardised_over_all_channels_are_not_spread():
    given = timm.create_model("test_nfnet").state_dict()
    with pytest.raises(RecipeError, match=r"cannot be spread over other channels: stem\.conv1\.weight") as caught:
        build_network(make.plan(network="test_nfnet"), given)
    assert "model.channels=3" in caught.value.hint
    own = build_network(make.plan(network="test_nfnet", channels=3), given).state_dict()
    assert torch.equal(own["stem.conv1.weight"], given["stem.conv1.weight"])


def test_an_unknown_network_is_refused():
    with pytest.raises(RecipeError, match="no_such_net"):
        build_network(make.plan(network="no_such_net"))


def test_a_network_without_stochastic_depth_is_built_at_rate_zero_and_refuses_others():
    assert build_network(make.plan(network="densenet121", drop_path=0.0)) is not None
    with pytest.raises(RecipeError, match=r"densenet121 has no stochastic depth, but model.drop_path = 0.1"):
        build_network(make.plan(network="densenet121", drop_path=0.1))


def sized(height, width, **changes):
    plan = make.plan(**changes)
    return plan.model_copy(
        update={"preprocessing": plan.preprocessing.model_copy(update={"height": height, "width": width})}
    )


@pytest.mark.parametrize(("height", "width"), [(96, 40), (33, 301)])
def test_a_fully_convolutional_network_takes_rectangles(height, width):
    plan = sized(height, width)
    check_size_fits(plan)
    check_size_fits(sized(height, width, variant="b0", network="tf_efficientnet_b0"))
    assert build_network(plan).eval()(torch.zeros(1, 1, height, width)).shape == (1, 1)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_of_one_size_refuses_others_and_names_its_own(name):
    with pytest.raises(RecipeError, match=r"takes no image of 256 px high × 192 px wide") as caught:
        check_size_fits(sized(256, 192, variant=f"timm:{name}", network=name))
    assert "model.image_size=224" in caught.value.hint
    check_size_fits(sized(224, 224, variant=f"timm:{name}", network=name))


@pytest.mark.filterwarnings("ignore:CSATv2 is designed for 3-channel")
@pytest.mark.parametrize(
    ("name", "side", "says", "remedy"),
    [
        ("csatv2", 512, "takes no image of 512 × 512 px", "model.channels=3"),  # transforms red, green and blue
        ("gemma4_vit_167m_enc", 224, "has no drop_rate", "another classifier"),
        ("mobilenetv5_300m_enc", 256, "gives no row of logits", "another classifier"),
    ],
)
def test_what_is_no_classifier_of_such_images_is_refused(name, side, says, remedy):
    with pytest.raises(RecipeError, match=says) as caught:
        check_size_fits(sized(side, side, variant=f"timm:{name}", network=name))
    assert remedy in caught.value.hint


def test_timm_tells_which_networks_take_one_size():
    names = ("b4", "phi:2.5", "timm:resnet50", "timm:vit_tiny_patch16_224", "timm:no_such_net")
    assert [takes_one_size(find_variant(name)) for name in names] == [False, False, False, True, False]


def test_a_network_between_the_variants_is_built_by_the_law():
    variant = find_variant("phi:0.7")
    network = build_network(make.plan(variant=variant.name, network=variant.built))
    found = [(name, tuple(tensor.shape)) for name, tensor in network.named_parameters()]
    assert found == [tensor[:2] for tensor in tensors(variant.scaled_table, 1, channels=1, n_outputs=1)]


def test_b1s_multipliers_build_what_timm_calls_b1():
    with torch.device("meta"):
        ours = create_network("tf_efficientnet_b0", n_outputs=1000, channels=3, multipliers=(1.0, 1.1))
        theirs = timm.create_model("tf_efficientnet_b1")
    assert [(name, t.shape) for name, t in ours.state_dict().items()] == [
        (name, t.shape) for name, t in theirs.state_dict().items()
    ]
    assert str(ours) == str(theirs)  # paddings, epsilons and activations as well


@pytest.mark.parametrize("phi", ["0.3", "1.5"])
def test_weights_of_the_nearest_variant_are_carried_over_where_they_fit(phi):
    variant = find_variant(f"phi:{phi}")
    given = timm.create_model(variant.architecture).state_dict()
    given = {
        name: torch.full_like(tensor, 7) if tensor.is_floating_point() else tensor for name, tensor in given.items()
    }
    network = build_network(make.plan(variant=variant.name, network=variant.built, channels=3), given)
    sizes = {name: t.numel() for name, t in network.named_parameters() if not name.startswith("classifier")}
    taken = [name for name, t in network.named_parameters() if name in sizes and bool((t == 7).all())]
    assert sum(sizes[name] for name in taken) / sum(sizes.values()) == pytest.approx(variant.carried_fraction)
    assert 0 < len(taken) < len(sizes)


def test_weights_of_another_variant_than_planned_are_refused():
    variant = find_variant("phi:1")  # has the shapes of B2
    with pytest.raises(RecipeError, match=r"0\.4% of the parameters can be carried over, not 100\.0% as planned"):
        build_network(
            make.plan(variant=variant.name, network=variant.built),
            timm.create_model("tf_efficientnet_b0").state_dict(),
        )


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
def test_every_variant_goes_forward_and_backward_at_reduced_resolution(variant):
    """At 64 px, two images: whole networks, L2 with its 480 million parameters (4 GB with gradients) among them."""
    torch.manual_seed(0)
    plan = make.plan(network=variant.network, dropout=variant.dropout, drop_path=variant.drop_path)
    network = build_network(plan).train()
    logits = network(torch.randn(2, 1, SIDE_PX, SIDE_PX))
    assert logits.shape == (2, 1)
    nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor([0.0, 1.0])).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    assert float(gradients["classifier.weight"].abs().max()) > 0
    n_trained = sum(gradient.numel() for gradient in gradients.values())
    assert n_trained == count(variant.scaled_table, SIDE_PX, channels=1, n_outputs=1).parameters
