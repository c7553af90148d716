"""A whole training: prepared, learned, finished; begun, continued, or restarted by a scheduler."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effmed.data.audit import audit_manifest
from effmed.data.fingerprint import Fingerprint
from effmed.data.pseudonyms import KEY_ID, make_pseudonyms
from effmed.data.records import PROVENANCE, read_manifest, write_manifest
from effmed.errors import BundleError, DataError, EffmedError, MachineError, PreemptedError, RecipeError, shortened
from effmed.learn.fitting.checkpoints import BEGINNING
from effmed.learn.machine.device import find_machine
from effmed.learn.machine.team import is_restarted, job_name
from effmed.learn.plan import Plan
from effmed.learn.scaling import find_variant
from effmed.learn.weights.find import read_weights
from effmed.recipe import recipe_text
from effmed.run import RUNS, Run, check_writable, claimed, make_run_folder, write_json, write_text
from effmed.workflows.auditing import audit_record, blocking, check_audit
from effmed.workflows.checkup import environment
from effmed.workflows.fetching import make_listener
from effmed.workflows.talk import Silence
from effmed.workflows.training.deciding import choose, decode, divide, open_images
from effmed.workflows.training.finishing import finish
from effmed.workflows.training.job import Job
from effmed.workflows.training.learning import RUN_SPACE_MB, learn, learn_on
from effmed.workflows.values import Trained, Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from effmed.data.audit import Finding
    from effmed.learn.machine.team import Team
    from effmed.learn.weights.find import StartingWeights
    from effmed.workflows.talk import Talk


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


def train_one(prepared: Prepared, talk: Talk) -> Trained:
    """Train one network from the start."""
    job = prepared.job
    with resumable(job.run, talk):
        write_begin(job, prepared.training, prepared.findings)
        learned = learn(job, prepared.start, talk)
        job.team.tell("")  # the others are done
        return finish(job, *learned, talk)


def resume_one(job: Job, talk: Talk) -> Trained:
    """Continue one network after its last checkpoint."""
    with resumable(job.run, talk, is_new=False):
        learned = learn_on(job, talk)
        job.team.tell("")  # the others are done
        return finish(job, *learned, talk)


def follow(team: Team) -> None:
    """Train beside the first process, which speaks and writes, whatever it begins or continues.

    Raises:
        SystemExit: With the code of an error that the first process meets too, and speaks of.
        EffmedError: Any other, with the number of this process.
    """
    try:
        while folder := team.tell(""):
            job = read_job(Run(Path(folder)), team, Silence())
            learn_on(job, Silence())
    except (RecipeError, PreemptedError) as error:
        raise SystemExit(error.exit_code) from error
    except EffmedError as error:
        raise type(error)(f"process {team.rank}: {error.problem}", hint=error.hint) from error


@contextmanager
def telling_failure(team: Team) -> Iterator[None]:
    """Let the others go where the first process stops before they begin."""
    try:
        yield
    except BaseException:
        team.tell("")
        raise


def begun_before(training: Training) -> Run | None:
    """Return the run that this job began before torchrun or SLURM restarted it; None where there is none."""
    name = job_name()
    if not name or not is_restarted():
        return None
    folders = [training.run] if training.run is not None else sorted(RUNS.glob("*"))
    unfinished = [run for run in map(Run, folders) if run.plan.is_file() and run.environment.is_file()]
    recorded = {
        run: json.loads(run.environment.read_text(encoding="utf-8")) for run in unfinished if not run.is_complete
    }
    same = {"job": name, "command": " ".join(sys.argv)}
    return next((run for run, facts in recorded.items() if same.items() <= facts.items()), None)


def prepare(training: Training, team: Team, talk: Talk) -> Prepared:
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
    job = Job(run, decided, fingerprint, manifest, cache, team, training.started)
    return Prepared(job, training, start, findings)


def read_job(run: Run, team: Team, talk: Talk) -> Job:
    """Read an interrupted training, and decode what the cache no longer holds.

    Raises:
        BundleError: The run is complete, or holds no training.
        DataError: An image that was read before cannot be read any more, or not by this process.
        MachineError: The device that was planned is not there.
    """
    if run.is_complete or not run.plan.is_file():
        why = "is complete already" if run.is_complete else "holds no training"
        raise BundleError(f"{run.folder} {why}: there is nothing to resume", hint="train without --resume")
    talk.say(f"resuming {run.folder}")
    decided = Plan.model_validate_json(run.plan.read_text(encoding="utf-8"))
    find_machine(decided.device)
    fingerprint = Fingerprint.model_validate_json(run.fingerprint.read_text(encoding="utf-8"))
    data = Path(json.loads(run.environment.read_text(encoding="utf-8"))["data"])
    manifest = read_manifest(run.manifest, data, classes=decided.classes)
    started = time.perf_counter()
    cache = open_images(manifest, decided, talk)
    if cache.failures:
        names = manifest.frame["image"].astype(str)
        unread = shortened(f"{names.iloc[row]} ({error.problem})" for row, error in cache.failures.items())
        problem = f"{len(cache.failures)} images of {data} cannot be read any more: {unread}"
        raise DataError(problem, hint="bring them back, for every process at the same place; the run is as it was")
    return Job(run, decided, fingerprint, manifest, cache, team, started)


@contextmanager
def resumable(run: Run, talk: Talk, *, is_new: bool = True) -> Iterator[None]:
    """Say what is left when training is interrupted: a run to resume, or nothing where a new one has learned nothing.

    Raises:
        BundleError: Another process trains in the run's folder.
    """
    with claimed(run) as doubt:
        if doubt:
            talk.warn(doubt)
        yield from _telling_what_is_left(run, talk, is_new=is_new)


def _telling_what_is_left(run: Run, talk: Talk, *, is_new: bool) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if run.is_complete:
            raise
        begun = ("last/epoch-*", "*/last/epoch-*", "*/done.json")  # the last two of the networks of an ensemble
        saved = {path.name for pattern in begun for path in run.folder.glob(pattern)}
        has_learned = bool(saved - {BEGINNING}) or not is_new
        if has_learned or (isinstance(error, MachineError) and run.plan.is_file()):  # the plan may hold fewer at a time
            talk.warn(f"the run can be continued: effmed train --resume --run {run.folder}")
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
            talk.warn(f"stopped before the first checkpoint; {run.folder} was removed")
        raise


def write_begin(job: Job, training: Training, findings: Sequence[Finding]) -> None:
    """Write what was wanted and seen, before the first step; the plan follows with the first checkpoint."""
    run, decided = job.run, job.plan
    started = {
        "data": str(training.data.resolve()),
        "seed": decided.seed,
        "command": " ".join(sys.argv),
        "job": job_name(),
        KEY_ID: make_pseudonyms(keep_ids=training.recipe.data.keep_ids).key_id,
    }
    facts = {**environment(decided.device_name), **started, "commit": _git_commit()}
    write_json(run.environment, facts)  # first: it tells a training that was killed here from other files
    write_text(run.recipe, recipe_text(training.recipe))
    write_json(run.audit, audit_record(findings, training.recipe.audit))
    write_json(run.fingerprint, job.fingerprint)
    write_manifest(job.manifest, run.manifest)


def _git_commit() -> str:
    """Return the commit of the folder that the user works in, "" outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603  fixed words
    return done.stdout.strip()
