from dataclasses import replace

import pytest

from effmed.errors import DataError, RecipeError
from effmed.learn.plan import SET_BY_RECIPE, Machine, NativeInput, Plan, make_plan
from effmed.learn.scaling import VARIANTS, find_variant
from effmed.recipe import make_recipe
from tests.learn.make import fingerprint

CPU = Machine("cpu", "cpu", 2, has_bfloat16=False)
GPU = Machine("cuda", "a GPU", 8, has_bfloat16=True)
LITE = NativeInput("installed package x", "Apache-2.0", (127 / 255,) * 3, (128 / 255,) * 3)


def planned(variant="lite0", machine=CPU, native=LITE, recipe=None, **changes):
    return make_plan(make_recipe(recipe or {}), fingerprint(**changes), find_variant(variant), native, machine)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_resolution_is_the_variants(variant):
    assert planned(variant).preprocessing.width == VARIANTS[variant].resolution_px


def test_no_decision_is_left_open():
    assert "auto" not in str(planned().model_dump())


def test_every_automatic_key_has_a_reason():
    keys = ("model.image_size", "model.channels", "model.dropout", "train.epochs", "train.batch_size", "train.device")
    more = (
        "train.learning_rate",
        "train.metric",
        "train.patience",
        "train.precision",
        "train.threads",
        "loss",
        "weights",
    )
    last = ("imbalance.method", "calibration.method", "data.depth")
    assert all(planned().reasons[key] for key in (*keys, *more, *last))


def test_the_recipe_wins_and_the_plan_says_so():
    plan = planned(recipe={"train": {"epochs": 3, "batch_size": 5}, "model": {"image_size": 160}})
    assert (plan.epochs, plan.batch_size, plan.preprocessing.height) == (3, 5, 160)
    assert plan.reasons["train.epochs"] == "set by the recipe"


def test_several_views_at_test_are_planned_with_their_price():
    assert "augment.test_views" not in planned().reasons
    plan = planned(recipe={"augment": {"test_views": 4}})
    assert plan.augment.test_views == 4
    assert "the image and 3 changed views of it" in plan.reasons["augment.test_views"]
    assert "4 times the time" in plan.reasons["augment.test_views"]
    head = planned(recipe={"augment": {"test_views": 4, "rotation_degrees": 3}, "train": {"depth": "head"}})
    assert (head.augment.test_views, head.views) == (4, 1)


def test_views_that_would_all_be_the_same_are_refused():
    names = ("rotation_degrees", "shift_fraction", "scale_fraction", "brightness_fraction", "contrast_fraction")
    still = {**dict.fromkeys(names, 0), "test_views": 2}
    with pytest.raises(RecipeError, match="all views would be the same"):
        planned(recipe={"augment": still})
    assert planned(recipe={"augment": {**still, "vertical_flip": True}}).augment.test_views == 2


def test_several_networks_are_planned_with_their_price():
    assert (planned().folds, planned().seeds, planned().n_networks) == (1, 1, 1)
    folded = planned(recipe={"train": {"folds": 5}})
    assert (folded.folds, folded.n_networks) == (5, 5)
    assert folded.reasons["train.folds"].endswith("5 times the time of one")
    seeded = planned(recipe={"train": {"seeds": 3, "seed": 4}})
    assert (seeded.seed, seeded.n_networks) == (4, 3)
    assert "with seeds 4 to 6" in seeded.reasons["train.seeds"]
    with pytest.raises(RecipeError, match="of one kind"):
        planned(recipe={"train": {"folds": 2, "seeds": 2}})


def test_the_reason_names_the_compound_coefficient():
    assert "φ = 3" in planned("b4").reasons["model.image_size"]


def test_what_frames_mean_is_planned_with_its_reason():
    plan = planned()
    assert (plan.frames, plan.frame_rule) == ("error", "mean")
    assert "they are refused" in plan.reasons["data.frames"]
    assert "without effect" in plan.reasons["data.frame_rule"]
    plan = planned(recipe={"data": {"frames": "all", "frame_rule": "max"}})
    assert (plan.frames, plan.frame_rule) == ("all", "max")
    assert plan.reasons["data.frames"] == plan.reasons["data.frame_rule"] == "set by the recipe"
    assert planned(recipe={"data": {"frames": "all"}}).reasons["data.frame_rule"] == "weighs all frames alike"


def test_more_than_eight_bits_are_kept():
    assert planned(bits={"12": 10, "8": 3}).preprocessing.depth == "uint16"
    assert planned(bits={"8": 13}).preprocessing.depth == "uint8"


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_the_recipe_may_say_how_many_bits_are_kept(depth):
    for bits in ({"12": 10}, {"8": 13}):
        plan = planned(bits=bits, recipe={"data": {"depth": depth}})
        assert (plan.preprocessing.depth, plan.reasons["data.depth"]) == (depth, SET_BY_RECIPE)


