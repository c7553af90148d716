"""How deep fine-tuning reaches: stages that learn, their rates, batch statistics, the average of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from effmed.errors import RecipeError
from effmed.learn.plan.values import CARRIED_MIN

if TYPE_CHECKING:
    from effmed.learn.plan.values import NativeInput, Reasons
    from effmed.learn.scaling import Variant
    from effmed.recipe import Recipe

Depth: TypeAlias = Literal["head", "all"] | int
Manner: TypeAlias = Literal["head", "fine-tuned", "from scratch"]
NEARLY_ALL = 0.999  # of the parameters carried over: what does not learn may not be random
ONLY_BACKBONE = (
    "unfreeze_epochs",
    "layer_decay",
    "batch_norm",
    "gradient_checkpointing",
    "share_statistics",
    "fused_layers",
)


def plan_depth(recipe: Recipe, variant: Variant, native: NativeInput, reasons: Reasons) -> Depth:
    """Return what learns: the head, so many of the last stages and the head, or all.

    Raises:
        RecipeError: What does not learn would stay random; or settings contradict each other.
    """
    wanted = recipe.train.depth
    automatic: Depth = "all"
    why = "none of the other depths was better beyond chance where they were tried"
    depth = reasons.choose("train.depth", wanted, automatic, why)
    if depth != "all" and not _starts_whole(variant, native):
        share = variant.carried_fraction if native.is_pretrained else 0.0
        random = f"{1 - share:.0%} of the backbone starts" if share else "the network starts"
        problem = f"train.depth = {depth}, but {random} from random weights, which would stay so"
        raise RecipeError(problem, hint="--set train.depth=all, or start from weights")
    n_stages = 0 if variant.table is None else len(variant.table.stages)
    if isinstance(depth, int) and 0 < n_stages < depth:
        problem = f"train.depth = {depth}, but {variant.name} has {n_stages} stages besides stem and head"
        raise RecipeError(problem, hint="--set train.depth=all")
    _check_meaning(recipe, depth)
    return depth


def _check_meaning(recipe: Recipe, depth: Depth) -> None:
    """Refuse settings that would change nothing."""
    idle = [f"train.{key}" for key in recipe.train.changed if key in ONLY_BACKBONE]
    idle += ["model.drop_path"] if "drop_path" in recipe.model.changed else []
    if depth != "head":
        idle = ["train.views"] if "views" in recipe.train.changed else []
    if idle:
        means = "the head learns alone" if depth == "head" else "the backbone learns too"
        raise RecipeError(f"{' and '.join(idle)}: without meaning where {means}", hint="leave that out")
    if depth == "head" and recipe.train.views in ("auto", 1):
        _check_unchanged(recipe)


def _check_unchanged(recipe: Recipe) -> None:
    """Refuse changes of images where the head learns from the images as they are, and nothing else uses them."""
    idle = [] if recipe.augment.test_views > 1 else [f"augment.{key}" for key in recipe.augment.changed]
    idle += ["imbalance.minority_augment"] if recipe.imbalance.minority_augment > 1 else []
    if idle:
        problem = f"{' and '.join(idle)}: without effect where the head learns from the images as they are"
        raise RecipeError(problem, hint="leave that out, or --set train.views=8")


def check_joining(recipe: Recipe, variant: Variant, depth: Depth, how: Manner, epochs: int) -> None:
    """Refuse stages that would never join, and weights or statistics that would stay random.

    Args:
        recipe: What is wanted.
        variant: What will be built.
        depth: What learns in the end.
        how: Whether it starts from weights.
        epochs: Of the training.

    Raises:
        RecipeError: ``train.unfreeze_epochs`` or ``train.batch_norm`` do not fit these.
    """
    if how == "from scratch" and (recipe.train.unfreeze_epochs or recipe.train.batch_norm == "frozen"):
        named = "train.unfreeze_epochs" if recipe.train.unfreeze_epochs else "train.batch_norm = frozen"
        raise RecipeError(f"{named} is for a network that starts from weights, not from scratch", hint="leave that out")
    n_stages = 1 if variant.table is None else len(variant.table.stages) + 1  # the stem joins last
    n_joining = n_stages if isinstance(depth, str) else depth
    if recipe.train.unfreeze_epochs * n_joining >= epochs:
        problem = (
            f"train.unfreeze_epochs = {recipe.train.unfreeze_epochs}: {n_joining} stages join one after another, "
            f"and {epochs} epochs are too few for it"
        )
        raise RecipeError(problem, hint=f"--set train.epochs={recipe.train.unfreeze_epochs * n_joining + 1} or more")


def _starts_whole(variant: Variant, native: NativeInput) -> bool:
    """Whether all of the backbone starts from weights."""
    return native.is_pretrained and variant.carried_fraction >= NEARLY_ALL


def fine_tunes(variant: Variant, native: NativeInput) -> bool:
    """Whether most of the backbone starts from weights."""
    return native.is_pretrained and variant.carried_fraction >= CARRIED_MIN


def manner(depth: Depth, variant: Variant, native: NativeInput) -> Manner:
    """Return what kind of fitting it is: the learning rate goes by it."""
    if depth == "head":
        return "head"
    return "fine-tuned" if fine_tunes(variant, native) else "from scratch"


def plan_tuning(recipe: Recipe, depth: Depth, reasons: Reasons) -> dict[str, object]:
    """Return how the stages that learn do so."""
    train = recipe.train
    if depth == "head":
        reasons.sentences["train.batch_norm"] = "the backbone stays as it is, its statistics too"
        return {"unfreeze_epochs": 0, "layer_decay": 1.0, "batch_norm": "frozen", **_plan_average(recipe, reasons)}
    reasons.sentences["train.unfreeze_epochs"] = (
        f"one more stage learns every {train.unfreeze_epochs} epochs, from the head on"
        if train.unfreeze_epochs
        else "all stages that learn do so from the first epoch"
    )
    why = "the images' own: on small sets in batches of 8, those of the weights kept the network from learning"
    return {
        "unfreeze_epochs": train.unfreeze_epochs,
        "layer_decay": reasons.choose("train.layer_decay", train.layer_decay, 1.0, "all stages learn at the same rate"),
        "batch_norm": reasons.choose("train.batch_norm", train.batch_norm, "train", why),
        **_plan_average(recipe, reasons),
    }


def _plan_average(recipe: Recipe, reasons: Reasons) -> dict[str, object]:
    why = "none: the learning rate falls to 0, and the best epoch is kept"
    return {"ema_decay": reasons.choose("train.ema_decay", recipe.train.ema_decay, 0.0, why)}


def plan_views(recipe: Recipe, depth: Depth, reasons: Reasons) -> int:
    """Return how many views of each training image the head learns from; 1 where the backbone learns too."""
    if depth != "head":
        return 1
    why = "the image as it is: augmented views of features that stay gave no higher AUROC"
    return reasons.choose("train.views", recipe.train.views, 1, why)
