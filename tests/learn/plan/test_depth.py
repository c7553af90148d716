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
        ({"unfreeze_epochs": 1, "epochs": 20}, {}),
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


@pytest.mark.parametrize("batch_size", [8, 32])
def test_statistics_are_those_of_the_images_unless_the_recipe_keeps_those_of_the_weights(batch_size):
    plan = with_depth("all", batch_size=batch_size)
    assert plan.batch_norm == "train"
    assert "the images' own" in plan.reasons["train.batch_norm"]
    assert with_depth("all", batch_size=batch_size, batch_norm="frozen").batch_norm == "frozen"


def test_stages_that_join_are_planned_with_their_reason():
    plan = with_depth("all", unfreeze_epochs=2, layer_decay=0.8, ema_decay=0.99, epochs=20)
    assert (plan.unfreeze_epochs, plan.layer_decay, plan.ema_decay) == (2, 0.8, 0.99)
    assert plan.reasons["train.unfreeze_epochs"] == "one more stage learns every 2 epochs, from the head on"


@pytest.mark.parametrize("phi", ["phi:0.75", "phi:2.125"])
def test_a_backbone_that_is_carried_over_in_part_learns_as_a_whole(phi):
    recipe = {"train": {"depth": "head"}}
    with pytest.raises(RecipeError, match="of the backbone starts from random weights"):
        planned(phi, recipe=recipe)
    assert planned(phi).depth == "all"


@pytest.mark.parametrize("changes", [{"augment": {"horizontal_flip": True}}, {"imbalance": {"minority_augment": 2.0}}])
def test_changes_of_images_are_refused_where_the_head_sees_none(changes):
    with pytest.raises(RecipeError, match="without effect where the head learns from the images as they are"):
        planned(recipe={"train": {"depth": "head"}, **changes})
    assert planned(recipe={"train": {"depth": "head", "views": 8}, **changes}).views == 8
    assert planned(recipe=changes).depth == "all"


def test_stages_that_would_never_join_are_refused():
    """lite0: seven stages and the stem join one after another."""
    assert with_depth("all", unfreeze_epochs=1, epochs=9).unfreeze_epochs == 1
    with pytest.raises(RecipeError, match="8 stages join one after another, and 8 epochs are too few") as caught:
        with_depth("all", unfreeze_epochs=1, epochs=8)
    assert "train.epochs=9" in caught.value.hint
    assert with_depth(2, unfreeze_epochs=2, epochs=5).depth == 2


@pytest.mark.parametrize("settings", [{"unfreeze_epochs": 1}, {"batch_norm": "frozen"}])
def test_from_scratch_nothing_stays_as_it_is(settings):
    with pytest.raises(RecipeError, match="is for a network that starts from weights"):
        with_depth("all", native=NONE, epochs=20, **settings)
