"""``--variant auto``: the largest network that images, patients, memory and time allow, and why (no torch).

Four limits, each of which allows the smaller networks and refuses the larger ones. Larger images, more patients, more
memory or more time therefore never lead to a smaller network, as long as the rest stays the same. (More images of the
same patients take longer, which counts against a time budget.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from effmed.learn.plan.fitting import plan_epochs
from effmed.learn.plan.machine import MEMORY_FRACTION, plan_batch, plan_precision
from effmed.learn.plan.values import Reasons
from effmed.learn.scaling.costs import BYTES_PER_FLOAT32, training_bytes, training_seconds
from effmed.recipe import input_sides

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.learn.plan.values import Machine
    from effmed.learn.scaling import Variant
    from effmed.learn.scaling.stages import StageTable
    from effmed.learn.weights.candidates import Candidates
    from effmed.recipe import Recipe

# A step of φ doubles the multiply-adds, and is taken for twice the patients. A rule of thumb of ours: on medical
# images large networks gain little over small ones (Raghu et al., Transfusion, NeurIPS 2019), and B0 itself is
# fine-tuned on a few hundred patients.
PATIENTS_AT_BASE = 250
PATIENTS_PER_PHI = 2.0
BYTES_PER_HALF = 2
MANY_IMAGES = 10**9  # so many that the batch is as large as the device holds: more images shall not need more memory
BYTES_PER_GB = 1e9
SECONDS_PER_MINUTE = 60.0


@dataclass(frozen=True)
class _Facts:
    """What the limits are made of.

    Attributes:
        recipe: What is wanted.
        machine: Where the network will run.
        side_px: Longer side of the images as the network may see them.
        n_patients: In train; images where no patient is known.
        counted: What ``n_patients`` counts, in words.
        n_train: Images in train.
        n_val: Images in val.
    """

    recipe: Recipe
    machine: Machine
    side_px: float
    n_patients: int
    counted: str
    n_train: int
    n_val: int

    @property
    def budget_s(self) -> float:
        """Seconds that training may take, 0 for no limit."""
        return self.recipe.train.time_budget_min * SECONDS_PER_MINUTE


def choose_variant(
    recipe: Recipe, fingerprint: Fingerprint, machine: Machine, candidates: Candidates
) -> tuple[Variant, str]:
    """Choose the largest network within four limits; the smallest where none is.

    The limits: no input larger than the images (or ``model.image_size``); 250 × 2^φ training patients for φ > 0; the
    memory of a step; the time budget, where there is one.

    Args:
        recipe: What is wanted.
        fingerprint: What the data is; its splits are made.
        machine: Where the network will run; its speed is known where ``train.time_budget_min`` is set.
        candidates: Among which to choose, one at least. Of two, the one that is larger and no more accurate on ImageNet
            is left out: B0 is smaller than Lite1, and better.

    Returns:
        The variant, and the reason in words: which limit refuses the next larger one.
    """
    facts = _gather(recipe, fingerprint, machine)
    ordered = _worth_it(candidates)
    fitting = [variant for variant in ordered if not _against(variant, facts)]
    among = f"of {', '.join(variant.name for variant in ordered)}, {candidates.why}"
    if not fitting:
        return ordered[0], f"the smallest {among}; it too is beyond a limit: {', '.join(_against(ordered[0], facts))}"
    chosen = fitting[-1]
    larger = ordered[ordered.index(chosen) + 1 :]
    refused = (
        f"{larger[0].name} is not: {', '.join(_against(larger[0], facts))}" if larger else "there is no larger one"
    )
    return chosen, f"the largest {among}, that is within {_limits(facts)}; {refused}"


def _gather(recipe: Recipe, fingerprint: Fingerprint, machine: Machine) -> _Facts:
    n_patients, n_train = fingerprint.patients_per_split["train"], fingerprint.images_per_split["train"]
    return _Facts(
        recipe=recipe,
        machine=machine,
        side_px=_side(recipe, fingerprint),
        n_patients=n_patients or n_train,
        counted="training patients" if n_patients else "training images (no patient is known)",
        n_train=n_train,
        n_val=fingerprint.images_per_split["val"],
    )


def _side(recipe: Recipe, fingerprint: Fingerprint) -> float:
    """The longer side fills the network's input: the smaller one is padded."""
    wanted = recipe.model.image_size
    return max(fingerprint.height_px[1], fingerprint.width_px[1]) if wanted == "auto" else max(input_sides(wanted))


