"""One network or several: ``effmed train``, and the ensembles of --folds and --seeds."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from effmed.data.fingerprint import Fingerprint, make_fingerprint
from effmed.data.records import FOLD, read_manifest
from effmed.data.split import folds_of, in_fold, in_turn
from effmed.errors import BundleError, DataError
from effmed.evaluate.predictions import Scores
from effmed.learn.bundle import WEIGHTS, Member, plain_tensors, read_bundle
from effmed.learn.ensemble import Ensemble
from effmed.learn.fitting.scores import mean_auroc
from effmed.learn.machine.team import joined
from effmed.learn.plan import Plan
from effmed.learn.weights.find import StartingWeights
from effmed.run import Run, newest_run, replacing, write_json
from effmed.workflows.scoring import make_context, with_record
from effmed.workflows.scoring.choosing import truth_of
from effmed.workflows.talk import Talk
from effmed.workflows.training.deciding import decide
from effmed.workflows.training.finishing import (
    as_predictions,
    conclude,
    finish_member,
    judge,
    make_sheet,
    score_split,
    write_results,
)
from effmed.workflows.training.learning import learn, learn_on
from effmed.workflows.training.running import (
    begun_before,
    follow,
    prepare,
    read_job,
    resumable,
    resume_one,
    telling_failure,
    train_one,
    write_begin,
)
from effmed.workflows.training.stopping import listening
from effmed.workflows.values import Trained, Training

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from effmed.data.records import Manifest
    from effmed.learn.bundle import Bundle, BundleSheet
    from effmed.learn.machine.team import Team
    from effmed.workflows.training.job import Job
    from effmed.workflows.training.running import Prepared

SECONDS_PER_MINUTE = 60.0
NO_TIME_MIN = 1e-3  # of a budget that is used up; 0 is no limit
START = "start.json"  # beside the weights that all networks of an ensemble start from
OUT_OF_FOLD = "out-of-fold"  # folder of the report on val
OUT_OF_FOLD_CAUTIONS = (
    "Out-of-fold: each image was scored by the one network that did not learn from its patient. These are results of "
    "single networks; those of the ensemble are on test.",
    "The epoch of each network was chosen on the images that it is judged on here: the numbers look slightly too good.",
    "The images are ranked by different networks that share training images: the intervals hold the choice of "
    "patients, not what differs from one training to the next.",
)


def train(training: Training, talk: Talk) -> Trained | None:
    """Train one network or an ensemble; see ``effmed.workflows.train``."""
    with listening(at_once=True), joined() as team:
        if team.is_first:
            return _train(training, team, talk)
        follow(team)
    return None


def _train(training: Training, team: Team, talk: Talk) -> Trained:
    """Train as the first process, or the only one; a job that was restarted continues its run."""
    with telling_failure(team):
        begun = begun_before(training)
        prepared = None if begun is not None else prepare(training, team, talk)
    if begun is not None or prepared is None:
        return _resume(begun, team, talk)
    if prepared.job.plan.n_networks == 1:
        return train_one(prepared, talk)
    with resumable(prepared.job.run, talk):
        with telling_failure(team):
            whole, jobs = _begin(prepared, talk)
        return _train_all(whole, jobs, prepared.start, talk)


def resume(folder: Path | None, talk: Talk) -> Trained | None:
    """Continue one network or the first unfinished one of an ensemble; see ``effmed.workflows.resume``."""
    with listening(at_once=True), joined() as team:
        if team.is_first:
            return _resume(None if folder is None else Run(folder), team, talk)
        follow(team)
    return None


def _resume(found: Run | None, team: Team, talk: Talk) -> Trained:
    with telling_failure(team):
        run = newest_run(complete=False) if found is None else found
        _check_whole(run)
        job = read_job(run, team, talk)
        n_networks = job.plan.n_networks
        jobs = [] if n_networks == 1 else [_read_member(job, name) for name in _names(job.plan)]
        start = None if n_networks == 1 else _read_start(run, job.plan)
    if start is None:
        return resume_one(job, talk)
    with resumable(run, talk, is_new=False):
        return _train_all(job, jobs, start, talk)


def _names(plan: Plan) -> list[str]:
    """Return the names of the networks, which are those of their folders in the run."""
    if plan.folds > 1:
        return [f"fold-{number}" for number in range(1, plan.folds + 1)]
    return [f"seed-{seed}" for seed in range(plan.seed, plan.seed + plan.seeds)]


def _check_whole(run: Run) -> None:
    """Refuse to finish one network of an ensemble as if it stood alone."""
    folder = run.folder.resolve()
    outer = Run(folder.parent)
    if not outer.plan.is_file():
        return
    plan = Plan.model_validate_json(outer.plan.read_text(encoding="utf-8"))
    if plan.n_networks > 1 and folder.name in _names(plan):
        problem = f"{run.folder} is one network of the ensemble {outer.folder}"
        raise BundleError(problem, hint=f"continue the whole: effmed train --resume --run {outer.folder}")


def _begin(prepared: Prepared, talk: Talk) -> tuple[Job, list[Job]]:
    """Decide for each network and write what is known before the first step; the plan of the whole comes last."""
    whole, training = prepared.job, prepared.training
    whole = replace(whole, plan=_with_share_of_time(whole))
    jobs = _fold_jobs(whole, training, talk) if folds_of(whole.manifest) else _seed_jobs(whole)
    write_begin(whole, training, prepared.findings)
    for job in jobs:
        write_begin(job, training, prepared.findings)
        write_json(job.run.plan, job.plan)
    _write_start(whole.run, whole.plan, prepared.start)
    if folds_of(whole.manifest):
        together = in_turn(whole.manifest)
        seen = make_fingerprint(together, training.recipe.data).with_provenance(together)
        whole = replace(whole, manifest=together, fingerprint=seen)
        write_begin(whole, training, prepared.findings)
    write_json(whole.run.plan, whole.plan)
    return whole, jobs


def _with_share_of_time(whole: Job) -> Plan:
    """Return the plan with the time that each network has, of what is left of the budget."""
    plan = whole.plan
    if not plan.time_budget_min:
        return plan
    used_min = (time.perf_counter() - whole.started) / SECONDS_PER_MINUTE
    each = max(0.0, plan.time_budget_min - used_min) / plan.n_networks
    reason = f"{plan.time_budget_min:g} min for all {plan.n_networks} networks, {each:.2g} min for each of what is left"
    changes = {"time_budget_min": each or NO_TIME_MIN, "reasons": plan.reasons | {"train.time_budget_min": reason}}
    return plan.model_copy(update=changes)


def _fold_jobs(whole: Job, training: Training, talk: Talk) -> list[Job]:
    """Return a job per fold. All have the first one's plan, so that their logits mean the same.

    Raises:
        DataError: Of several labels none can be judged in a fold.
    """
    jobs = []
    for number, name in enumerate(_names(whole.plan), start=1):
        manifest = in_fold(whole.manifest, number)
        fingerprint, own = _decide_fold(training, manifest, name)
        for sentence in own.warnings:
            if sentence not in whole.plan.warnings:
                talk.warn(f"{name}: {sentence}")
        plan = whole.plan.model_copy(update={"n_train": own.n_train, "n_val": own.n_val, "folds": 1})
        run = Run(whole.run.folder / name)
        seen = fingerprint.with_provenance(manifest)
        jobs.append(replace(whole, run=run, plan=plan, fingerprint=seen, manifest=manifest))
    return jobs


def _decide_fold(training: Training, manifest: Manifest, name: str) -> tuple[Fingerprint, Plan]:
    try:
        return decide(training, manifest, measures=False)
    except DataError as error:
        raise DataError(f"{name}: {error.problem}", hint=f"{error.hint}; or take fewer folds") from error


def _seed_jobs(whole: Job) -> list[Job]:
    seeds = range(whole.plan.seed, whole.plan.seed + whole.plan.seeds)
    plans = [whole.plan.model_copy(update={"seed": seed, "seeds": 1}) for seed in seeds]
    folders = [Run(whole.run.folder / name) for name in _names(whole.plan)]
    return [replace(whole, run=run, plan=plan) for run, plan in zip(folders, plans, strict=True)]


def _read_member(whole: Job, name: str) -> Job:
    run = Run(whole.run.folder / name)
    plan = Plan.model_validate_json(run.plan.read_text(encoding="utf-8"))
    fingerprint = Fingerprint.model_validate_json(run.fingerprint.read_text(encoding="utf-8"))
    manifest = read_manifest(run.manifest, whole.manifest.root, classes=plan.classes)
    return replace(whole, run=run, plan=plan, fingerprint=fingerprint, manifest=manifest)


def _write_start(run: Run, plan: Plan, start: StartingWeights) -> None:
    """Keep what the networks start from: those that wait shall not start from what is found by then."""
    run.last.mkdir(parents=True)
    if start.tensors is not None:
        with replacing(run.last / WEIGHTS) as temporary:
            save_file(plain_tensors(start.tensors), temporary)
    write_json(run.last / START, {"scratch": start.tensors is None, "keeps_head": start.head == plan.head})


def _read_start(run: Run, plan: Plan) -> StartingWeights:
    """Read what ``_write_start`` wrote.

    Raises:
        BundleError: It is missing or damaged.
    """
    try:
        facts = json.loads((run.last / START).read_text(encoding="utf-8"))
        tensors = None if facts["scratch"] else load_file(run.last / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        problem = f"the starting weights in {run.last} are damaged: {error}"
        raise BundleError(problem, hint="remove the run folder and train again") from error
    return StartingWeights(tensors, plan.head if facts["keeps_head"] else None)


def _train_all(whole: Job, jobs: Sequence[Job], start: StartingWeights, talk: Talk) -> Trained:
    """Train the networks that are not complete, one after another, and make one of all."""
    for number, member in enumerate(jobs, start=1):
        job, name = member, member.run.folder.name
        if job.run.is_complete:
            talk.say(f"{name} is complete")
            continue
        talk.say(f"{name}, network {number} of {len(jobs)}")
        job = replace(job, started=time.perf_counter())
        if any(job.run.last.glob("epoch-*")):
            network, best_epoch = learn_on(job, talk)
        else:
            job.run.history.unlink(missing_ok=True)
            network, best_epoch = learn(job, start, talk)
        finish_member(job, network, best_epoch, talk)
    whole.team.tell("")  # the others are done
    return _finish(whole, jobs, talk)


def _finish(whole: Job, jobs: Sequence[Job], talk: Talk) -> Trained:
    """From the networks to one bundle, one calibrator, one report on test; of folds one on val besides."""
    bundles = [read_bundle(job.run.bundle) for job in jobs]
    network = Ensemble([bundle.network.to(whole.plan.device) for bundle in bundles])
    val = score_split(whole, network, "val") if whole.plan.folds == 1 else _out_of_fold(whole, jobs, bundles)
    members = tuple(
        Member(
            name=job.run.folder.name,
            weights_sha256=bundle.sheet.weights_sha256,
            best_epoch=bundle.sheet.best_epoch,
        )
        for job, bundle in zip(jobs, bundles, strict=True)
    )
    latest = max(each.best_epoch for each in members)
    sheet = make_sheet(whole, network, val, talk, best_epoch=latest, members=members)
    report = write_results(whole, network, sheet, val, talk)
    if whole.plan.folds > 1:
        _judge_out_of_fold(whole, sheet, val, talk)
    return conclude(whole, sheet, report, talk)


def _out_of_fold(whole: Job, jobs: Sequence[Job], bundles: Sequence[Bundle]) -> Scores:
    """Score every image of train and val by the network whose val it is in, fold by fold."""
    parts = [score_split(job, bundle.network, "val") for job, bundle in zip(jobs, bundles, strict=True)]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    return Scores(rows, np.concatenate([part.logits for part in parts]), {})


def _judge_out_of_fold(whole: Job, sheet: BundleSheet, val: Scores, talk: Talk) -> None:
    """Write one report on all images of train and val, each scored by the network that did not learn from it."""
    run, plan = whole.run, whole.plan
    context = with_record(make_context(sheet, plan, run=run.folder.name, split="val"), run)
    folds = pd.to_numeric(val.rows[FOLD]).to_numpy()
    truth = truth_of(val.rows, plan)
    each = [mean_auroc(val.logits[folds == k], truth[folds == k]) for k in range(1, plan.folds + 1)]
    named = ", ".join(f"{value:.3f}" for value in each)
    facts = {**context.facts, "auroc of each fold": f"{named}, of the network that did not learn from it, uncalibrated"}
    context = replace(context, facts=facts, cautions=OUT_OF_FOLD_CAUTIONS)
    judge(whole, as_predictions(sheet, val), context, run.folder / OUT_OF_FOLD, talk)
    talk.say(f"auroc of each fold: {named}; report {run.folder / OUT_OF_FOLD / 'report.html'}")
