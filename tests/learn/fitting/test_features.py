import numpy as np
import pytest
import torch

from effmed.errors import RecipeError
from effmed.learn.fitting import check_head, fit, head_of, predict_logits, read_features, start_training
from effmed.learn.loader import ordered_batches
from effmed.learn.network import build_network
from effmed.recipe import AugmentSettings
from tests.learn import make

SHAKEN = AugmentSettings()


def plan(**changes):
    return make.plan(depth="head", batch_norm="frozen", weights="file w.safetensors", **changes)


def test_the_head_on_stored_features_gives_what_the_network_gives():
    made, pictures = plan(dropout=0.5), make.images(20)
    network = build_network(made)
    torch.nn.init.normal_(network.classifier.weight)
    features = read_features(network, pictures, made)
    assert features.values.shape[:2] == (1, 20)
    head = head_of(network, made)
    stored = predict_logits(head, ordered_batches(features, made), made)
    assert np.allclose(stored, predict_logits(network, ordered_batches(pictures, made), made), atol=1e-5)


def test_views_are_the_image_as_it_is_and_augmented_ones():
    made, pictures = plan(augment=SHAKEN), make.images(9)
    network = build_network(made)
    found = read_features(network, pictures, made, n_views=3).values
    assert np.array_equal(found[0], read_features(network, pictures, made).values[0])
    assert not np.allclose(found[1], found[0])
    assert not np.allclose(found[1], found[2])
    for view in (1, 2):
        batch = pictures.changed_inputs(np.array([4]), made, view)
        with torch.inference_mode():
            pooled = network.eval().forward_head(network.forward_features(batch), pre_logits=True)
        assert np.allclose(found[view, 4], pooled.numpy(), atol=1e-5)


def test_each_epoch_draws_a_view_of_each_image_by_the_seed_alone():
    made = plan(augment=SHAKEN)
    features = read_features(build_network(made), make.images(40), made, n_views=4)
    everything = np.arange(40)
    first, again, other = (features.changed_inputs(everything, made, epoch).numpy() for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    views = [next(v for v in range(4) if np.array_equal(features.values[v, i], first[i])) for i in everything]
    assert set(views) == {0, 1, 2, 3}
    some = np.array([7, 3])
    assert np.array_equal(features.changed_inputs(some, made, 0).numpy(), first[some])


def test_the_head_learns_and_the_backbone_stays():
    made = plan(epochs=12, learning_rate=3e-2)
    network = build_network(made)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train, val = (read_features(network, make.images(n, seed=n), made, n_views=2) for n in (64, 32))
    epochs = list(fit(start_training(head_of(network, made), made), train, val, made))
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert max(epoch.val_score for epoch in epochs) > 0.8


def test_steps_of_all_views_are_told():
    told = []
    made = plan()
    read_features(build_network(made), make.images(10), made, n_views=2, on_step=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_network_without_one_row_of_features_is_refused():
    made = plan()
    network = build_network(made)
    network.forward_head = lambda features, pre_logits: features
    with pytest.raises(RecipeError, match="gives 3 axes of features before its head, not one"):
        read_features(network, make.images(4), made)


def foreign(name, side):
    made = plan(network=name, variant=f"timm:{name}", drop_path=0.0)
    size = made.preprocessing.model_copy(update={"height": side, "width": side})
    made = made.model_copy(update={"preprocessing": size})
    torch.manual_seed(0)
    network = build_network(made)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # no norm is the identity, as after training
    return network, made


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit", "test_byobnet", "mobilenetv2_050"])
def test_a_last_layer_on_pooled_features_is_the_whole_network(name):
    check_head(*foreign(name, 160))


@pytest.mark.parametrize(
    ("name", "says"),
    [("shvit_s1", "does more between its pooled features"), ("dla46_c", "does not take its pooled features")],
)
def test_a_head_that_is_more_than_a_layer_on_pooled_features_is_refused(name, says):
    """SHViT normalises between the two; DLA's last layer is a convolution."""
    with pytest.raises(RecipeError, match=f"{says}") as caught:
        check_head(*foreign(name, 224))
    assert "train.depth=1" in caught.value.hint
