"""What the outputs learn: the task, the loss and its weights, and how logits become probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from effmed.data.fingerprint import known_labels
from effmed.errors import RecipeError
from effmed.learn.plan.imbalance import plan_imbalance

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.learn.plan.values import Reasons
    from effmed.recipe import Recipe

Task: TypeAlias = Literal["binary", "multiclass", "multilabel"]
POLICIES = {
    "uncertain": {"ignore": "left out of the loss", "zeros": "count as absent", "ones": "count as present"},
    "blank": {"ignore": "left out of the loss", "zeros": "count as absent"},
}
ONLY_CLASSES = {"decision": ("miss_fraction", "sets_by_class", "max_error_fraction")}
ONLY_SEVERAL = {"train": ("uncertain", "blank"), "data": ("min_positive",)}


def plan_task(recipe: Recipe, fingerprint: Fingerprint, reasons: Reasons) -> Task:
    """Return what the outputs mean, from the labels and the recipe.

    Raises:
        RecipeError: A setting of several labels is given for classes that exclude each other, or the other way round.
    """
    several = bool(fingerprint.label_counts)
    given = {"train": recipe.train, "data": recipe.data, "decision": recipe.decision}
    foreign = ONLY_CLASSES if several else ONLY_SEVERAL
    idle = [f"{part}.{key}" for part, keys in foreign.items() for key in given[part].changed if key in keys]
    if idle:
        kind, task = ("do not exclude", "multiclass") if several else ("exclude", "multilabel")
        problem = f"{' and '.join(idle)}: without meaning where labels {kind} each other"
        raise RecipeError(problem, hint=f"leave that out, or --set data.task={task}")
    n = len(fingerprint.train_images_per_class)
    reasons.sentences["task"] = fingerprint.task_reason or f"{n} classes that exclude each other"
    if several:
        return "multilabel"
    return "binary" if n == 2 else "multiclass"


def plan_loss(recipe: Recipe, fingerprint: Fingerprint, reasons: Reasons) -> dict[str, object]:
    """Return the loss, its weights, and the calibration.

    Raises:
        DataError: Of several labels one is always or never present in train, or none can be judged on val.
    """
    decide = _plan_labels if fingerprint.label_counts else _plan_classes
    return decide(recipe, fingerprint, reasons)


def _plan_classes(recipe: Recipe, fingerprint: Fingerprint, reasons: Reasons) -> dict[str, object]:
    """Return loss and calibration of classes that exclude each other."""
    counts = fingerprint.train_images_per_class
    binary = len(counts) == 2
    imbalance = plan_imbalance(recipe, {name: (n,) for name, n in counts.items()}, reasons, exclusive=True)
    why = "two parameters for two classes" if binary else "one temperature and a bias per class"
    fitted = "platt" if binary else "bias-corrected-temperature"
    reasons.sentences["loss"] = f"one of {len(counts)} exclusive classes per image"
    return {
        "loss": "binary cross-entropy" if binary else "cross-entropy",
        "imbalance": imbalance,
        "calibration": reasons.choose("calibration.method", recipe.calibration.method, fitted, f"{why}, fitted on val"),
        "uncertain": recipe.train.uncertain,
        "blank": recipe.train.blank,
    }


def _plan_labels(recipe: Recipe, fingerprint: Fingerprint, reasons: Reasons) -> dict[str, object]:
    """Return loss and calibration of labels that do not exclude each other."""
    policies = recipe.train.uncertain, recipe.train.blank
    counts = known_labels(fingerprint.label_counts, *policies)
    n_left = {kind: sum(each[kind] for each in fingerprint.label_counts["train"].values()) for kind in POLICIES}
    for kind, policy in zip(POLICIES, policies, strict=True):
        reasons.sentences[f"train.{kind}"] = f"{n_left[kind]} {kind} labels in train: {POLICIES[kind][policy]}"
    reasons.sentences["loss"] = f"each of {len(counts)} labels for itself, averaged over the known ones of a batch"
    why = "for each label two parameters, fewer where it has few events, fitted on val"
    return {
        "loss": "binary cross-entropy",
        "imbalance": plan_imbalance(recipe, counts, reasons, exclusive=False),
        "calibration": reasons.choose("calibration.method", recipe.calibration.method, "platt", why),
        "uncertain": policies[0],
        "blank": policies[1],
    }
