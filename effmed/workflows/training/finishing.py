"""From the best weights to calibrator, operating point, predictions, bundle and report."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TypeAlias

import torch
import yaml

from effmed.apply.predict import join_images, with_labels
from effmed.evaluate.predictions import Scores, make_predictions, write_predictions
from effmed.evaluate.render import write_report
from effmed.evaluate.report import make_report
from effmed.learn.bundle import BundleSheet, make_card, weights_digest, write_bundle
from effmed.learn.fitting import predict_views
from effmed.recipe import make_recipe
from effmed.run import write_json
from effmed.workflows.judging.tables import headline
from effmed.workflows.scoring import make_context, make_thumbnails, with_record
from effmed.workflows.scoring.choosing import decide_on_val, undone_only, with_policies
from effmed.workflows.talk import Talk
from effmed.workflows.training.job import Job
from effmed.workflows.training.showing.tracking import track_results
from effmed.workflows.values import Trained

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report import Report, ReportContext
    from effmed.learn.bundle import Member
    from effmed.recipe import ReportSettings
    from effmed.run import Run

Module: TypeAlias = torch.nn.Module
OF_AN_ENSEMBLE = "one network of an ensemble, which is calibrated as a whole"


def finish(job: Job, network: Module, best_epoch: int, talk: Talk) -> Trained:
    """From the best weights to calibrator, operating point, predictions, bundle and report; marker last."""
    val = score_split(job, network, "val")
    sheet = make_sheet(job, network, val, talk, best_epoch=best_epoch)
    return conclude(job, sheet, write_results(job, network, sheet, val, talk), talk)


def finish_member(job: Job, network: Module, best_epoch: int, talk: Talk) -> None:
    """Leave one network of an ensemble as a bundle that is neither calibrated nor tested; marker last."""
    sheet = _sheet(job, network, best_epoch=best_epoch)
    write_bundle(job.run.bundle, sheet, network, make_card(sheet, job.plan, {}))
    track_results(job.run, job.plan, None, best_epoch, talk)
    _mark(job.run, sheet)


def score_split(job: Job, network: Module, split: str) -> Scores:
    """Score one split: its images, or its files where the plan joins their frames."""
    logits = predict_views(network, job.images(split), job.plan)
    rows = with_labels(job.manifest.in_split(split).frame, job.plan)
    return join_images(Scores(rows, logits, {}), job.manifest, job.plan)


def make_sheet(
    job: Job, network: Module, val: Scores, talk: Talk, *, best_epoch: int, members: tuple[Member, ...] = ()
) -> BundleSheet:
    """Choose calibrator and operating points on val, and put down what the network is."""
    calibrator, chosen, missing = decide_on_val(val, job.plan)
    for sentence in missing:
        talk.warn(sentence)
    decided = {
        "calibrator": calibrator,
        "operating_points": chosen.points,
        "sets": chosen.sets,
        "referral": chosen.referral,
        "members": members,
    }
    return _sheet(job, network, best_epoch=best_epoch).model_copy(update=decided)


def _sheet(job: Job, network: Module, *, best_epoch: int) -> BundleSheet:
    decided, patients = job.plan, dict(job.fingerprint.patients_per_split)
    if decided.folds > 1:
        patients = {"train and val": patients["train"], "test": patients["test"]}
    return BundleSheet(
        plan=decided.model_dump(mode="json"),
        classes=decided.classes,
        preprocessing=decided.preprocessing,
        calibrator=undone_only(decided, OF_AN_ENSEMBLE),
        operating_points=(),
        sets=None,
        referral=None,
        fingerprint_digest=job.fingerprint.manifest_digest,
        weights_sha256=weights_digest(network),
        best_epoch=best_epoch,
        n_patients=patients,
    )


def write_results(job: Job, network: Module, sheet: BundleSheet, val: Scores, talk: Talk) -> Report:
    """Write both tables of predictions, the bundle, and the report on test."""
    run, decided = job.run, job.plan
    write_predictions(as_predictions(sheet, val), run.predictions("val"))
    test = as_predictions(sheet, score_split(job, network, "test"))
    write_predictions(test, run.predictions("test"))
    context = with_record(make_context(sheet, decided, run=run.folder.name, split="test"), run)
    report = judge(job, test, context, run.folder, talk)
    write_bundle(run.bundle, sheet, network, make_card(sheet, decided, headline(report)))
    return report


def judge(job: Job, predictions: Predictions, context: ReportContext, folder: Path, talk: Talk) -> Report:
    """Write the report on some of the run's own images into a folder."""
    wanted = _wanted(job)
    report = make_report(predictions, context, with_policies(wanted, job.plan, wanted.changed))
    root, shown = job.manifest.root, job.plan.preprocessing
    write_report(report, folder, make_thumbnails(report, root, shown, talk) if wanted.thumbnails else None)
    return report


def _wanted(job: Job) -> ReportSettings:
    return make_recipe(yaml.safe_load(job.run.recipe.read_text(encoding="utf-8"))).report


def conclude(job: Job, sheet: BundleSheet, report: Report, talk: Talk) -> Trained:
    """Mark the run as complete, and say what it gave on test."""
    run = job.run
    track_results(run, job.plan, report, sheet.best_epoch, talk)
    _mark(run, sheet)
    for name, text in headline(report).items():
        talk.say(f"test {name}: {text}")
    metrics = [metric.model_dump(mode="json", by_alias=True) for metric in report.metrics]
    return Trained(run=str(run.folder), bundle=str(run.bundle), metrics=metrics, plan=job.plan.model_dump(mode="json"))


def _mark(run: Run, sheet: BundleSheet) -> None:
    write_json(run.done, {"weights_sha256": sheet.weights_sha256, "best_epoch": sheet.best_epoch})
    shutil.rmtree(run.last)


def as_predictions(sheet: BundleSheet, scores: Scores) -> Predictions:
    """Return the table of some scores, calibrated and decided as the bundle does."""
    return make_predictions(
        scores.rows,
        sheet.classes,
        scores.logits,
        calibrator=sheet.calibrator,
        decisions=sheet.decisions,
        failures=scores.failures,
    )
