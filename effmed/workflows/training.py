"""``effmed train``: data → plan → run folder with bundle, predictions and report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import yaml

from effmed.apply.predict import join_images, with_labels
from effmed.data.audit import audit_manifest
from effmed.data.cache import open_cache
from effmed.data.fingerprint import Fingerprint, make_fingerprint
from effmed.data.pseudonyms import KEY_ID, make_pseudonyms
from effmed.data.records import PROVENANCE, read_manifest, write_manifest
from effmed.data.scan import check_unreadable, scan
from effmed.data.split import assign_splits, check_classes, shared_patients
from effmed.errors import BundleError
from effmed.evaluate.predictions import Scores, make_predictions, write_predictions
from effmed.evaluate.render import write_report
from effmed.evaluate.report import make_report
from effmed.learn.bundle import (
    BundleSheet,
    make_card,
    read_checkpoint,
    read_start,
    weights_digest,
    write_bundle,
    write_checkpoint,
    write_start,
)
from effmed.learn.choosing import choose_variant
from effmed.learn.fitting import Epoch, TrainingState, fit, head_of, predict_logits, read_features, start_training
from effmed.learn.loader import Images, ordered_batches
from effmed.learn.machine.probe import measure_speed
from effmed.learn.network import build_network, check_size_fits, find_machine, takes_one_size
from effmed.learn.plan import Plan, Reasons, make_plan, plan_precision
from effmed.learn.scaling import AUTO, find_variant
from effmed.learn.weights.candidates import find_candidates
from effmed.learn.weights.find import find_native_input, read_weights
from effmed.recipe import make_recipe, recipe_text
from effmed.run import Run, append_line, check_writable, make_run_folder, newest_run, write_json, write_text
from effmed.workflows.auditing import audit_record, blocking, check_audit
from effmed.workflows.checkup import environment
from effmed.workflows.fetching import make_listener
from effmed.workflows.judging.tables import headline
from effmed.workflows.scoring import make_context, make_thumbnails, tell_of_ids, with_record
from effmed.workflows.scoring.choosing import decide_on_val, truth_of
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.values import Trained, Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from effmed.data.audit import Finding
    from effmed.data.cache import Cache
    from effmed.data.records import Manifest
    from effmed.evaluate.predictions import Predictions
    from effmed.learn.loader import Examples

RUN_SPACE_MB = 200  # weights, best weights, optimiser state and bundle of the larger variants
Weights: TypeAlias = dict[str, torch.Tensor]
Module: TypeAlias = torch.nn.Module


@dataclass(frozen=True)
class _Job:
    """One training under way: where, what was decided, on which images."""

    run: Run
    plan: Plan
    fingerprint: Fingerprint
    manifest: Manifest
    cache: Cache

    def images(self, split: str) -> Images:
        """The preprocessed images of one split."""
        frame = self.manifest.frame
        rows = np.arange(len(frame))[(frame["split"] == split).to_numpy(dtype=bool)]
        return Images(self.cache.pixels, rows, truth_of(frame.iloc[rows], self.plan))


def plan(training: Training, talk: Talk) -> Plan:
    """Decide everything up to the first write; see ``effmed.workflows.plan``."""
    divided = _divided(training, talk)
    decided = _decide(_choose(training, divided, talk), divided)[1]
    _warn(decided, talk)
    return decided


def train(training: Training, talk: Talk) -> Trained:
    """Train from the start; see ``effmed.workflows.train``."""
    divided = _divided(training, talk)
    first = audit_manifest(divided, None)
    if blocking(first, training.recipe.audit):
        check_audit(first, training.recipe.audit, talk)  # before minutes of decoding
    check_writable(training.run or Path("runs"), needed_mb=RUN_SPACE_MB)
    training = _choose(training, divided, talk)
    start = read_weights(find_variant(training.variant), training.recipe.model.weights, make_listener(talk))
    decoded, fingerprint, decided, cache = _decoded(training, divided, talk)
    findings = audit_manifest(decoded, cache.signatures)
    check_audit(findings, training.recipe.audit, talk)
    manifest = decoded.with_frame(decoded.frame.assign(**{name: cache.provenance[name] for name in PROVENANCE}))
    fingerprint = fingerprint.with_provenance(manifest)
    run = make_run_folder(training.run, data=training.data, variant=training.variant)
    job = _Job(run, decided, fingerprint, manifest, cache)
    talk.say(f"run folder {run.folder}; decoded images in {cache.folder} ({cache.bytes / 1e6:.0f} MB)")
    with _resumable(run, talk):
        _write_start(job, training, findings)
        torch.manual_seed(decided.seed)
        network = build_network(decided, start.tensors, keep_head=start.head == decided.head)
        state = start_training(_fitted(network, decided), decided)
        if decided.depth == "head":
            write_start(run.last, network)
        return _finish(job, network, _fit(job, network, state, {}, talk), talk)


def resume(folder: Path | None, talk: Talk) -> Trained:
    """Continue after the last whole epoch; see ``effmed.workflows.resume``."""
    run = Run(folder) if folder is not None else newest_run(complete=False)
    if run.is_complete or not run.plan.is_file():
        why = "is complete already" if run.is_complete else "holds no training"
        raise BundleError(f"{run.folder} {why}: there is nothing to resume", hint="train without --resume")
    talk.say(f"resuming {run.folder}")
    decided = Plan.model_validate_json(run.plan.read_text(encoding="utf-8"))
    fingerprint = Fingerprint.model_validate_json(run.fingerprint.read_text(encoding="utf-8"))
    data = Path(json.loads(run.environment.read_text(encoding="utf-8"))["data"])
    manifest = read_manifest(run.manifest, data, classes=decided.classes)
    job = _Job(run, decided, fingerprint, manifest, _open_cache(manifest, decided, talk))
    network = build_network(decided)
    state = start_training(_fitted(network, decided), decided)
    if decided.depth == "head":
        read_start(run.last, network)
    best = read_checkpoint(run.last, state)
    _forget_after(run, state.epoch)
    talk.say(f"epoch {state.epoch} of {decided.epochs} was the last whole one; the best was {state.best_epoch}")
    with _resumable(run, talk):
        return _finish(job, network, _fit(job, network, state, best, talk), talk)


def _divided(training: Training, talk: Talk) -> Manifest:
    _check_variant(training)  # a wrong name is refused before minutes of reading
    settings = training.recipe.data
    tell_of_ids(settings, talk)
    reading = progress_of(talk, "reading headers")
    manifest = assign_splits(scan(training.data, training.labels, settings, on_progress=reading), settings)
    for item in manifest.unreadable:
        talk.warn(f"unreadable: {item.image}: {item.reason} ({item.hint})")
    for sentence in manifest.reasons.values():
        talk.say(sentence)
    talk.say(f"patients shared between splits: {shared_patients(manifest)}")
    return manifest


def _check_variant(training: Training) -> None:
    if training.variant == AUTO:
        find_candidates(training.recipe.model.weights)
    else:
        find_variant(training.variant)


def _choose(training: Training, manifest: Manifest, talk: Talk) -> Training:
    """Put the variant that suits data and machine in the place of "auto"."""
    if training.variant != AUTO:
        return training
    recipe = training.recipe
    machine = find_machine(recipe.train.device)
    if recipe.train.time_budget_min:
        talk.say("measuring how fast this machine trains")
        threads = machine.cores if recipe.train.threads == "auto" else recipe.train.threads
        speed = measure_speed(machine.device, plan_precision(recipe, machine, Reasons()), threads)
        machine = replace(machine, speed=speed)
    fingerprint = make_fingerprint(manifest, recipe.data)
    variant, reason = choose_variant(recipe, fingerprint, machine, find_candidates(recipe.model.weights))
    talk.say(f"variant {variant.name}: {reason}")
    return replace(training, variant=variant.name, chosen_because=reason)


def _decoded(training: Training, manifest: Manifest, talk: Talk) -> tuple[Manifest, Fingerprint, Plan, Cache]:
    """Decide, and decode all images; without those that cannot be decoded, decide again."""
    fingerprint, decided = _decide(training, manifest)
    _tell(decided, fingerprint, talk)
    cache = _open_cache(manifest, decided, talk)
    if not cache.failures:
        return manifest, fingerprint, decided, cache
    readable = manifest.without(cache.failures)
    check_unreadable(len(manifest), readable.unreadable, training.recipe.data)
    check_classes(readable)
    talk.warn(f"{len(cache.failures)} images could not be decoded and are left out; manifest.csv does not hold them")
    fingerprint, decided = _decide(training, readable)
    return readable, fingerprint, decided, _open_cache(readable, decided, talk)


def _decide(training: Training, manifest: Manifest) -> tuple[Fingerprint, Plan]:
    recipe = training.recipe
    variant = find_variant(training.variant)
    fingerprint = make_fingerprint(manifest, recipe.data)
    native = replace(find_native_input(variant, recipe.model.weights), is_fixed=takes_one_size(variant))
    machine = find_machine(recipe.train.device)
    decided = make_plan(recipe, fingerprint, variant, native, machine, training.chosen_because)
    check_size_fits(decided)
    return fingerprint, decided


def _tell(decided: Plan, fingerprint: Fingerprint, talk: Talk) -> None:
    for split, n_images in fingerprint.images_per_split.items():
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


def _open_cache(manifest: Manifest, decided: Plan, talk: Talk) -> Cache:
    on_progress = progress_of(talk, "decoding images")
    return open_cache(manifest, decided.preprocessing, workers=decided.threads, on_progress=on_progress)


@contextmanager
def _resumable(run: Run, talk: Talk) -> Iterator[None]:
    """Say what is left when training is interrupted: a run to resume, or nothing."""
    try:
        yield
    except BaseException:
        if any(run.last.glob("epoch-*")):
            talk.warn(f"the run can be continued: effmed train --resume --run {run.folder}")
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
            talk.warn(f"stopped before the first epoch ended; {run.folder} was removed")
        raise


def _write_start(job: _Job, training: Training, findings: Sequence[Finding]) -> None:
    """Write what was wanted, seen and decided, before the first step."""
    run, decided = job.run, job.plan
    write_text(run.recipe, recipe_text(training.recipe))
    write_json(run.audit, audit_record(findings, training.recipe.audit))
    write_json(run.fingerprint, job.fingerprint)
    write_manifest(job.manifest, run.manifest)
    started = {
        "data": str(training.data.resolve()),
        "seed": decided.seed,
        "command": " ".join(sys.argv),
        KEY_ID: make_pseudonyms(keep_ids=training.recipe.data.keep_ids).key_id,
    }
    write_json(run.environment, {**environment(decided.device_name), **started, "commit": _git_commit()})
    write_json(run.plan, decided)


def _git_commit() -> str:
    """Return the commit of the folder that the user works in, "" outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603  fixed words
    return done.stdout.strip()


