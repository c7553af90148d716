"""How the network is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.errors import RecipeError
from effmed.learn.plan.values import SET_BY_RECIPE

if TYPE_CHECKING:
    from effmed.learn.plan.depth import Depth, Manner
    from effmed.learn.plan.values import Reasons
    from effmed.learn.scaling import Variant
    from effmed.recipe import AugmentSettings, DecisionSettings, Recipe

# Sizes and rates chosen by runs on chest radiographs and ultrasound images; see docs/results.md.
IMAGES_TO_SEE = 5000
EPOCHS_MIN, EPOCHS_MAX = 4, 20
EPOCHS_OF_HEAD = 40  # of a fraction of a second each, on stored features
PATIENCE_MIN = 4
TARGETS = ("label_smoothing", "mixup", "cutmix")
SIDES = 4  # of progressive resizing, as many epochs at least
OF_IMAGES = ("mixup", "cutmix", "progressive")
DRAWN = "draws probabilities to the middle, which the calibrator undoes on average and not for each image"
LEARNING_RATES: dict[Manner, tuple[float, str]] = {
    "head": (3e-3, "usual for AdamW on one layer over features that stay"),
    "fine-tuned": (2e-4, "usual for AdamW on pretrained weights"),
    "from scratch": (1e-3, "usual for AdamW from scratch"),
}


def plan_epochs(recipe: Recipe, depth: Depth, n_train: int, reasons: Reasons) -> int:
    """Return the passes over the training images."""
    if depth == "head":
        why = "enough for one layer; each takes a fraction of a second on stored features"
        return reasons.choose("train.epochs", recipe.train.epochs, EPOCHS_OF_HEAD, why)
    epochs = min(EPOCHS_MAX, max(EPOCHS_MIN, round(IMAGES_TO_SEE / n_train)))
    why = f"about {IMAGES_TO_SEE} images seen, within {EPOCHS_MIN} to {EPOCHS_MAX} epochs"
    return reasons.choose("train.epochs", recipe.train.epochs, epochs, why)


def plan_optimisation(
    recipe: Recipe, variant: Variant, how: Manner, epochs: int, reasons: Reasons
) -> dict[str, float | int | str | AugmentSettings | DecisionSettings]:
    """Return the rates, what chooses the epoch, and what the recipe says outright."""
    train = recipe.train
    _tell_of_targets(recipe, how, reasons)
    _check_stages(recipe, epochs)
    _plan_test_views(recipe, reasons)
    rate, why = LEARNING_RATES[how]
    published = f"published for {variant.name if variant.multipliers is None else variant.architecture}"
    idle = how == "head"
    blocks = "without effect: the backbone stays as it is" if idle else published
    return {
        "dropout": reasons.choose("model.dropout", recipe.model.dropout, variant.dropout, published),
        "drop_path": reasons.choose(
            "model.drop_path", recipe.model.drop_path, 0.0 if idle else variant.drop_path, blocks
        ),
        "learning_rate": reasons.choose("train.learning_rate", train.learning_rate, rate, why),
        "weight_decay": train.weight_decay,
        "warmup_fraction": train.warmup_fraction,
        "metric": reasons.choose(
            "train.metric", train.metric, "auroc", "ranking is what fine-tuning must learn; calibration follows"
        ),
        "patience": reasons.choose(
            "train.patience", train.patience, max(PATIENCE_MIN, epochs // 2), "half of the epochs"
        ),
        "label_smoothing": train.label_smoothing,
        "mixup": train.mixup,
        "cutmix": train.cutmix,
        "progressive": train.progressive,
        "augment": recipe.augment,
        "decision": recipe.decision,
        "seed": train.seed,
    }


def _plan_test_views(recipe: Recipe, reasons: Reasons) -> None:
    """Say what several views at test are and cost.

    Raises:
        RecipeError: They would all be the image as it is.
    """
    n_views = recipe.augment.test_views
    if n_views == 1:
        return
    changes = recipe.augment.model_dump(exclude={"test_views"})
    if not any(changes.values()):
        problem = f"augment.test_views = {n_views}, but section 'augment' changes nothing: all views would be the same"
        raise RecipeError(problem, hint="leave it out, or let something change, such as augment.rotation_degrees")
    reasons.sentences["augment.test_views"] = (
        f"{SET_BY_RECIPE}: logits are the mean over the image and {n_views - 1} changed views of it, the same changes "
        f"for every image; scoring takes {n_views} times the time; the epoch is chosen by images as they are"
    )


def plan_members(recipe: Recipe, reasons: Reasons) -> dict[str, int]:
    """Return the folds and seeds of which each makes a network; 1 and 1 for one network.

    Raises:
        RecipeError: Both are asked for.
    """
    folds, seeds = recipe.train.folds, recipe.train.seeds
    if folds > 1 and seeds > 1:
        problem = f"train.folds = {folds} and train.seeds = {seeds}: an ensemble is of one kind"
        raise RecipeError(problem, hint="leave one of them out")
    if folds > 1:
        reasons.sentences["train.folds"] = (
            f"{SET_BY_RECIPE}: {folds} networks, each learns from all but one fold of train and val, which judges it; "
            f"{folds} times the time of one"
        )
    if seeds > 1:
        last = recipe.train.seed + seeds - 1
        reasons.sentences["train.seeds"] = (
            f"{SET_BY_RECIPE}: {seeds} networks on the same images, with seeds {recipe.train.seed} to {last}; "
            f"{seeds} times the time of one"
        )
    return {"folds": folds, "seeds": seeds}


def _check_stages(recipe: Recipe, epochs: int) -> None:
    """Refuse stages that a training would not come to the end of.

    Raises:
        RecipeError: There are fewer epochs than sides, or a time budget may end the training before the whole images
            or the last stages of the network have had their turn.
    """
    train = recipe.train
    if train.progressive < 1 and epochs < SIDES:
        problem = f"train.progressive = {train.progressive:g}: {epochs} epochs are too few for {SIDES} sides of images"
        raise RecipeError(problem, hint=f"--set train.epochs={SIDES} or more")
    staged = {"train.progressive": train.progressive < 1, "train.unfreeze_epochs": train.unfreeze_epochs > 0}
    named = [key for key, is_set in staged.items() if is_set]
    if train.time_budget_min and named:
        problem = f"{' and '.join(named)} with train.time_budget_min: stages go by epochs, which a budget may cut short"
        raise RecipeError(problem, hint="leave one of them out, or --set train.epochs=N instead of the budget")


def _tell_of_targets(recipe: Recipe, how: Manner, reasons: Reasons) -> None:
    """Say what changed targets do to probabilities; refuse what has no meaning on stored features.

    Raises:
        RecipeError: Images are to be mixed or shrunk, but the head learns from stored features.
    """
    changed = recipe.train.changed
    idle = [f"train.{key}" for key in OF_IMAGES if key in changed]
    if how == "head" and idle:
        problem = f"{' and '.join(idle)}: without meaning where the head learns from stored features"
        raise RecipeError(problem, hint="leave that out, or --set train.depth=all")
    for key in TARGETS:
        reasons.sentences[f"train.{key}"] = f"{SET_BY_RECIPE if key in changed else 'off'}; {DRAWN}"
    shrunk = "set by the recipe; the first epochs learn from smaller images"
    reasons.sentences["train.progressive"] = (
        shrunk if "progressive" in changed else "all epochs learn from whole images"
    )
