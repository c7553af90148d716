"""What is done about rare classes while learning, and what each method does to the probabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effmed.errors import RecipeError
from effmed.learn.plan.values import Imbalance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effmed.learn.plan.values import Reasons
    from effmed.recipe import ImbalanceSettings, Recipe

# van den Goorbergh et al. (JAMIA 2022) and Carriero et al. (Stat Med 2025): doing nothing was as good as every
# correction or better, and corrections distort probabilities. Where a class is rarer than this and has fewer images,
# logits are adjusted all the same, for the gradient's sake: both limits are ours, and nobody measured them.
RARE_FRACTION, RARE_EVENTS = 0.01, 100
OWN_KEYS = {
    "effective-number": ("effective_beta",),
    "focal": ("focal_gamma",),
    "logit-adjust": ("adjust_tau",),
    "sampler": ("sampler_balance",),
    "asymmetric": ("asymmetric_present", "asymmetric_absent"),
}


def plan_imbalance(
    recipe: Recipe, counts: Mapping[str, Sequence[int]], reasons: Reasons, *, exclusive: bool
) -> Imbalance:
    """Return what is done about rare classes.

    Args:
        recipe: What is wanted.
        counts: Training images of each class; of labels that do not exclude each other (absent, present) of each.
        reasons: Are told the counts, and what the method makes of them.
        exclusive: Whether classes exclude each other.

    Raises:
        RecipeError: The method is for the other kind of labels, or a key is of another method.
    """
    settings = recipe.imbalance
    groups = [tuple(each[0] for each in counts.values())] if exclusive else [tuple(each) for each in counts.values()]
    spread = ", ".join(
        f"{name} {each[0]}" if exclusive else f"{name} {each[1]} of {sum(each)}" for name, each in counts.items()
    )
    rare = [group for group in groups if min(group) / sum(group) < RARE_FRACTION and min(group) < RARE_EVENTS]
    is_rare = bool(rare)
    why = (
        f"the rarest has {min(rare[0]) / sum(rare[0]):.2%} of the images, {min(rare[0])} of them"
        if is_rare
        else "weighting distorts probabilities and rarely helps the AUROC"
    )
    method = reasons.choose("imbalance.method", settings.method, "logit-adjust" if is_rare else "none", why)
    _check_keys(settings, method, exclusive=exclusive)
    made = _make(settings, method, groups, exclusive=exclusive)
    reasons.sentences["imbalance.method"] += f"; training images: {spread}{_effect_text(made)}"
    return made


def _check_keys(settings: ImbalanceSettings, method: str, *, exclusive: bool) -> None:
    if (method == "asymmetric" and exclusive) or (method == "sampler" and not exclusive):
        kind = "labels that do not exclude each other" if exclusive else "classes that exclude each other"
        raise RecipeError(f"imbalance.method = {method} is for {kind}", hint="--set imbalance.method=weights, or none")
    of_others = {key for owner, keys in OWN_KEYS.items() if owner != method for key in keys}
    idle = [f"imbalance.{key}" for key in settings.changed if key in of_others]
    if settings.minority_augment > 1 and not exclusive:
        idle.append("imbalance.minority_augment")
    if idle:
        problem = f"{' and '.join(idle)}: without meaning for imbalance.method = {method} of this data"
        raise RecipeError(problem, hint="leave that out")


def _make(settings: ImbalanceSettings, method: str, groups: Sequence[Sequence[int]], *, exclusive: bool) -> Imbalance:
    flat = [count for group in groups for count in group]
    weights, drawn = [1.0] * len(flat), [1.0] * len(flat)
    offsets = [0.0] * (len(groups[0]) if exclusive and len(groups[0]) > 2 else len(groups))
    if method == "weights":
        weights = [sum(group) / (len(group) * count) for group in groups for count in group]
    elif method == "effective-number":
        weights = [weight for group in groups for weight in _effective_weights(group, settings.effective_beta)]
    elif method == "logit-adjust":
        logs = [math.log(count / sum(group)) for group in groups for count in group]
        of_pairs = [present - absent for absent, present in zip(logs[::2], logs[1::2], strict=False)]
        offsets = [settings.adjust_tau * each for each in (logs if len(offsets) == len(logs) else of_pairs)]
    elif method == "sampler":
        shares, b = [count / sum(flat) for count in flat], settings.sampler_balance
        drawn = [((1 - b) * share + b / len(flat)) / share for share in shares]
    focus = {
        "focal": (settings.focal_gamma,) * 2,
        "asymmetric": (settings.asymmetric_present, settings.asymmetric_absent),
    }
    average = sum(flat) / len(flat)
    strength = [settings.minority_augment if count < average and exclusive else 1.0 for count in flat]
    return Imbalance(
        method=method,
        weights=tuple(weights),
        drawn=tuple(drawn),
        offsets=tuple(offsets),
        focus=focus.get(method, (0.0, 0.0)),
        augment=tuple(strength),
    )


def _effective_weights(counts: Sequence[int], beta: float) -> list[float]:
    """Return weights in inverse proportion to the effective number of images, with the average image at 1.

    Source:
        Cui, Jia, Lin, Song and Belongie, Class-Balanced Loss Based on Effective Number of Samples (CVPR 2019), eq. 2.
    """
    inverse = [(1 - beta) / -math.expm1(count * math.log(beta)) for count in counts]
    average = sum(count * each for count, each in zip(counts, inverse, strict=True)) / sum(counts)
    return [each / average for each in inverse]


def _effect_text(made: Imbalance) -> str:
    """Say in numbers what the method does."""
    parts = {
        "weights": made.weights if set(made.weights) != {1.0} else (),
        "drawn by factors": made.drawn if set(made.drawn) != {1.0} else (),
        "added to the logits while learning": made.offsets if any(made.offsets) else (),
        "exponents": made.focus if any(made.focus) else (),
        "augmented by factors": made.augment if set(made.augment) != {1.0} else (),
    }
    return "".join(f"; {name}: {', '.join(f'{one:.3g}' for one in each)}" for name, each in parts.items() if each)