def _forget_after(run: Run, epoch: int) -> None:
    """Take the lines of epochs that the checkpoint does not hold out of the history; they are run again."""
    lines = run.history.read_text(encoding="utf-8").splitlines()
    write_text(run.history, "".join(f"{line}\n" for line in lines if json.loads(line)["number"] <= epoch))


def _fitted(network: Module, decided: Plan) -> Module:
    return head_of(network, decided) if decided.depth == "head" else network


def _fit(job: _Job, network: Module, state: TrainingState, best: Weights, talk: Talk) -> int:
    """Train to the end and leave the best weights in the network; after every epoch the run can be resumed.

    Returns:
        The best epoch.
    """
    torch.set_num_threads(job.plan.threads)
    train, val = _examples(job, network, talk)
    started, before = time.perf_counter(), state.epoch
    for epoch in fit(state, train, val, job.plan, progress_of(talk, "training")):
        if epoch.is_best:
            best = {name: tensor.detach().cpu().clone() for name, tensor in state.judged.state_dict().items()}
        append_line(job.run.history, json.dumps(asdict(epoch)))
        write_checkpoint(job.run.last, state, best)
        left_s = (time.perf_counter() - started) / (epoch.number - before) * (job.plan.epochs - epoch.number)
        talk.say(_epoch_line(epoch, job.plan, left_s))
    state.network.load_state_dict(best)
    return state.best_epoch


