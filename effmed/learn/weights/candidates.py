"""The variants among which ``--variant auto`` chooses: those whose weights can be had (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from effmed.errors import MachineError, RecipeError
from effmed.learn.scaling import VARIANTS, Variant
from effmed.learn.weights.places import find_here, offline_switch
from effmed.learn.weights.sets import SETS, WeightSet

# The law of compound scaling in its published steps. B8, L2 and V2 stay out: B8 and L2 are beyond what a single device
# trains in a day, and V2 is another family, whose steps are not comparable with these by φ. Lite3 and Lite4 too, whose
# weights were trained at other sides than planned.
CONSIDERED = ("lite0", "lite1", "lite2", "b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")


@dataclass(frozen=True)
class Candidates:
    """What may be chosen.

    Attributes:
        variants: In any order.
        top1_percent: Top-1 accuracy on ImageNet-1k of the weights that each would start from.
        why: Why these, in words.
    """

    variants: tuple[Variant, ...]
    top1_percent: tuple[float, ...]
    why: str


def find_candidates(setting: str) -> Candidates:
    """Return the variants that can start as ``model.weights`` says.

    Where the network is forbidden, these are the ones whose weights lie on this machine. Where it is allowed, what lies
    here makes no difference: a package that happens to be installed shall not decide which network is trained.

    Args:
        setting: ``model.weights``: "auto", "none", or the tag of a set.

    Raises:
        RecipeError: The setting is no tag that any of the variants has: a file's network is not ours to choose.
        MachineError: The network is forbidden and none of the weights are on this machine; or $EFFMED_WEIGHTS is no
            folder.
    """
    sets = [each for name in CONSIDERED if (each := _find_set(name, setting)) is not None]
    if not sets:
        problem = f"model.weights = {setting!r} is for one network, and --variant auto chooses among {len(CONSIDERED)}"
        raise RecipeError(problem, hint="name the variant that the weights belong to: --variant b4")
    if setting == "none":
        return _candidates(sets, "none of which needs weights")
    switch = offline_switch()
    if not switch:
        return _candidates(sets, "whose weights are here or can be downloaded")
    here = [each for each in sets if find_here(each) is not None]
    if not here:
        problem = f"{switch} forbids the network, and --variant auto finds no weights of {_names(sets)} on this machine"
        hint = "set EFFMED_WEIGHTS to a folder that 'effmed weights fetch' filled, or --set model.weights=none"
        raise MachineError(problem, hint=hint)
    return _candidates(here, f"whose weights are on this machine ({switch})")


def _find_set(variant: str, setting: str) -> WeightSet | None:
    """Return the set that a setting means; that of "none" tells how accurate the network can be."""
    wanted = (each for each in SETS[variant] if setting in ("auto", "none", each.tag))
    return next(wanted, None)


def _candidates(sets: list[WeightSet], why: str) -> Candidates:
    variants = tuple(VARIANTS[each.variant] for each in sets)
    return Candidates(variants, tuple(each.top1_percent or 0.0 for each in sets), why)


def _names(sets: list[WeightSet]) -> str:
    return ", ".join(each.variant for each in sets)