def test_colour_takes_three_channels():
    plan = planned(colour_fraction=0.1)
    assert (plan.preprocessing.channels, len(plan.mean)) == (3, 3)
    assert len(planned().mean) == 1


def test_more_classes_have_more_outputs():
    plan = planned(train_images_per_class={"a": 10, "b": 20, "c": 30})
    assert (plan.task, plan.n_outputs, plan.calibration) == ("multiclass", 3, "bias-corrected-temperature")
    assert (planned().task, planned().n_outputs, planned().calibration) == ("binary", 1, "platt")


def test_the_rare_class_weighs_more():
    common, rare = planned(
        recipe={"imbalance": {"method": "weights"}}, train_images_per_class={"a": 90, "b": 10}
    ).imbalance.weights
    assert rare > common
    assert planned().imbalance.weights == (1.0, 1.0)


def test_half_precision_is_for_the_gpu():
    assert planned(machine=GPU).precision == "bfloat16"
    assert planned(machine=Machine("cuda", "old GPU", 8, has_bfloat16=False)).precision == "float16"
    assert planned().precision == "float32"


def test_large_inputs_make_small_batches():
    assert planned("b7", images_per_split={"train": 10_000, "val": 9, "test": 9}).batch_size == 8


def test_from_scratch_learns_faster():
    scratch = NativeInput("none", "", (0.5,) * 3, (0.5,) * 3)
    assert planned(native=scratch).learning_rate > planned().learning_rate


def test_a_plan_survives_the_disk():
    assert Plan.model_validate_json(planned().model_dump_json()) == planned()


