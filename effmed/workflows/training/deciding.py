"""From the data to the plan and the decoded images; what is decided is told."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from effmed.data.cache import open_cache
from effmed.data.fingerprint import Fingerprint, make_fingerprint
from effmed.data.scan import check_unreadable, scan
from effmed.data.split import (
    assign_folds,
    assign_splits,
    check_classes,
    check_folds,
    fold_table,
    folds_of,
    shared_between_folds,
    shared_patients,
)
from effmed.learn.choosing import choose_variant
from effmed.learn.fitting import check_head
from effmed.learn.fitting.depth import check_depth
from effmed.learn.machine.device import find_machine
from effmed.learn.machine.probe import measure_network, measure_speed
from effmed.learn.network import build_network, check_size_fits, takes_one_size
from effmed.learn.plan import Plan, Reasons, make_plan, plan_fused, plan_precision
from effmed.learn.scaling import AUTO, find_variant
from effmed.learn.weights.candidates import find_candidates
from effmed.learn.weights.find import find_native_input
from effmed.workflows.scoring import tell_of_ids
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.training.showing.trackers import check_tracker
from effmed.workflows.values import Training

if TYPE_CHECKING:
    from effmed.data.cache import Cache
    from effmed.data.records import Manifest
    from effmed.learn.weights.find import StartingWeights


def plan(training: Training, talk: Talk) -> Plan:
    """Decide everything up to the first write; see ``effmed.workflows.plan``."""
    divided = divide(training, talk)
    decided = decide(choose(training, divided, talk), divided)[1]
    _warn(decided, talk)
    return decided


def divide(training: Training, talk: Talk) -> Manifest:
    """Find the images, and divide them by patient."""
    check_tracker(training.recipe.train)
    _check_variant(training)  # a wrong name is refused before minutes of reading
    settings = training.recipe.data
    tell_of_ids(settings, talk)
    reading = progress_of(talk, "reading headers")
    manifest = assign_splits(scan(training.data, training.labels, settings, on_progress=reading), settings)
    if training.recipe.train.folds > 1:
        manifest = assign_folds(manifest, training.recipe.train.folds, settings.split_seed)
    for item in manifest.unreadable:
        talk.warn(f"unreadable: {item.image}: {item.reason} ({item.hint})")
    for sentence in manifest.reasons.values():
        talk.say(sentence)
    talk.say(f"patients shared between splits: {shared_patients(manifest)}")
    if folds_of(manifest):
        _tell_of_folds(manifest, talk)
    return manifest


def _tell_of_folds(manifest: Manifest, talk: Talk) -> None:
    for row in fold_table(manifest).to_dict("records"):
        held = ", ".join(f"{name} {row[name]}" for name in manifest.classes)
        talk.say(f"fold {row['fold']}: {row['images']} images of {row['patients']} patients ({held})")
    talk.say(f"patients shared between folds: {shared_between_folds(manifest)}")


def _check_variant(training: Training) -> None:
    if training.variant == AUTO:
        find_candidates(training.recipe.model.weights)
    else:
        find_variant(training.variant)


def choose(training: Training, manifest: Manifest, talk: Talk) -> Training:
    """Put the variant that suits data and machine in the place of "auto"."""
    if training.variant != AUTO:
        return training
    recipe = training.recipe
    machine = find_machine(recipe.train.device)
    if recipe.train.time_budget_min:
        talk.say("measuring how fast this machine trains")
        threads = machine.cores if recipe.train.threads == "auto" else recipe.train.threads
        precision = plan_precision(recipe, machine, Reasons())
        compiles = recipe.train.compile is True
        fused = plan_fused(recipe, machine, Reasons(), precision=precision, compiles=compiles)
        speed = measure_speed(machine.device, precision, threads, fused=fused)
        machine = replace(machine, speed=speed)
    fingerprint = make_fingerprint(manifest, recipe.data)
    variant, reason = choose_variant(recipe, fingerprint, machine, find_candidates(recipe.model.weights))
    talk.say(f"variant {variant.name}: {reason}")
    return replace(training, variant=variant.name, chosen_because=reason)


def decode(
    training: Training, manifest: Manifest, start: StartingWeights, talk: Talk
) -> tuple[Manifest, Fingerprint, Plan, Cache]:
    """Decide, and decode all images; without those that cannot be decoded, decide again."""
    fingerprint, decided = decide(training, manifest)
    _tell(decided, fingerprint, talk)
    _check_start(decided, start)
    cache = open_images(manifest, decided, talk)
    if not cache.failures:
        return manifest, fingerprint, decided, cache
    readable = manifest.without(cache.failures)
    check_unreadable(len(manifest), readable.unreadable, training.recipe.data)
    check_classes(readable)
    if folds_of(readable):
        check_folds(readable)
    talk.warn(f"{len(cache.failures)} images could not be decoded and are left out; manifest.csv does not hold them")
    fingerprint, decided = decide(training, readable)
    return readable, fingerprint, decided, open_images(readable, decided, talk)


def decide(training: Training, manifest: Manifest, *, measures: bool = True) -> tuple[Fingerprint, Plan]:
    """Look at the data and measure the network, and decide everything that training needs."""
    recipe = training.recipe
    variant = find_variant(training.variant)
    fingerprint = make_fingerprint(manifest, recipe.data)
    native = replace(find_native_input(variant, recipe.model.weights), is_fixed=takes_one_size(variant))
    machine = find_machine(recipe.train.device)
    decided = make_plan(recipe, fingerprint, variant, native, machine, training.chosen_because)
    check_size_fits(decided)
    if decided.depth == "head" or not measures:
        return fingerprint, decided
    asks = recipe.train.precision == "auto"
    measured = asdict(measure_network(build_network(decided), decided, asks_precision=asks))
    machine = replace(machine, **measured)
    return fingerprint, make_plan(recipe, fingerprint, variant, native, machine, training.chosen_because)


def _check_start(decided: Plan, start: StartingWeights) -> None:
    """Refuse weights that cannot be started from, before minutes of decoding."""
    if start.tensors is None:
        return
    network = build_network(decided, start.tensors, keep_head=start.head == decided.head)
    if decided.depth == "head":
        check_head(network, decided)
    check_depth(network, decided)


def _tell(decided: Plan, fingerprint: Fingerprint, talk: Talk) -> None:
    told = ("test",) if decided.folds > 1 else fingerprint.images_per_split  # the folds are told already
    for split in told:
        n_images = fingerprint.images_per_split[split]
        talk.say(f"{split}: {n_images} images of {fingerprint.patients_per_split[split]} patients")
    size = decided.preprocessing
    talk.say(
        f"plan: {decided.variant} at {size.size_text}, {size.channels} channel(s), {decided.epochs} epochs, batches of "
        f"{decided.batch_size}, learning rate {decided.learning_rate:g}, {decided.loss}, {decided.device_name}"
    )
    _warn(decided, talk)


def _warn(decided: Plan, talk: Talk) -> None:
    for sentence in decided.warnings:
        talk.warn(sentence)


def open_images(manifest: Manifest, decided: Plan, talk: Talk) -> Cache:
    """Decode what is not decoded yet."""
    on_progress = progress_of(talk, "decoding images")
    return open_cache(manifest, decided.preprocessing, workers=decided.threads, on_progress=on_progress)
