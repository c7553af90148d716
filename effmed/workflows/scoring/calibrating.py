"""``effmed calibrate``: a bundle's probabilities for another site; its network stays."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.data.scan import scan
from effmed.errors import BundleError, DataError, RecipeError
from effmed.evaluate import calibration
from effmed.evaluate.calibrators import calibrate as calibrated
from effmed.evaluate.report.evidence import Evidence
from effmed.learn.bundle import SHEET, Bundle, Recalibration, make_card, read_bundle, write_bundle
from effmed.run import check_writable
from effmed.workflows.heeding import check_heeded
from effmed.workflows.scoring.bundles import bundle_folder, check_classes, known_patients, run_of, score, with_frames
from effmed.workflows.scoring.updating import LABELLED, Site, updated_sheet
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.values import Recalibrated, measure_text

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.calibrators import Calibrator
    from effmed.evaluate.intervals import Estimate, Floats
    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.model import Stage
    from effmed.learn.bundle import BundleSheet
    from effmed.recipe import Recipe
    from effmed.run import Run


def calibrate(run: Path, recipe: Recipe, *, data: Path, labels: Path | None, out: Path, talk: Talk) -> Recalibrated:
    """Recalibrate a bundle for another site; see ``effmed.workflows.calibrate``."""
    _check_settings(recipe)
    check_writable(out.parent)
    folder = bundle_folder(run, talk)
    if out.resolve() in (folder.resolve(), run.resolve()):
        raise RecipeError(f"--out {out} is the bundle itself", hint="name another folder: the old bundle stays")
    bundle = read_bundle(folder)
    if bundle.plan.task == "multilabel":
        problem = f"bundle {folder} has several labels: 'effmed calibrate' is for classes that exclude each other"
        raise BundleError(problem, hint="train with the site's images, or calibrate the table of predictions elsewhere")
    site = _read_site(bundle, run_of(folder, bundle.sheet), recipe, (data, labels), talk)
    sheet, notes = updated_sheet(bundle, site, recipe, talk)
    change = _change(site, recipe, folder, run.resolve().name)
    sheet = sheet.model_copy(update={"recalibrations": (*bundle.sheet.recalibrations, change)})
    metrics = _metrics((bundle.sheet.calibrator, sheet.calibrator), site.labelled, recipe)
    write_bundle(out, sheet, bundle.network, make_card(sheet, bundle.plan, _card_lines(metrics, notes)))
    return Recalibrated(
        out=str(out),
        update=recipe.calibration.update,
        site=site.name,
        n=change.n,
        n_events=change.n_events,
        calibrator=sheet.calibrator.text,
        prevalence=dict(zip(sheet.classes, sheet.calibrator.prevalence, strict=False)),
        threshold_before=_threshold(bundle.sheet),
        threshold_after=_threshold(sheet),
        metrics=metrics,
        notes=notes,
    )


def _check_settings(recipe: Recipe) -> None:
    """Refuse settings that would change nothing."""
    check_heeded(recipe, {"data": (), "calibration": (), "decision": (), "report": ()}, "'effmed calibrate'")
    update = recipe.calibration.update
    if recipe.calibration.method != "auto" and update != "full":
        problem = f"calibration.method = {recipe.calibration.method} has no meaning with calibration.update = {update}"
        raise RecipeError(problem, hint="leave it out, or add --set calibration.update=full")
    if "decision" in recipe.model_fields_set:
        problem = "settings of section 'decision' have no meaning here: the operating point follows the bundle's rule"
        raise RecipeError(problem, hint="leave them out")
    if update != "prevalence" and recipe.report.prevalence:
        problem = f"report.prevalence has no meaning with calibration.update = {update}"
        raise RecipeError(problem, hint="leave it out, or add --set calibration.update=prevalence")
    if update == "prevalence" and not recipe.report.prevalence:
        problem = "calibration.update = prevalence needs the site's prevalence"
        raise RecipeError(problem, hint="--set report.prevalence=[0.1] of the positive class, or one of every class")


def _read_site(bundle: Bundle, run: Run | None, recipe: Recipe, source: tuple[Path, Path | None], talk: Talk) -> Site:
    """Scan and score the site's images with the bundle as it is.

    Raises:
        DataError: Images are of patients that the network was trained or tuned on, or labels are needed and missing.
    """
    data, labels = source
    bundle, settings = with_frames(bundle, recipe.data)
    needs_labels = recipe.calibration.update in LABELLED
    reading = progress_of(talk, "reading headers")
    manifest = scan(data, labels, settings, labelled=needs_labels, on_progress=reading)
    check_classes(manifest, bundle, talk)
    n_known = known_patients(run, manifest, settings, talk)
    if n_known:
        problem = f"{n_known} patients of {data} bear the ids of patients that the network was trained or tuned on"
        raise DataError(problem, hint="leave their images out; give other people other ids")
    if n_known is None:
        talk.warn("whether the network was trained on patients of this site cannot be told: make sure that it was not")
    table = score(bundle, manifest, talk)
    site = Site(data.resolve().name, table.readable, run)
    used = site.labelled if needs_labels else site.readable
    if len(used) < len(table):
        talk.warn(f"{len(table) - len(used)} of {len(table)} images are unreadable or of unknown truth and not used")
    if len(used) == 0:
        raise DataError(f"no image of {data} can be used", hint="see 'effmed inspect' for the reasons")
    return site


def _change(site: Site, recipe: Recipe, folder: Path, name: str) -> Recalibration:
    """Return what the new bundle says about how it came about."""
    known, update = site.labelled, recipe.calibration.update
    n_classes = len(known.classes)
    n_events = int(np.bincount(known.truth, minlength=n_classes).min()) if update in LABELLED else None
    return Recalibration(
        update=update,
        site=site.name,
        date=datetime.now(tz=UTC).date().isoformat(),
        n=len(known) if update in LABELLED else len(site.readable),
        n_events=n_events,
        from_bundle=name,
        from_digest=hashlib.sha256((folder / SHEET).read_bytes()).hexdigest(),
    )


def _metrics(pair: tuple[Calibrator, Calibrator], known: Predictions, recipe: Recipe) -> list[dict[str, Any]]:
    """Judge calibration before and after on the images whose truth is known, each class against the rest."""
    if len(known) == 0:
        return []
    before, after = (calibrated(each, known.logits) for each in pair)
    stages: dict[Stage, Floats] = {"raw": before, "calibrated": after}
    evidence = Evidence(known, known.truth, stages, None, recipe.report)
    rows = []
    for number in evidence.judged:
        first, second = (_measures(evidence, number, stage) for stage in ("raw", "calibrated"))
        for name in first:
            values = {"before": _plain(first[name]), "after": _plain(second[name])}
            rows.append({"name": name, "class": known.classes[number], **values})
    return rows


def _measures(evidence: Evidence, number: int, stage: Stage) -> dict[str, Estimate]:
    one, patients = evidence.against_rest(number, stage), evidence.patients
    return {
        "citl": calibration.citl(one.truth, one.logits, patients),
        "slope": calibration.slope(one.truth, one.logits, patients),
        "brier": calibration.brier(one.truth, one.probability, patients),
    }


def _plain(estimate: Estimate) -> dict[str, Any]:
    names = ("value", "low", "high", "n", "n_events", "n_patients", "status", "reason")
    return {name: getattr(estimate, name) for name in names}


def _card_lines(metrics: list[dict[str, Any]], notes: list[str]) -> dict[str, str]:
    lines = {
        f"{row['name']} {row['class']}": f"{measure_text(row['before'])} before, {measure_text(row['after'])} after"
        for row in metrics
    }
    return {**lines, **{f"note {number}": note for number, note in enumerate(notes, start=1)}}


def _threshold(sheet: BundleSheet) -> float | None:
    return sheet.operating_points[0].threshold if sheet.operating_points else None