@pytest.mark.parametrize(
    ("window", "n"), [("40/80,80/200", 2), ("40/80,80/200,600/2800", 3), (",".join(["1/2"] * 5), 5)]
)
def test_every_window_is_a_channel(window, n):
    native = NativeInput("hub x", "", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    plan = planned(native=native, recipe={"data": {"window": window}}, bits={"12": 9})
    assert (plan.preprocessing.channels, plan.preprocessing.window) == (n, window)
    assert plan.preprocessing.depth == "uint16"
    assert plan.mean == pytest.approx((0.4, 0.5, 0.6) if n == 3 else (0.5,) * n)
    assert plan.std == pytest.approx((0.1, 0.2, 0.3) if n == 3 else (0.2,) * n)
    assert f"data.window names {n} windows" in plan.reasons["model.channels"]


def test_windows_of_eight_bits_stay_bytes():
    assert planned(recipe={"data": {"window": "40/80,80/200"}}).preprocessing.depth == "uint8"


def test_one_window_is_one_channel():
    assert planned(recipe={"data": {"window": "40/80"}}).preprocessing.channels == 1
    assert planned(recipe={"data": {"window": "40/80"}}, colour_fraction=0.5).preprocessing.channels == 3


def test_channels_that_contradict_the_windows_are_refused():
    recipe = {"data": {"window": "40/80,80/200,600/2800"}, "model": {"channels": 1}}
    with pytest.raises(RecipeError, match=r"model.channels = 1, but data.window names 3 windows"):
        planned(recipe=recipe)
    assert planned(recipe={**recipe, "model": {"channels": 3}}).preprocessing.channels == 3


def test_a_window_that_is_none_is_refused_by_the_plan():
    with pytest.raises(RecipeError, match="lung"):
        planned(recipe={"data": {"window": "lung"}})


def test_decoding_smaller_is_kept_in_the_plan_where_it_is_asked_for():
    assert planned(recipe={"data": {"reduced_decode": True}}).preprocessing.reduced_decode
    assert not planned().preprocessing.reduced_decode


def test_a_network_between_the_variants_tells_its_side_and_what_it_starts_from():
    plan = planned("phi:2.5")
    assert plan.preprocessing.width == 320
    assert plan.network == "tf_efficientnet_b0 x width 1.2691, depth 1.5774"
    assert "φ = 2.5, to the nearest multiple of 8 px" in plan.reasons["model.image_size"]
    assert "1.5% of the network's parameters are carried over" in plan.reasons["weights"]
    assert plan.reasons["model.dropout"] == "published for tf_efficientnet_b3"


@pytest.mark.parametrize(("variant", "is_fine_tuned"), [("phi:2.5", False), ("phi:3.5", True), ("b3", True)])
def test_a_network_that_takes_little_over_learns_as_from_scratch(variant, is_fine_tuned):
    plan = planned(variant)
    assert plan.is_fine_tuned == is_fine_tuned
    assert plan.learning_rate == (2e-4 if is_fine_tuned else 1e-3)


def test_nothing_is_fine_tuned_without_weights():
    none = NativeInput("none", "", (0.5,) * 3, (0.5,) * 3)
    assert not planned("phi:3.5", native=none).is_fine_tuned
    assert not planned("b3", native=none).is_fine_tuned


KINDS = ("present", "absent", "uncertain", "blank")
LABELS = {
    split: {"mass": dict(zip(KINDS, mass, strict=True)), "rare": dict(zip(KINDS, rare, strict=True))}
    for split, mass, rare in (
        ("train", (60, 60, 10, 10), (5, 95, 0, 40)),
        ("val", (10, 10, 0, 0), (0, 20, 0, 0)),
        ("test", (10, 10, 0, 0), (1, 19, 0, 0)),
    )
}


def several(labels=LABELS, **recipe):
    counts = {name: each["present"] for name, each in labels["train"].items()}
    facts = {"train_images_per_class": counts, "label_counts": labels, "task_reason": "task multilabel: said"}
    return planned(recipe=recipe, **facts)


def test_labels_that_do_not_exclude_each_other_have_a_logit_each():
    plan = several()
    assert (plan.task, plan.n_outputs, plan.loss) == ("multilabel", 2, "binary cross-entropy")
    assert (plan.uncertain, plan.blank) == ("ignore", "ignore")
    assert plan.imbalance.weights == (1.0,) * 4
    assert plan.reasons["task"] == "task multilabel: said"
    assert plan.reasons["train.blank"] == "50 blank labels in train: left out of the loss"


@pytest.mark.parametrize(
    ("policies", "mass"),
    [({}, (60, 60)), ({"uncertain": "ones"}, (60, 70)), ({"uncertain": "zeros", "blank": "zeros"}, (80, 60))],
)
def test_weights_of_a_label_are_those_of_what_is_known_of_it(policies, mass):
    plan = several(imbalance={"method": "weights"}, train=policies)
    assert plan.imbalance.weights[:2] == pytest.approx([sum(mass) / (2 * count) for count in mass])
    assert plan.imbalance.weights[3] > plan.imbalance.weights[2]


def test_a_label_of_which_one_kind_is_known_is_refused_by_name():
    labels = {**LABELS, "train": {**LABELS["train"], "rare": dict(zip(KINDS, (5, 0, 0, 40), strict=True))}}
    with pytest.raises(DataError, match="always or never present in the training images: rare"):
        several(labels)
    assert several(labels, train={"blank": "zeros"}).blank == "zeros"


def test_a_val_that_can_judge_no_label_is_refused():
    with pytest.raises(DataError, match="on val no label is both present and absent"):
        several({**LABELS, "val": {**LABELS["val"], "mass": dict(zip(KINDS, (0, 20, 0, 0), strict=True))}})


def test_noisy_or_is_for_several_labels_too():
    assert several(data={"level": "study", "level_rule": "noisy-or"}).level_rule == "noisy-or"


@pytest.mark.parametrize("recipe", [{"train": {"blank": "zeros"}}, {"data": {"min_positive": 3}}])
def test_settings_of_several_labels_are_refused_where_classes_exclude_each_other(recipe):
    with pytest.raises(RecipeError, match="without meaning where labels exclude each other"):
        planned(recipe=recipe)
    assert several(**recipe).task == "multilabel"


def test_a_network_of_timm_has_the_side_that_it_was_made_for():
    native = NativeInput("hub x", "", (0.5,) * 3, (0.5,) * 3, resolution_px=299)
    plan = planned("timm:inception_v3", native=native)
    assert plan.preprocessing.width == 299
    assert plan.reasons["model.image_size"] == "299 px: what inception_v3 of timm was made for"
    assert planned("b3", native=native).preprocessing.width == 300


def test_the_plan_says_why_it_is_this_variant():
    assert planned().reasons["variant"] == "named by --variant (b0 where it is left out) or --phi"
    settings = make_recipe({"train": {"time_budget_min": 5}})
    chosen = make_plan(settings, fingerprint(), find_variant("lite0"), LITE, CPU, "the largest of few")
    assert chosen.reasons["variant"] == "the largest of few"
    assert chosen.reasons["train.time_budget_min"] == "5 min, set by the recipe"
    assert "train.time_budget_min" not in planned().reasons


def test_freed_memory_is_kept_where_that_can_be_had_and_helps():
    glibc = replace(CPU, can_keep_memory=True)
    assert planned(machine=glibc).keep_memory
    assert not planned(machine=CPU).keep_memory
    assert not planned(machine=replace(GPU, can_keep_memory=True)).keep_memory
    assert not planned(machine=glibc, recipe={"train": {"keep_memory": False}}).keep_memory
    assert "a quarter more memory" in planned(machine=glibc).reasons["train.keep_memory"]


def test_memory_that_cannot_be_kept_is_refused():
    with pytest.raises(RecipeError, match="cannot be told"):
        planned(machine=CPU, recipe={"train": {"keep_memory": True}})


ABLE = replace(CPU, can_fuse=True, fused_by="gcc 12")


def test_our_own_layers_are_used_where_they_could_be_compiled():
    assert planned(machine=ABLE).fused_layers
    assert "compiled by gcc 12" in planned(machine=ABLE).reasons["train.fused_layers"]
    assert not planned(machine=ABLE, recipe={"train": {"fused_layers": False}}).fused_layers


@pytest.mark.parametrize(
    ("machine", "train", "why"),
    [
        (replace(CPU, fused_by="no compiler"), {}, "no compiler"),
        (GPU, {}, "they are for CPUs"),
        (ABLE, {"compile": True}, "torch.compile cannot look into them"),
        (ABLE, {"precision": "bfloat16"}, "they compute in float32, not in bfloat16"),
        (replace(ABLE, bfloat16_gain=2.0), {}, "they compute in float32, not in bfloat16"),
    ],
)
def test_our_own_layers_that_cannot_be_used_are_not_and_refused_where_they_are_wanted(machine, train, why):
    found = planned(machine=machine, recipe={"train": train})
    assert not found.fused_layers
    assert found.reasons["train.fused_layers"] == f"layers of torch: {why}"
    with pytest.raises(RecipeError, match=why):
        planned(machine=machine, recipe={"train": {**train, "fused_layers": True}})


def test_a_head_that_learns_alone_has_no_layers_to_fuse():
    assert not planned(machine=ABLE, recipe={"train": {"depth": "head"}}).fused_layers
    with pytest.raises(RecipeError, match=r"train\.fused_layers: without meaning where the head learns alone"):
        planned(machine=ABLE, recipe={"train": {"depth": "head", "fused_layers": True}})


def test_prediction_sets_of_several_labels_are_refused():
    with pytest.raises(RecipeError, match="without meaning where labels do not exclude each other"):
        several(decision={"miss_fraction": 0.05})
    assert planned(recipe={"decision": {"miss_fraction": 0.05}}).decision.miss_fraction == 0.05


def test_what_draws_probabilities_to_the_middle_is_off_and_says_so():
    plan = planned()
    assert (plan.label_smoothing, plan.mixup, plan.cutmix, plan.progressive) == (0.0, 0.0, 0.0, 1.0)
    for key in ("label_smoothing", "mixup", "cutmix"):
        assert plan.reasons[f"train.{key}"].startswith("off; draws probabilities to the middle")
    wanted = planned(recipe={"train": {"mixup": 0.4, "progressive": 0.5}})
    assert (wanted.mixup, wanted.progressive) == (0.4, 0.5)
    assert wanted.reasons["train.mixup"].startswith("set by the recipe; draws probabilities")
    assert "smaller images" in wanted.reasons["train.progressive"]


@pytest.mark.parametrize("setting", [{"mixup": 0.4}, {"cutmix": 1.0}, {"progressive": 0.5}])
def test_stored_features_are_neither_mixed_nor_shrunk(setting):
    with pytest.raises(RecipeError, match=rf"train\.{next(iter(setting))}: without meaning where the head"):
        planned(recipe={"train": {"depth": "head", **setting}})


def test_the_head_alone_takes_smoothed_labels():
    assert planned(recipe={"train": {"depth": "head", "label_smoothing": 0.1}}).label_smoothing == 0.1


def test_stages_that_would_not_come_to_their_end_are_refused():
    with pytest.raises(RecipeError, match="3 epochs are too few for 4 sides"):
        planned(recipe={"train": {"progressive": 0.5, "epochs": 3}})
    for staged in ({"progressive": 0.5}, {"unfreeze_epochs": 1}):
        with pytest.raises(RecipeError, match=rf"train\.{next(iter(staged))} with train\.time_budget_min"):
            planned(recipe={"train": {**staged, "time_budget_min": 5}})


def test_a_network_of_one_size_does_not_see_smaller_images():
    with pytest.raises(RecipeError, match="takes images of one size alone"):
        planned(native=replace(LITE, is_fixed=True), recipe={"train": {"progressive": 0.5}})
