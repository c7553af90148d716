"""From the plan to the best weights, resumable after every epoch."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from effmed.data.audit import audit_manifest
from effmed.data.fingerprint import Fingerprint
from effmed.data.pseudonyms import KEY_ID, make_pseudonyms
from effmed.data.records import PROVENANCE, read_manifest, write_manifest
from effmed.errors import BundleError
from effmed.learn.fitting import Epoch, TrainingState, fit, head_of, read_features, start_training
from effmed.learn.fitting.checkpoints import KEPT, read_checkpoint, read_start, write_checkpoint, write_start
from effmed.learn.machine.allocator import keep_memory
from effmed.learn.network import build_network
from effmed.learn.plan import Plan
from effmed.learn.scaling import find_variant
from effmed.learn.weights.find import read_weights
from effmed.recipe import recipe_text
from effmed.run import Run, append_line, check_writable, make_run_folder, newest_run, write_json, write_text
from effmed.workflows.auditing import audit_record, blocking, check_audit
from effmed.workflows.checkup import environment
from effmed.workflows.fetching import make_listener
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.training.deciding import choose, decode, divide, open_images
from effmed.workflows.training.finishing import finish
from effmed.workflows.training.job import Job
from effmed.workflows.values import Trained, Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from effmed.data.audit import Finding
    from effmed.learn.loader import Examples
    from effmed.learn.weights.find import StartingWeights

RUN_SPACE_MB = 20  # predictions, report and plots; checkpoints come on top
COPIES = 4  # of the weights in a checkpoint: these, the best, two moments of AdamW; one more where they are averaged
Weights: TypeAlias = dict[str, torch.Tensor]
Module: TypeAlias = torch.nn.Module


@dataclass(frozen=True)
class Prepared:
    """A training before its first step; nothing is written but an empty run folder.

    Attributes:
        job: Where, what was decided, on which images.
        training: What was asked for.
        start: The weights that networks start from.
        findings: Of the audit.
    """

    job: Job
    training: Training
    start: StartingWeights
    findings: Sequence[Finding]


def train(training: Training, talk: Talk) -> Trained:
    """Train from the start; see ``effmed.workflows.train``."""
    prepared = prepare(training, talk)
    job = prepared.job
    with resumable(job.run, talk):
        write_begin(job, training, prepared.findings)
        return finish(job, *learn(job, prepared.start, talk), talk)


def prepare(training: Training, talk: Talk) -> Prepared:
    """Do all that comes before the first step: divide, audit, decide, decode."""
    divided = divide(training, talk)
    first = audit_manifest(divided, None)
    if blocking(first, training.recipe.audit):
        check_audit(first, training.recipe.audit, talk)  # before minutes of decoding
    check_writable(training.run or Path("runs"), needed_mb=RUN_SPACE_MB)
    training = choose(training, divided, talk)
    start = read_weights(find_variant(training.variant), training.recipe.model.weights, make_listener(talk))
    decoded, fingerprint, decided, cache = decode(training, divided, start, talk)
    findings = audit_manifest(decoded, cache.signatures)
    check_audit(findings, training.recipe.audit, talk)
    manifest = decoded.with_frame(decoded.frame.assign(**{name: cache.provenance[name] for name in PROVENANCE}))
    fingerprint = fingerprint.with_provenance(manifest)
    run = make_run_folder(training.run, data=training.data, variant=training.variant)
    talk.say(f"run folder {run.folder}; decoded images in {cache.folder} ({cache.bytes / 1e6:.0f} MB)")
    return Prepared(Job(run, decided, fingerprint, manifest, cache), training, start, findings)


def learn(job: Job, start: StartingWeights, talk: Talk) -> tuple[Module, int]:
    """Train one network from the start; after every epoch it can be continued.

    Returns:
        The network with its best weights, and the best epoch.
    """
    run, decided = job.run, job.plan
    torch.manual_seed(decided.seed)
    network = build_network(decided, start.tensors, keep_head=start.head == decided.head)
    check_writable(run.folder, needed_mb=_space_mb(network, decided))
    state = start_training(_fitted(network, decided), decided)
    if decided.depth == "head":
        write_start(run.last, network)
    return network, _fit(job, network, state, {}, talk)


def resume(folder: Path | None, talk: Talk) -> Trained:
    """Continue after the last whole epoch; see ``effmed.workflows.resume``."""
    job = read_job(Run(folder) if folder is not None else newest_run(complete=False), talk)
    network, state, best = _restore(job, talk)
    with resumable(job.run, talk):
        return finish(job, network, _fit(job, network, state, best, talk), talk)


def read_job(run: Run, talk: Talk) -> Job:
    """Read an interrupted training, and decode what the cache no longer holds.

    Raises:
        BundleError: The run is complete, or holds no training.
    """
    if run.is_complete or not run.plan.is_file():
        why = "is complete already" if run.is_complete else "holds no training"
        raise BundleError(f"{run.folder} {why}: there is nothing to resume", hint="train without --resume")
    talk.say(f"resuming {run.folder}")
    decided = Plan.model_validate_json(run.plan.read_text(encoding="utf-8"))
    fingerprint = Fingerprint.model_validate_json(run.fingerprint.read_text(encoding="utf-8"))
    data = Path(json.loads(run.environment.read_text(encoding="utf-8"))["data"])
    manifest = read_manifest(run.manifest, data, classes=decided.classes)
    return Job(run, decided, fingerprint, manifest, open_images(manifest, decided, talk))


def learn_on(job: Job, talk: Talk) -> tuple[Module, int]:
    """Continue one network after its last whole epoch; as ``learn`` otherwise."""
    network, state, best = _restore(job, talk)
    return network, _fit(job, network, state, best, talk)


def _restore(job: Job, talk: Talk) -> tuple[Module, TrainingState, Weights]:
    """Bring a network to its last whole epoch.

    Returns:
        The network, all that changes during its training, and its best weights so far.
    """
    run, decided = job.run, job.plan
    network = build_network(decided)
    state = start_training(_fitted(network, decided), decided)
    if decided.depth == "head":
        read_start(run.last, network)
    best, damaged = read_checkpoint(run.last, state)
    for sentence in damaged:
        talk.warn(f"{sentence}; the one before it is used")
    _forget_after(run, state.epoch)
    talk.say(f"epoch {state.epoch} of {decided.epochs} was the last whole one; the best was {state.best_epoch}")
    return network, state, best


@contextmanager
def resumable(run: Run, talk: Talk) -> Iterator[None]:
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


def write_begin(job: Job, training: Training, findings: Sequence[Finding]) -> None:
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


def _space_mb(network: Module, decided: Plan) -> int:
    """Return the MB that the checkpoints of a run take while one more is written, and its bundle."""
    n_bytes: int = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    copies = (KEPT + 1) * (COPIES + int(decided.ema_decay > 0)) + 1
    return RUN_SPACE_MB + math.ceil(copies * n_bytes / 1e6)


def _fitted(network: Module, decided: Plan) -> Module:
    return head_of(network, decided) if decided.depth == "head" else network


def _fit(job: Job, network: Module, state: TrainingState, best: Weights, talk: Talk) -> int:
    """Train to the end and leave the best weights in the network; after every epoch the run can be resumed.

    Returns:
        The best epoch.
    """
    torch.set_num_threads(job.plan.threads)
    if job.plan.keep_memory:
        keep_memory()
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


def _examples(job: Job, network: Module, talk: Talk) -> tuple[Examples, Examples]:
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
