from copy import deepcopy

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.squeeze_excite import EffectiveSEModule
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual, SqueezeExcite
from torch import nn
from torch.nn import functional

from effmed.learn.fitting import start_training
from effmed.learn.kernels import layers
from effmed.learn.kernels.build import Kernels
from effmed.learn.kernels.layers import can_fuse, fuse_layers
from effmed.learn.machine.statistics import checkpoint_blocks, seen_in_parts
from effmed.learn.network import build_network
from tests.learn import make

needs_kernels = pytest.mark.usefixtures("kernels")
FUSED = (
    layers.FusedNormAct,
    layers.FusedNormExcite,
    layers.FusedNormDepthwise,
    layers.ExcitedBefore,
    layers.FusedDepthwise,
    layers.FusedDepthwiseSame,
)


def built(name="test_efficientnet", **settings):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=2, **settings).to(memory_format=torch.channels_last).train()


def fused(network):
    copied = deepcopy(network)
    fuse_layers(copied)
    assert any(isinstance(module, FUSED) for module in copied.modules())
    return copied


def images(n=4, side=64, channels=3):
    drawn = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))
    return drawn.to(memory_format=torch.channels_last)


def learned(network, pixels):
    """Return the loss, all gradients as one vector, and all statistics as one."""
    loss = functional.cross_entropy(network(pixels), torch.arange(len(pixels)) % 2)
    loss.backward()
    gradients = torch.cat([parameter.grad.double().flatten() for parameter in network.parameters()])
    return float(loss.detach()), gradients, torch.cat([buffer.double().flatten() for buffer in network.buffers()])


NETWORKS = [
    "test_efficientnet",
    "tf_efficientnet_b0",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "tf_efficientnetv2_b0",
]


@needs_kernels
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_exact_one_but_for_rounding(name):
    """In float64 the same network, with layers of torch; the gradient of a ReLU6 jumps where rounding decides."""
    network = built(name)
    own, exact = fused(network), deepcopy(network).double()
    pixels = images()
    (loss, gradients, statistics), theirs = learned(own, pixels), learned(exact, pixels.double())
    assert loss == pytest.approx(theirs[0], abs=1e-4)
    tolerance = 0.1 if "lite" in name else 1e-3
    assert (gradients - theirs[1]).norm() <= tolerance * theirs[1].norm()
    assert (statistics - theirs[2]).norm() <= 1e-4 * theirs[2].norm()


class Counted(nn.Module):
    """Counts how often an activation is computed."""

    def __init__(self):
        super().__init__()
        self.n_calls = 0

    def forward(self, x):
        self.n_calls += 1
        return x.sigmoid()


