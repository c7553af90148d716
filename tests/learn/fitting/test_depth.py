import pytest
import torch
from torch import nn

from effmed.errors import RecipeError
from effmed.learn.fitting.depth import check_depth, first_stage, parameter_groups, set_mode, stage_numbers
from effmed.learn.network import build_network, create_network
from tests.learn import make


def plan(**changes):
    return make.plan(weights="file w.safetensors", **changes)


def learning(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnet_lite0", "tf_efficientnetv2_b0"])
def test_an_efficientnet_has_a_stem_its_stages_and_a_head(name):
    with torch.device("meta"):
        network = create_network(name, n_outputs=1, channels=1)
    numbers, n_stages = stage_numbers(network), len(network.blocks)
    assert {numbers[f"{part}.weight"] for part in ("conv_stem", "bn1")} == {0}
    for index in range(n_stages):
        assert {numbers[key] for key in numbers if key.startswith(f"blocks.{index}.")} == {index + 1}
    assert {numbers[f"{part}.weight"] for part in ("conv_head", "bn2")} == {n_stages}
    assert {numbers[key] for key in numbers if key.startswith("classifier.")} == {n_stages + 1}
    assert set(numbers) == {key for key, _ in network.named_parameters()}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_byobnet", "test_convnext"])
def test_the_head_of_any_network_of_timm_is_the_last_stage(name):
    with torch.device("meta"):
        network = create_network(name, n_outputs=3, channels=3)
    numbers = stage_numbers(network)
    head = {id(parameter) for parameter in network.get_classifier().parameters()}
    last = {key for key, parameter in network.named_parameters() if id(parameter) in head}
    assert last == {key for key, number in numbers.items() if number == max(numbers.values())}
    assert sorted(set(numbers.values())) == list(range(max(numbers.values()) + 1))


def test_a_network_that_timm_does_not_divide_is_one_stage_and_its_head():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    network.get_classifier = lambda: network[1]
    assert stage_numbers(network) == {"0.weight": 0, "0.bias": 0, "1.weight": 1, "1.bias": 1}


def test_a_network_whose_stages_timm_refuses_to_tell_is_one_stage_and_its_head():
    with torch.device("meta"):
        network = create_network("rdnet_tiny", n_outputs=1, channels=1)
    numbers = stage_numbers(network)
    assert {key for key, number in numbers.items() if number == 1} == {"head.fc.weight", "head.fc.bias"}
    assert set(numbers.values()) == {0, 1}


def test_biases_and_norms_do_not_decay_and_the_new_head_learns_faster():
    made = plan(learning_rate=1.0, weight_decay=0.1)
    network = build_network(made)
    found = {(group["lr"], group["weight_decay"]): group["params"] for group in parameter_groups(network, made)}
    assert all(parameter.ndim > 1 for (_, decay), group in found.items() if decay for parameter in group)
    assert {rate for rate, _ in found} == {1.0, 4.0}
    assert sum(len(group) for group in found.values()) == len(list(network.parameters()))
    heads = [parameter for (rate, _), group in found.items() if rate == 4.0 for parameter in group]
    assert {id(parameter) for parameter in heads} == {id(parameter) for parameter in network.classifier.parameters()}


def test_from_scratch_everything_learns_at_one_rate():
    made = make.plan(learning_rate=1.0)
    assert {group["lr"] for group in parameter_groups(build_network(made), made)} == {1.0}


def test_the_rate_falls_by_one_factor_from_stage_to_stage_towards_the_stem():
    made = plan(learning_rate=1.0, layer_decay=0.5)
    network = build_network(made)
    numbers = stage_numbers(network)
    rates = {id(each): group["lr"] for group in parameter_groups(network, made) for each in group["params"]}
    last = max(numbers.values()) - 1
    for name, parameter in network.named_parameters():
        expected = 4.0 if numbers[name] > last else 0.5 ** (last - numbers[name])
        assert rates[id(parameter)] == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("depth", "unfreeze_epochs", "expected"),
    [
        ("all", 0, [0] * 6),
        (2, 0, [2] * 6),
        (9, 0, [0] * 6),
        ("all", 1, [4, 3, 2, 1, 0, 0]),
        ("all", 2, [4, 4, 3, 3, 2, 2]),
        (1, 2, [4, 4, 3, 3, 3, 3]),
    ],
)
def test_the_lowest_stage_that_learns(depth, unfreeze_epochs, expected):
    made = plan(depth=depth, unfreeze_epochs=unfreeze_epochs)
    assert [first_stage(5, made, epoch) for epoch in range(6)] == expected


def test_what_does_not_learn_has_no_gradient_and_keeps_its_statistics():
    made = plan(depth=1)
    network = build_network(made)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    set_mode(network, made, epoch=0)
    last = len(network.blocks) - 1
    assert learning(network) == {
        name
        for name, _ in network.named_parameters()
        if name.startswith((f"blocks.{last}.", "conv_head", "bn2", "classifier"))
    }
    network(torch.randn(4, 1, 32, 32)).sum().backward()
    after = network.state_dict()
    moved = {name for name in after if "running_" in name and not torch.equal(before[name], after[name])}
    assert moved == {name for name in after if "running_" in name and name.startswith((f"blocks.{last}.", "bn2"))}


def test_stages_join_from_the_head_on():
    made = plan(unfreeze_epochs=1)
    network = build_network(made)
    sizes = []
    for epoch in range(1 + max(stage_numbers(network).values())):
        set_mode(network, made, epoch)
        sizes.append(len(learning(network)))
    assert sizes[0] == 2
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(list(network.parameters()))


def test_frozen_statistics_stay_while_weights_learn():
    made = plan(batch_norm="frozen")
    network = build_network(made)
    set_mode(network, made, epoch=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if "running_" in name}
    network(torch.randn(4, 1, 32, 32))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    assert len(learning(network)) == len(list(network.parameters()))
    assert network.training


def test_more_stages_than_a_network_of_timm_has_are_refused():
    network = build_network(plan())
    n_stages = len(network.blocks)
    check_depth(network, plan(depth=n_stages))
    with pytest.raises(RecipeError, match=f"has {n_stages} stages besides stem and head"):
        check_depth(network, plan(depth=n_stages + 1))


def test_stages_of_a_network_of_timm_that_would_never_join_are_refused():
    network = build_network(plan())
    n_joining = len(network.blocks) + 1
    check_depth(network, plan(unfreeze_epochs=2, epochs=2 * n_joining + 1))
    with pytest.raises(RecipeError, match="epochs are too few for"):
        check_depth(network, plan(unfreeze_epochs=2, epochs=2 * n_joining))