def _worth_it(candidates: Candidates) -> list[Variant]:
    """Order by multiply-adds, without those that are no more accurate than a smaller one."""
    both = zip(candidates.variants, candidates.top1_percent, strict=True)
    kept: list[Variant] = []
    best = -1.0
    for variant, top1 in sorted(both, key=lambda each: (_multiply_adds(each[0]), -each[1])):
        if top1 > best:
            kept.append(variant)
            best = top1
    return kept


def _multiply_adds(variant: Variant) -> int:
    counts = variant.counts(variant.resolution_px)
    return 0 if counts is None else counts.multiply_adds


def _limits(facts: _Facts) -> str:
    memory = f"{facts.machine.memory_bytes / BYTES_PER_GB:.0f} GB of memory" if facts.machine.memory_bytes else ""
    time = f"{facts.recipe.train.time_budget_min:g} min" if facts.budget_s else ""
    named = [f"{facts.side_px:.0f} px", f"{facts.n_patients:,} {facts.counted}", memory, time]
    unlimited = [] if memory else ["memory unknown"]
    unlimited += [] if time else ["no time budget"]
    return " and ".join([", ".join(text for text in named if text), *unlimited])


def _against(variant: Variant, facts: _Facts) -> list[str]:
    """Return what speaks against a variant, a sentence for each limit that refuses it."""
    table = variant.scaled_table
    side = _planned_side(variant, facts.recipe)
    costs = [] if table is None else [_too_much_memory(table, side, facts), _too_much_time(table, side, facts)]
    return [text for text in (_too_small_images(variant, facts), _too_few_patients(variant, facts), *costs) if text]


def _planned_side(variant: Variant, recipe: Recipe) -> int:
    """Return the side of the square that has about as many pixels as the input."""
    wanted = recipe.model.image_size
    return variant.resolution_px if wanted == "auto" else round(math.sqrt(math.prod(input_sides(wanted))))


def _too_small_images(variant: Variant, facts: _Facts) -> str:
    if variant.resolution_px <= facts.side_px:
        return ""
    whose = "images of" if facts.recipe.model.image_size == "auto" else "model.image_size ="
    return f"it is made for {variant.resolution_px} px, more than {whose} {facts.side_px:.0f} px show"


def _too_few_patients(variant: Variant, facts: _Facts) -> str:
    needed = round(PATIENTS_AT_BASE * PATIENTS_PER_PHI**variant.phi) if variant.phi else 0
    if facts.n_patients >= needed:
        return ""
    return f"it is taken from {needed:,} {facts.counted} on ({PATIENTS_AT_BASE} × 2^φ for φ = {variant.phi:g})"


def _too_much_memory(table: StageTable, side: int, facts: _Facts) -> str:
    machine = facts.machine
    alone = replace(machine, processes=1)  # each process has a device of its own
    batch = plan_batch(facts.recipe, MANY_IMAGES, (side, side), alone, Reasons())
    is_full = plan_precision(facts.recipe, machine, Reasons()) == "float32"
    n_bytes = training_bytes(table, side, batch, bytes_per_number=BYTES_PER_FLOAT32 if is_full else BYTES_PER_HALF)
    share = MEMORY_FRACTION[machine.device]
    if not machine.memory_bytes or n_bytes <= share * machine.memory_bytes:
        return ""
    whole = f"{share:.0%} of {machine.memory_bytes / BYTES_PER_GB:.1f} GB"
    return f"a step of {batch} images takes about {n_bytes / BYTES_PER_GB:.1f} GB, more than {whole}"


def _epochs(facts: _Facts) -> int:
    depth = facts.recipe.train.depth
    return plan_epochs(facts.recipe, "all" if depth == "auto" else depth, facts.n_train, Reasons())


def _too_much_time(table: StageTable, side: int, facts: _Facts) -> str:
    if not facts.budget_s:
        return ""
    epochs = _epochs(facts)
    n_networks = max(facts.recipe.train.folds, facts.recipe.train.seeds)
    n_train, n_val = epochs * facts.n_train, epochs * facts.n_val
    if facts.recipe.train.depth == "head":  # the backbone runs once over each image, and learns nothing
        wanted = facts.recipe.train.views
        n_train, n_val = 0, (1 if wanted == "auto" else wanted) * facts.n_train + facts.n_val
    estimated_s = n_networks * training_seconds(table, side, n_train=n_train, n_val=n_val, speed=facts.machine.speed)
    if estimated_s <= facts.budget_s:
        return ""
    minutes, budget = estimated_s / SECONDS_PER_MINUTE, facts.recipe.train.time_budget_min
    of = f" of {n_networks} networks" if n_networks > 1 else ""
    return f"{epochs} epochs{of} take about {minutes:,.1f} min, more than the {budget:g} of train.time_budget_min"
