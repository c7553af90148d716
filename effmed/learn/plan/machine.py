"""What the machine decides: images at a time, precision, threads, memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from effmed.errors import RecipeError
from effmed.learn.plan.resolution import size_text
from effmed.learn.plan.values import SET_BY_RECIPE

if TYPE_CHECKING:
    from effmed.learn.plan.values import Machine, Plan, Reasons
    from effmed.recipe import Recipe

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

# Sizes chosen by runs on chest radiographs and ultrasound images; see docs/results.md.
BATCH_MAX = {"cpu": 32, "cuda": 64, "mps": 32}
BATCH_MIN = 8
STEPS_PER_EPOCH_MIN = 10
BATCH_PIXELS = 32 * 300 * 300
# Share of the device's memory that a step may take as measured or estimated. On a CPU (and on MPS, which shares its
# memory) the same memory holds images, other processes and the system.
MEMORY_FRACTION = {"cuda": 0.7, "cpu": 0.5, "mps": 0.5}
MICRO_MIN = 8  # fewer images at a time make batch normalisation noisy: blocks are computed twice before that
CHECKPOINTED_FRACTION = 0.55  # of an image's memory, where blocks are computed twice: B0 at 224 px took 0.34 to 0.50
SHARED_BELOW = 16  # images at a time of a process, below which statistics of batch normalisation are shared
FASTER = 1.1  # times as fast as float32, from which on half precision is worth its rounding
COMPILED_FROM = 500_000  # images seen, from which on minutes of compiling are got back: 1.2 to 1.4 times as fast
FUSED_GAIN = 1.6  # times as fast: a step of B0 at 224 px, 32 images, on two cores without AVX-512; docs/results.md
BYTES_PER_GB = 1e9


def plan_batch(recipe: Recipe, n_train: int, image_size: tuple[int, int], machine: Machine, reasons: Reasons) -> int:
    """Return the images of a step: as the devices hold, but enough steps per epoch; a power of two per process."""
    by_memory = BATCH_PIXELS // (image_size[0] * image_size[1]) * BATCH_MAX[machine.device] // BATCH_MAX["cpu"]
    by_steps = n_train // STEPS_PER_EPOCH_MIN // machine.processes
    limit = max(BATCH_MIN, min(by_memory, by_steps, BATCH_MAX[machine.device]))
    size = 1 << (limit.bit_length() - 1)  # the power of two at or below
    steps = f"at least {STEPS_PER_EPOCH_MIN} steps"
    why = f"{n_train} training images in {steps}, {size_text(image_size)} px on {machine.device}"
    why += f", {size} for each of {machine.processes} processes" if machine.processes > 1 else ""
    return reasons.choose("train.batch_size", recipe.train.batch_size, size * machine.processes, why)


def plan_precision(recipe: Recipe, machine: Machine, reasons: Reasons) -> Precision:
    """Return the autocast type that suits the device."""
    half: Precision = "bfloat16" if machine.has_bfloat16 else "float16"
    if machine.device == "cuda":
        return reasons.choose("train.precision", recipe.train.precision, half, f"{machine.name} computes {half} fast")
    gain = machine.bfloat16_gain
    automatic: Precision = "bfloat16" if gain >= FASTER else "float32"
    measured = f"bfloat16 is {gain:.2f} times as fast as float32 here, measured on this network"
    why = measured if gain else f"exact; not measured whether bfloat16 is faster on {machine.device}"
    return reasons.choose("train.precision", recipe.train.precision, automatic, why)


def plan_memory(recipe: Recipe, batch_size: int, machine: Machine, reasons: Reasons) -> dict[str, object]:
    """Return how many images a process takes at a time, and whether it computes blocks twice to hold them.

    Raises:
        RecipeError: Each process would have a single image, or nothing to mix it with.
    """
    train = recipe.train
    _check_shares(batch_size, machine.processes)
    largest = math.ceil(batch_size / machine.processes)
    plain, checkpointed = (_fitting(largest, machine, share) for share in (1.0, CHECKPOINTED_FRACTION))
    twice = machine.can_checkpoint and plain < min(MICRO_MIN, largest) and checkpointed > plain
    whole = f"{machine.memory_bytes / BYTES_PER_GB:.1f} GB"
    each = f"an image takes {machine.image_bytes / 1e6:.0f} MB of {whole}" if machine.image_bytes else "not measured"
    checkpointing = reasons.choose("train.gradient_checkpointing", train.gradient_checkpointing, twice, each)
    fitting = checkpointed if checkpointing else plain
    why = (
        f"a whole step fits: {each}"
        if fitting == largest
        else f"gradients of parts are added up, batch normalisation sees each part: {each}"
    )
    micro = reasons.choose(
        "train.micro_batch", train.micro_batch, fitting, why if machine.image_bytes else "a whole step"
    )
    if micro < 2 and (train.mixup or train.cutmix):
        problem = "train.micro_batch = 1: one image at a time has no other to be mixed with"
        raise RecipeError(problem, hint="--set train.micro_batch=2 or more, or leave train.mixup and train.cutmix out")
    few = f"{min(micro, largest)} images at a time in each of {machine.processes} processes"
    alone = "without effect: one process" if machine.processes == 1 else few
    automatic = machine.processes > 1 and min(micro, largest) < SHARED_BELOW
    return {
        "micro_batch": min(micro, largest),
        "processes": machine.processes,
        "gradient_checkpointing": checkpointing,
        "share_statistics": reasons.choose("train.share_statistics", train.share_statistics, automatic, alone),
    }


def for_processes(plan: Plan, n_processes: int) -> Plan:
    """Return a plan that another number of processes continues; the images of a step stay the same.

    What was taken at a time because of memory stays so.

    Raises:
        RecipeError: There are too many processes for the images of a step.
    """
    _check_shares(plan.batch_size, n_processes)
    share, before = (math.ceil(plan.batch_size / n) for n in (n_processes, plan.processes))
    micro = share if plan.micro_batch == before else min(share, plan.micro_batch)
    reason = f"{micro} images at a time in each of {n_processes} processes"
    wanted = plan.reasons["train.share_statistics"] == SET_BY_RECIPE
    shares = plan.share_statistics if wanted else n_processes > 1 and micro < SHARED_BELOW
    reasons = plan.reasons | ({} if wanted else {"train.share_statistics": reason})
    changes = {"processes": n_processes, "micro_batch": micro, "share_statistics": shares, "reasons": reasons}
    return plan.model_copy(update=changes)


def _check_shares(batch_size: int, n_processes: int) -> None:
    """Refuse steps in which a process would have a single image: batch normalisation cannot learn from one."""
    if n_processes > 1 and batch_size < 2 * n_processes:
        problem = f"train.batch_size = {batch_size} is too few for {n_processes} processes, two images each"
        raise RecipeError(problem, hint=f"--set train.batch_size={2 * n_processes} or more, or fewer processes")


def _fitting(largest: int, machine: Machine, image_fraction: float) -> int:
    """Halve the images at a time until they fit into memory; two at least."""
    if not machine.image_bytes or not machine.memory_bytes:
        return largest
    devices = machine.processes if machine.device == "cpu" else 1
    limit = MEMORY_FRACTION[machine.device] * machine.memory_bytes / devices - machine.fixed_bytes
    n = largest
    while n > 2 and n * image_fraction * machine.image_bytes > limit:
        n = math.ceil(n / 2)
    return n


def plan_machine(recipe: Recipe, machine: Machine, n_seen: int, reasons: Reasons) -> dict[str, object]:
    """Return the device, and the precision and threads that suit it.

    Args:
        recipe: What is wanted.
        machine: Where the network will run.
        n_seen: Training images times epochs.
        reasons: Gets the sentences.

    Raises:
        RecipeError: Memory is to be kept, or layers are to be fused, but cannot.
    """
    train = recipe.train
    reasons.sentences["train.device"] = machine.name
    if train.keep_memory is True and not machine.can_keep_memory:
        problem = "train.keep_memory = true, but the C library of this machine cannot be told"
        raise RecipeError(problem, hint="leave train.keep_memory at auto")
    keeps = machine.device == "cpu" and machine.can_keep_memory
    kept = (
        "freed memory is kept for the next step: faster on a CPU, and takes about a quarter more memory"
        if keeps
        else "of use on a CPU alone, where the C library is glibc"
    )
    compiles = reasons.choose("train.compile", train.compile, *_compiling(recipe, machine, n_seen))
    precision = plan_precision(recipe, machine, reasons)
    fuses = plan_fused(recipe, machine, reasons, precision=precision, compiles=compiles)
    if train.time_budget_min:
        reasons.sentences["train.time_budget_min"] = f"{train.time_budget_min:g} min, {SET_BY_RECIPE}"
    return {
        "device": machine.device,
        "device_name": machine.name,
        "precision": precision,
        "threads": reasons.choose(
            "train.threads",
            train.threads,
            machine.cores,
            "cores that this process may use (affinity, SLURM, OMP_NUM_THREADS)",
        ),
        "keep_memory": reasons.choose("train.keep_memory", train.keep_memory, keeps, kept),
        "fused_layers": fuses,
        "compile": compiles,
        "time_budget_min": train.time_budget_min,
        "checkpoint_min": train.checkpoint_min,
    }


def _compiling(recipe: Recipe, machine: Machine, n_seen: int) -> tuple[bool, str]:
    """Return whether torch.compile pays, and why."""
    train = recipe.train
    pays = machine.can_compile and n_seen >= COMPILED_FROM and train.progressive == 1 and train.depth != "head"
    why = f"{n_seen:,} images seen on {machine.device}: compiling pays from {COMPILED_FROM:,} on CUDA on"
    why += "" if machine.can_compile or machine.device != "cuda" else "; Triton or a compiler of C is missing"
    return pays, why


def plan_fused(recipe: Recipe, machine: Machine, reasons: Reasons, *, precision: Precision, compiles: bool) -> bool:
    """Return whether layers compute with effmed's own kernels.

    Raises:
        RecipeError: They are wanted, but cannot be.
    """
    obstacles = (
        (machine.device != "cpu", "they are for CPUs"),
        (compiles, "torch.compile cannot look into them"),
        (precision != "float32", f"they compute in float32, not in {precision}"),
        (recipe.train.depth == "head", "the head learns alone"),
        (not machine.can_fuse, machine.fused_by),
    )
    why_not = next((why for is_so, why in obstacles if is_so), "")
    if recipe.train.fused_layers is True and why_not:
        hint = "leave train.fused_layers at auto"
        raise RecipeError(f"train.fused_layers = true, but layers stay those of torch: {why_not}", hint=hint)
    why = f"compiled by {machine.fused_by}: B0 learns {FUSED_GAIN:g} times as fast"
    why = f"layers of torch: {why_not}" if why_not else why
    return reasons.choose("train.fused_layers", recipe.train.fused_layers, not why_not, why)
