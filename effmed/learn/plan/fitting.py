"""How the network is fitted, and on what machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from effmed.errors import RecipeError
from effmed.learn.plan.resolution import size_text

if TYPE_CHECKING:
    from effmed.learn.plan.depth import Depth, Manner
    from effmed.learn.plan.reasons import Reasons
    from effmed.learn.plan.values import Machine
    from effmed.learn.scaling import Variant
    from effmed.recipe import AugmentSettings, DecisionSettings, Recipe

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

# Sizes and rates chosen by runs on chest radiographs and ultrasound images; see docs/results.md.
IMAGES_TO_SEE = 5000
EPOCHS_MIN, EPOCHS_MAX = 4, 20
BATCH_MAX = {"cpu": 32, "cuda": 64, "mps": 32}
BATCH_MIN = 8
STEPS_PER_EPOCH_MIN = 10
BATCH_PIXELS = 32 * 300 * 300
EPOCHS_OF_HEAD = 40  # of a fraction of a second each, on stored features
PATIENCE_MIN = 4
LEARNING_RATES: dict[Manner, tuple[float, str]] = {
    "head": (3e-3, "usual for AdamW on one layer over features that stay"),
    "fine-tuned": (2e-4, "usual for AdamW on pretrained weights"),
    "from scratch": (1e-3, "usual for AdamW from scratch"),
}


def plan_batch(recipe: Recipe, n_train: int, image_size: tuple[int, int], machine: Machine, reasons: Reasons) -> int:
    """Return the images of a step: as the device holds, but enough steps per epoch; a power of two."""
    by_memory = BATCH_PIXELS // (image_size[0] * image_size[1]) * BATCH_MAX[machine.device] // BATCH_MAX["cpu"]
    by_steps = n_train // STEPS_PER_EPOCH_MIN
    limit = max(BATCH_MIN, min(by_memory, by_steps, BATCH_MAX[machine.device]))
    size = 1 << (limit.bit_length() - 1)  # the power of two at or below
    steps = f"at least {STEPS_PER_EPOCH_MIN} steps"
    why = f"{n_train} training images in {steps}, {size_text(image_size)} px on {machine.device}"
    return reasons.choose("train.batch_size", recipe.train.batch_size, size, why)


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
        "augment": recipe.augment,
        "decision": recipe.decision,
        "seed": train.seed,
    }


def plan_precision(recipe: Recipe, machine: Machine, reasons: Reasons) -> Precision:
    """Return the autocast type that suits the device."""
    half: Precision = "bfloat16" if machine.has_bfloat16 else "float16"
    automatic: Precision = half if machine.device == "cuda" else "float32"
    why = (
        f"{machine.name} computes {half} fast"
        if machine.device == "cuda"
        else f"exact, and no slower on {machine.device}"
    )
    return reasons.choose("train.precision", recipe.train.precision, automatic, why)


def plan_machine(recipe: Recipe, machine: Machine, reasons: Reasons) -> dict[str, object]:
    """Return the device, and the precision and threads that suit it."""
    reasons.sentences["train.device"] = machine.name
    if recipe.train.keep_memory is True and not machine.can_keep_memory:
        problem = "train.keep_memory = true, but the C library of this machine cannot be told"
        raise RecipeError(problem, hint="leave train.keep_memory at auto")
    keeps = machine.device == "cpu" and machine.can_keep_memory
    kept = (
        "freed memory is kept for the next step: faster on a CPU, and takes about a quarter more memory"
        if keeps
        else "of use on a CPU alone, where the C library is glibc"
    )
    return {
        "device": machine.device,
        "device_name": machine.name,
        "precision": plan_precision(recipe, machine, reasons),
        "threads": reasons.choose(
            "train.threads", recipe.train.threads, machine.cores, "cores that this process may use"
        ),
        "keep_memory": reasons.choose("train.keep_memory", recipe.train.keep_memory, keeps, kept),
    }