def _examples(job: _Job, network: Module, talk: Talk) -> tuple[Examples, Examples]:
    """Return what the training learns from and is judged by: images, or their features where the head learns alone."""
    train, val, decided = job.images("train"), job.images("val"), job.plan
    if decided.depth != "head":
        return train, val
    started = time.perf_counter()
    told = progress_of(talk, "computing features")
    learned = read_features(network, train, decided, n_views=decided.views, on_step=told)
    judged = read_features(network, val, decided)
    n_rows = decided.views * len(train) + len(val)
    talk.say(
        f"features of {n_rows} images computed in {time.perf_counter() - started:.0f} s; the head learns from them"
    )
    return learned, judged


def _epoch_line(epoch: Epoch, decided: Plan, left_s: float) -> str:
    mark = ", best so far" if epoch.is_best else ""
    return (
        f"epoch {epoch.number}/{decided.epochs}: loss {epoch.train_loss:.4f}, val loss {epoch.val_loss:.4f}, "
        f"val {decided.metric} {abs(epoch.val_score):.4f}{mark}; {epoch.duration_s:.0f} s, at most {left_s:.0f} s left"
    )


def _finish(job: _Job, network: Module, best_epoch: int, talk: Talk) -> Trained:
    """From the best weights to calibrator, operating point, predictions, bundle and report; marker last."""
    run, decided = job.run, job.plan
    scores = {split: _scores(job, network, split) for split in ("val", "test")}
    sheet = _make_sheet(job, network, scores["val"], talk, best_epoch=best_epoch)
    for split, scored in scores.items():
        write_predictions(_predictions(sheet, scored), run.predictions(split))
    test = _predictions(sheet, scores["test"])
    context = with_record(make_context(sheet, decided, run=run.folder.name, split="test"), run)
    wanted = make_recipe(yaml.safe_load(run.recipe.read_text())).report
    report = make_report(test, context, wanted)
    write_bundle(run.bundle, sheet, network, make_card(sheet, decided, headline(report)))
    root, shown = job.manifest.root, decided.preprocessing
    write_report(report, run.folder, make_thumbnails(report, root, shown, talk) if wanted.thumbnails else None)
    write_json(run.done, {"weights_sha256": sheet.weights_sha256, "best_epoch": sheet.best_epoch})
    shutil.rmtree(run.last)
    for name, text in headline(report).items():
        talk.say(f"test {name}: {text}")
    metrics = [metric.model_dump(mode="json", by_alias=True) for metric in report.metrics]
    return Trained(run=str(run.folder), bundle=str(run.bundle), metrics=metrics, plan=decided.model_dump(mode="json"))


