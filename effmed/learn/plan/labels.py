"""What the outputs learn: the task, the loss and its weights, and how logits become probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.learn.plan.reasons import Reasons
    from effmed.recipe import Recipe


def plan_loss(recipe: Recipe, fingerprint: Fingerprint, reasons: Reasons) -> dict[str, object]:
    """Return the loss of classes that exclude each other, their weights, and the calibration."""
    counts = fingerprint.train_images_per_class
    binary = len(counts) == 2
    spread = ", ".join(f"{name} {count}" for name, count in counts.items())
    why = f"training images: {spread}; weighting distorts probabilities and rarely helps the AUROC"
    method = reasons.choose("imbalance.method", recipe.imbalance.method, "none", why)
    weights = (1.0,) * len(counts)
    if method == "weights":
        weights = tuple(sum(counts.values()) / (len(counts) * count) for count in counts.values())
    why = "two parameters for two classes" if binary else "one temperature and a bias per class"
    fitted = "platt" if binary else "bias-corrected-temperature"
    reasons.sentences["loss"] = f"one of {len(counts)} exclusive classes per image"
    return {
        "loss": "binary cross-entropy" if binary else "cross-entropy",
        "class_weights": weights,
        "calibration": reasons.choose("calibration.method", recipe.calibration.method, fitted, f"{why}, fitted on val"),
    }
