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
from effmed.learn.fitting import predict_logits
from effmed.learn.loader import ordered_batches
from effmed.recipe import make_recipe
from effmed.run import write_json
from effmed.workflows.judging.tables import headline
from effmed.workflows.scoring import make_context, make_thumbnails, with_record
from effmed.workflows.scoring.choosing import decide_on_val, with_policies
from effmed.workflows.talk import Talk
from effmed.workflows.training.job import Job
from effmed.workflows.values import Trained

if TYPE_CHECKING:
    from effmed.evaluate.predictions import Predictions

Module: TypeAlias = torch.nn.Module


def finish(job: Job, network: Module, best_epoch: int, talk: Talk) -> Trained:
    """From the best weights to calibrator, operating point, predictions, bundle and report; marker last."""
    run, decided = job.run, job.plan
    scores = {split: _scores(job, network, split) for split in ("val", "test")}
    sheet = _make_sheet(job, network, scores["val"], talk, best_epoch=best_epoch)
    for split, scored in scores.items():
        write_predictions(_predictions(sheet, scored), run.predictions(split))
    test = _predictions(sheet, scores["test"])
    context = with_record(make_context(sheet, decided, run=run.folder.name, split="test"), run)
    wanted = make_recipe(yaml.safe_load(run.recipe.read_text())).report
    report = make_report(test, context, with_policies(wanted, decided, wanted.changed))
    write_bundle(run.bundle, sheet, network, make_card(sheet, decided, headline(report)))
    root, shown = job.manifest.root, decided.preprocessing
    write_report(report, run.folder, make_thumbnails(report, root, shown, talk) if wanted.thumbnails else None)
    write_json(run.done, {"weights_sha256": sheet.weights_sha256, "best_epoch": sheet.best_epoch})
    shutil.rmtree(run.last)
    for name, text in headline(report).items():
        talk.say(f"test {name}: {text}")
    metrics = [metric.model_dump(mode="json", by_alias=True) for metric in report.metrics]
    return Trained(run=str(run.folder), bundle=str(run.bundle), metrics=metrics, plan=decided.model_dump(mode="json"))


def _scores(job: Job, network: Module, split: str) -> Scores:
    """Score one split: its images, or its files where the plan joins their frames."""
    logits = predict_logits(network, ordered_batches(job.images(split), job.plan), job.plan)
    rows = with_labels(job.manifest.in_split(split).frame, job.plan)
    return join_images(Scores(rows, logits, {}), job.manifest, job.plan)


def _make_sheet(job: Job, network: Module, val: Scores, talk: Talk, *, best_epoch: int) -> BundleSheet:
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