def _scores(job: _Job, network: Module, split: str) -> Scores:
    """Score one split: its images, or its files where the plan joins their frames."""
    logits = predict_logits(network, ordered_batches(job.images(split), job.plan), job.plan)
    rows = with_labels(job.manifest.in_split(split).frame, job.plan)
    return join_images(Scores(rows, logits, {}), job.manifest, job.plan)


def _make_sheet(job: _Job, network: Module, val: Scores, talk: Talk, *, best_epoch: int) -> BundleSheet:
    decided = job.plan
    calibrator, chosen, missing = decide_on_val(val, decided)
    for sentence in missing:
        talk.warn(sentence)
    return BundleSheet(
        plan=decided.model_dump(mode="json"),
        classes=decided.classes,
        preprocessing=decided.preprocessing,
        calibrator=calibrator,
        operating_points=chosen.points,
        sets=chosen.sets,
        referral=chosen.referral,
        fingerprint_digest=job.fingerprint.manifest_digest,
        weights_sha256=weights_digest(network),
        best_epoch=best_epoch,
        n_patients=dict(job.fingerprint.patients_per_split),
    )


def _predictions(sheet: BundleSheet, scores: Scores) -> Predictions:
    return make_predictions(
        scores.rows,
        sheet.classes,
        scores.logits,
        calibrator=sheet.calibrator,
        decisions=sheet.decisions,
        failures=scores.failures,
    )