@needs_kernels
@pytest.mark.parametrize("drop_path", [0.0, 0.2])
@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnet_lite0"])
def test_blocks_that_are_computed_twice_have_the_same_gradients_and_statistics(name, drop_path):
    once = fused(built(name, drop_path_rate=drop_path))
    twice = deepcopy(once)
    checkpoint_blocks(twice)
    found = []
    for each in (once, twice):
        torch.manual_seed(3)
        found.append(learned(each, images()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-5 * float(found[0][1].abs().max()))
    for (label, one), other in zip(once.named_buffers(), twice.buffers(), strict=True):
        assert "num_batches" in label or torch.allclose(one, other, rtol=1e-5, atol=1e-7), label


@needs_kernels
def test_the_second_pass_computes_no_block_thrice():
    network = built("tf_efficientnet_b0")
    counted = Counted()
    for block in network.blocks.modules():
        if isinstance(block, SqueezeExcite):
            block.gate = counted
    own = fused(network)
    checkpoint_blocks(own)
    learned(own, images())
    gates = {id(module.gate): module.gate for module in own.modules() if isinstance(module, SqueezeExcite)}
    assert sum(gate.n_calls for gate in gates.values()) == 16 * 3  # both passes, and its own gradient


@needs_kernels
def test_names_and_values_stay_and_the_network_can_be_copied():
    network = built()
    own = fused(network)
    before, after = network.state_dict(), deepcopy(own).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@needs_kernels
@pytest.mark.parametrize("is_same", [False, True])
def test_all_layers_of_the_family_are_ours(is_same):
    own = fused(built("tf_efficientnet_b0" if is_same else "efficientnet_b0"))
    kinds = [type(module) for module in own.modules()]
    assert kinds.count(layers.FusedNormAct) == 49 - 16 - 15
    assert kinds.count(layers.FusedNormExcite) == kinds.count(layers.ExcitedBefore) == 16
    assert kinds.count(layers.FusedNormDepthwise) == 15  # the first block has nothing to widen
    n_strided = kinds.count(layers.FusedDepthwiseSame)
    assert n_strided + kinds.count(layers.FusedDepthwise) == 16
    assert n_strided == (4 if is_same else 0)


@needs_kernels
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_is_judged_gives_what_torch_does(name):
    network = built(name)
    network(images())  # moves the statistics
    own, exact = fused(network).eval(), deepcopy(network).double().eval()
    with torch.inference_mode():
        found, theirs = own(images()), exact(images().double())
    assert (found - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@needs_kernels
def test_what_learns_in_half_precision_or_without_a_gradient_is_computed_by_torch():
    network = built()
    own = fused(network)
    with torch.no_grad():
        assert torch.allclose(own(images()), network(images()), atol=1e-6)  # the convolutions are ours
    assert torch.equal(own.bn1.running_var, network.bn1.running_var)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(own(images()), network(images()))


class Block(DepthwiseSeparableConv):
    """Another block than ours, whose forward may do what it likes."""


@needs_kernels
@pytest.mark.parametrize("change", ["block", "between", "norm", "excitation"])
def test_an_excitation_that_may_follow_something_else_stays_that_of_torch(change):
    kind = Block if change == "block" else DepthwiseSeparableConv
    torch.manual_seed(0)
    block = kind(16, 16, se_layer=SqueezeExcite)
    if change == "norm":
        block.bn1 = nn.BatchNorm2d(16)
    if change == "between":
        block.aa = nn.AvgPool2d(1)
    if change == "excitation":
        block.se = EffectiveSEModule(16)
    own, pixels = deepcopy(block), images(channels=16)
    fuse_layers(own)
    assert type(own.se) is type(block.se)
    assert type(own.bn1) is not layers.FusedNormExcite
    assert torch.allclose(own(pixels), block(pixels), atol=5e-5)


class Inverted(InvertedResidual):
    """Another block than ours, whose forward may do what it likes."""


@needs_kernels
@pytest.mark.parametrize("change", ["block", "norm", "convolution"])
def test_a_convolution_that_may_follow_something_else_stays_alone(change):
    torch.manual_seed(0)
    block = (Inverted if change == "block" else InvertedResidual)(16, 16)
    if change == "norm":
        block.bn1 = nn.BatchNorm2d(16)
    if change == "convolution":
        block.conv_dw = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16, bias=False)
    own, pixels = deepcopy(block), images(channels=16)
    fuse_layers(own)
    assert type(own.bn1) is not layers.FusedNormDepthwise
    assert torch.allclose(own(pixels), block(pixels), atol=5e-5)


@needs_kernels
def test_a_copy_excites_and_convolves_with_its_own_weights():
    own = fused(built())
    copied = deepcopy(own)
    for layer in copied.modules():
        if isinstance(layer, layers.FusedNormExcite):
            assert any(layer.excite is other for other in copied.modules())
        if isinstance(layer, layers.FusedNormDepthwise):
            assert any(layer.depthwise is other for other in copied.modules())
    assert not any("excite" in name or "depthwise" in name for name in own.state_dict())


@needs_kernels
@pytest.mark.parametrize(
    "theirs",
    [
        nn.Conv2d(16, 16, 3, groups=16, bias=False),
        DepthwiseSeparableConv(16, 16, se_layer=SqueezeExcite),
        InvertedResidual(16, 16),
        BatchNormAct2d(16),
    ],
)
def test_layers_that_get_float32_where_half_is_wanted_leave_it_to_torch(theirs):
    own = deepcopy(theirs)
    fuse_layers(own)
    assert any(isinstance(layer, FUSED) for layer in own.modules())
    pixels = images(channels=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(own(pixels), theirs(pixels))


@needs_kernels
def test_statistics_that_are_kept_are_kept():
    network = built()
    own = fused(network)
    for each in (network, own):
        for module in each.modules():
            if isinstance(module, BatchNormAct2d):
                module.eval()
    before = [buffer.clone() for buffer in own.buffers()]
    outputs = own(images()), network(images())
    assert torch.allclose(*outputs, atol=1e-6)
    outputs[0].sum().backward()  # through the kernels of the convolutions
    assert all(torch.equal(a, b) for a, b in zip(before, own.buffers(), strict=True))


@needs_kernels
def test_parts_of_a_step_move_the_statistics_as_those_of_torch():
    network = built()
    own = fused(network)
    for each in (network, own):
        with seen_in_parts(each, 2):
            each(images())
    for theirs, ours in zip(network.buffers(), own.buffers(), strict=True):
        assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-6)
    assert int(own.bn1.num_batches_tracked) == 1


@needs_kernels
def test_a_batch_of_one_pixel_is_refused_as_by_torch():
    layer = BatchNormAct2d(8)
    fuse_layers(layer)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.ones(1, 8, 1, 1))


