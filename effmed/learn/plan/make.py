"""Recipe + fingerprint + native input + machine → Plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.data.records import SPLITS
from effmed.errors import RecipeError
from effmed.learn.plan.depth import check_joining, manner, plan_depth, plan_tuning, plan_views
from effmed.learn.plan.fitting import plan_epochs, plan_members, plan_optimisation
from effmed.learn.plan.inputs import per_channel, plan_frames, plan_level, plan_preprocessing
from effmed.learn.plan.labels import plan_loss, plan_task
from effmed.learn.plan.machine import plan_batch, plan_machine, plan_memory
from effmed.learn.plan.resolution import plan_size
from effmed.learn.plan.values import Head, Machine, NativeInput, Plan, Reasons

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.learn.scaling import Variant
    from effmed.recipe import Recipe

NAMED = "named by --variant (b0 where it is left out) or --phi"


def make_plan(
    recipe: Recipe, fingerprint: Fingerprint, variant: Variant, native: NativeInput, machine: Machine, why: str = ""
) -> Plan:
    """Decide everything that training needs.

    Args:
        recipe: What is wanted.
        fingerprint: What the data is; its splits are made.
        variant: The point on the compound-scaling curve.
        native: What the starting weights expect.
        machine: Where the network will run.
        why: Why effmed chose this variant, in words; "" where it was named.

    Raises:
        RecipeError: ``data.window`` is not a window, or contradicts ``model.channels``; or a setting of several labels
            is given for classes that exclude each other.
        DataError: Of several labels one is always or never present in train, or none can be judged on val.
    """
    reasons = Reasons()
    reasons.sentences["variant"] = why or NAMED
    classes = tuple(fingerprint.train_images_per_class)
    task = plan_task(recipe, fingerprint, reasons)
    n_train = fingerprint.images_per_split["train"]
    size = plan_size(recipe, fingerprint, variant, native, reasons)
    preprocessing = plan_preprocessing(recipe, fingerprint, size, reasons)
    batch_size = plan_batch(recipe, n_train, size, machine, reasons)
    depth = plan_depth(recipe, variant, native, reasons)
    epochs = plan_epochs(recipe, depth, n_train, reasons)
    how = manner(depth, variant, native)
    check_joining(recipe, variant, depth, how, epochs)
    _check_sides(recipe, variant, native)
    reasons.sentences["weights"] = _weights_reason(native, variant, Head(task, classes))
    return Plan(
        task=task,
        classes=classes,
        variant=variant.name,
        network=variant.built,
        preprocessing=preprocessing,
        **_start(native, preprocessing.channels),
        **plan_frames(recipe, reasons),
        **plan_level(recipe, len(classes), task, reasons),
        batch_size=batch_size,
        **plan_memory(recipe, batch_size, machine, reasons),
        epochs=epochs,
        **{f"n_{split}": fingerprint.images_per_split[split] for split in SPLITS},
        depth=depth,
        views=plan_views(recipe, depth, reasons),
        **plan_tuning(recipe, depth, reasons),
        **plan_members(recipe, reasons),
        **plan_optimisation(recipe, variant, how, epochs, reasons),
        **plan_loss(recipe, fingerprint, reasons),
        **plan_machine(recipe, machine, epochs * n_train, reasons),
        reasons=reasons.sentences,
        warnings=tuple(reasons.warnings),
    )


def _check_sides(recipe: Recipe, variant: Variant, native: NativeInput) -> None:
    if native.is_fixed and recipe.train.progressive < 1:
        problem = f"train.progressive = {recipe.train.progressive:g}, but {variant.name} takes images of one size alone"
        raise RecipeError(problem, hint="leave that out, or take an EfficientNet")


def _start(native: NativeInput, channels: int) -> dict[str, object]:
    return {
        "weights": native.origin,
        "weights_licence": native.licence,
        "mean": per_channel(native.mean, channels),
        "std": per_channel(native.std, channels),
    }


def _weights_reason(native: NativeInput, variant: Variant, head: Head) -> str:
    if not native.is_pretrained:
        return "from scratch, as the recipe asks; normalised with mean 0.5 and standard deviation 0.5"
    sentences = [f"{native.origin}, licence {native.licence or 'unknown'}", "normalised as these weights were trained"]
    if native.why:
        sentences.insert(1, native.why)
    if variant.multipliers is not None:
        share = f"{variant.carried_fraction:.1%} of the network's parameters are carried over and no more fit"
        sentences.insert(1, share)
    if native.head is not None:
        sentences.append("head kept: the same classes" if native.head == head else "new head: other classes")
    return "; ".join(sentences)
