import pytest

from effmed.errors import RecipeError
from effmed.learn.plan import NativeInput
from effmed.learn.scaling import VARIANTS
from tests.learn.test_plan import planned

NONE = NativeInput("none", "", (0.5,) * 3, (0.5,) * 3)
KEYS = ("train.depth", "train.layer_decay", "train.batch_norm", "train.ema_decay", "train.unfreeze_epochs")


def with_depth(depth, native=None, model=None, **train):
    recipe = {"train": {"depth": depth, **train}, "model": model or {}}
    return planned(recipe=recipe, **({} if native is None else {"native": native}))


def test_everything_learns_unless_the_recipe_says_otherwise():
    plan = planned()
    assert (plan.depth, plan.views, plan.unfreeze_epochs, plan.layer_decay, plan.ema_decay) == ("all", 1, 0, 1.0, 0.0)
    assert all(plan.reasons[key] for key in KEYS)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_stochastic_depth_is_that_of_the_variants_paper(variant):
    plan = planned(variant)
    assert plan.drop_path == VARIANTS[variant].drop_path == 0.2
    assert plan.reasons["model.drop_path"] == f"published for {variant}"


def test_a_network_of_timm_has_no_stochastic_depth_of_itself():
    assert planned("timm:resnet18").drop_path == 0


def test_a_head_that_learns_alone_has_its_own_rate_and_epochs():
    plan = with_depth("head")
    assert (plan.depth, plan.views, plan.epochs, plan.learning_rate, plan.drop_path) == ("head", 1, 40, 3e-3, 0.0)
    assert plan.batch_norm == "frozen"
    assert "stored features" in plan.reasons["train.epochs"]
    assert "no higher AUROC" in plan.reasons["train.views"]
    assert with_depth("head", views=6).views == 6


@pytest.mark.parametrize("depth", ["head", 1, 7])
def test_random_weights_that_would_stay_so_are_refused(depth):
    with pytest.raises(RecipeError, match=rf"train\.depth = {depth}, but the network starts from random weights"):
        with_depth(depth, native=NONE)


def test_more_stages_than_there_are_are_refused():
    assert with_depth(7).depth == 7
    with pytest.raises(RecipeError, match=r"train\.depth = 8, but lite0 has 7 stages besides stem and head"):
        with_depth(8)


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"unfreeze_epochs": 1}, {}),
        ({"layer_decay": 0.9}, {}),
        ({"batch_norm": "train"}, {}),
        ({}, {"drop_path": 0.1}),
    ],
)
def test_settings_of_the_backbone_are_refused_where_it_does_not_learn(settings, model):
    assert with_depth("all", model=model, **settings).depth == "all"
    with pytest.raises(RecipeError, match="without meaning where the head learns alone"):
        with_depth("head", model=model, **settings)


def test_views_are_refused_where_the_backbone_learns():
    with pytest.raises(RecipeError, match=r"train\.views: without meaning where the backbone learns too"):
        with_depth(2, views=3)


@pytest.mark.parametrize(("batch_size", "expected"), [(8, "frozen"), (15, "frozen"), (16, "train"), (32, "train")])
def test_small_batches_keep_the_statistics_of_the_weights(batch_size, expected):
    plan = with_depth("all", batch_size=batch_size)
    assert plan.batch_norm == expected
    assert f"batches of {batch_size}" in plan.reasons["train.batch_norm"]
    assert with_depth("all", native=NONE, batch_size=batch_size).batch_norm == "train"
    assert with_depth("all", batch_size=batch_size, batch_norm="train").batch_norm == "train"


def test_stages_that_join_are_planned_with_their_reason():
    plan = with_depth("all", unfreeze_epochs=2, layer_decay=0.8, ema_decay=0.99)
    assert (plan.unfreeze_epochs, plan.layer_decay, plan.ema_decay) == (2, 0.8, 0.99)
    assert plan.reasons["train.unfreeze_epochs"] == "one more stage learns every 2 epochs, from the head on"