@needs_kernels
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 3, groups=8),  # two channels see each other
        nn.Conv2d(16, 16, 3, groups=16),  # a bias
        nn.Conv2d(16, 16, 3, groups=16, bias=False, dilation=2),
        nn.Conv2d(12, 12, 3, groups=12, bias=False),
        nn.Conv2d(16, 16, 9, groups=16, bias=False),
        nn.Conv2d(16, 16, (3, 5), groups=16, bias=False),
        nn.Conv2d(16, 16, 3, stride=(1, 2), groups=16, bias=False),
        nn.Conv2d(16, 16, 3, groups=16, bias=False, padding="same"),
        nn.Conv2d(16, 16, 3, groups=16, bias=False, padding=1, padding_mode="reflect"),
        nn.Conv2d(16, 32, 3, groups=16, bias=False),
        Conv2dSame(16, 16, 3, groups=16),
        BatchNormAct2d(16, affine=False),
        BatchNormAct2d(16, drop_layer=nn.Dropout2d),
        nn.BatchNorm2d(16),
    ],
)
def test_other_layers_stay_those_of_torch(layer):
    kind = type(layer)
    fuse_layers(layer)
    assert type(layer) is kind


@needs_kernels
@pytest.mark.parametrize("change", [{"act_layer": nn.GELU}, {"momentum": None}])
def test_what_a_layer_cannot_do_torch_does(change):
    torch.manual_seed(0)
    theirs = BatchNormAct2d(16, **change)
    own = deepcopy(theirs)
    fuse_layers(own)
    assert isinstance(own, FUSED)
    pixels = torch.rand(2, 16, 5, 5).to(memory_format=torch.channels_last)
    assert torch.equal(own(pixels), theirs(pixels))
    assert torch.equal(own.running_var, theirs.running_var)


@needs_kernels
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("in_block", [False, True])
def test_an_image_that_is_too_small_is_refused_as_by_torch(in_block, training):
    layer = nn.Conv2d(16, 16, 5, groups=16, bias=False)
    if in_block:
        block = InvertedResidual(16, 16)
        block.conv_dw = layer
        layer = block
    fuse_layers(layer)
    layer.train(training)
    with torch.set_grad_enabled(training), pytest.raises(RuntimeError, match="Kernel size"):
        layer(torch.rand(2, 16, 3, 3).to(memory_format=torch.channels_last))


@needs_kernels
@pytest.mark.parametrize("kind", [DepthwiseSeparableConv, InvertedResidual])
def test_other_orders_of_memory_are_left_to_torch(kind):
    torch.manual_seed(0)
    theirs = kind(16, 16, se_layer=SqueezeExcite)
    own = deepcopy(theirs)
    fuse_layers(own)
    pixels = torch.rand(2, 16, 5, 4)
    assert torch.equal(own(pixels), theirs(pixels))


def test_without_kernels_nothing_changes(monkeypatch):
    monkeypatch.setattr(layers, "find_kernels", lambda: Kernels(None, "no compiler"))
    network = built()
    fuse_layers(network)
    assert not any(isinstance(module, FUSED) for module in network.modules())


@needs_kernels
@pytest.mark.parametrize("wanted", [False, True])
def test_a_training_starts_with_the_layers_that_are_planned(wanted):
    made = make.plan(fused_layers=wanted)
    state = start_training(build_network(made), made)
    assert any(isinstance(module, FUSED) for module in state.network.modules()) == wanted


@needs_kernels
def test_weights_that_are_not_float32_are_left_to_torch():
    layer = nn.Conv2d(16, 16, 3, groups=16, bias=False).double()
    fuse_layers(layer)
    with pytest.raises(RuntimeError, match="type"):
        layer(torch.rand(2, 16, 5, 5).to(memory_format=torch.channels_last))


def test_what_can_be_fused_is_said(monkeypatch, kernels):
    assert can_fuse(built()) == (True, layers.find_kernels().why)
    assert can_fuse(timm.create_model("resnet18")) == (False, "there are none for the layers of this network")
    monkeypatch.setattr(layers, "find_kernels", lambda: Kernels(None, "no compiler"))
    assert can_fuse(built()) == (False, "no compiler")
