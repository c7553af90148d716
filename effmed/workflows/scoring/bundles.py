"""What every command does with a bundle: find it, read images for it, score them, and say what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from effmed.apply.predict import predict_images
from effmed.data.fingerprint import Fingerprint
from effmed.data.pseudonyms import KEY_ID, make_pseudonyms
from effmed.data.records import read_manifest
from effmed.errors import BundleError, DataError, RecipeError
from effmed.evaluate.predictions import Predictions, read_predictions
from effmed.evaluate.report import FlowStep, ReportContext
from effmed.learn.bundle import SHEET, Bundle, BundleSheet, ensemble_cautions, ensemble_text, read_sheet
from effmed.learn.plan import Plan
from effmed.recipe import ColumnSettings
from effmed.run import Run, newest_run, open_run
from effmed.workflows.checkup import software_text
from effmed.workflows.talk import Talk, progress_of

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.data.records import Manifest
    from effmed.recipe import DataSettings

N_SHOWN = 10
FRAMES, LEVELS = ("frames", "frame_rule"), ("level", "level_rule")
SPLITS = {"train": "training", "val": "validation", "test": "the test"}
IN_TURN = "training and, each fold in its turn, validation"


def run_context(run: Run) -> ReportContext:
    """Return what a report on the run's own test split says about the run."""
    sheet, name = read_sheet(run.bundle), run.folder.resolve().name
    return with_record(make_context(sheet, Plan.model_validate(sheet.plan), run=name, split="test"), run)


def with_record(context: ReportContext, run: Run) -> ReportContext:
    """Add what the run wrote down: its software, its audit, where its images went, its predictions on val."""
    facts = dict(context.facts)
    if run.environment.is_file():
        facts["software"] = software_text(json.loads(run.environment.read_text(encoding="utf-8")))
    if run.audit.is_file():
        facts["audit of the data"] = str(json.loads(run.audit.read_text(encoding="utf-8"))["summary"])
    return replace(context, facts=facts, flow=_flow(run), val=read_val(run))


def read_val(run: Run) -> Predictions | None:
    """Return the run's predictions on val; None where a bundle was copied without them."""
    path = run.predictions("val")
    return read_predictions(path, ColumnSettings()) if path.is_file() else None


def _flow(run: Run) -> tuple[FlowStep, ...]:
    """Return the images and patients of the data, those that could not be read, and those of each split."""
    seen = Fingerprint.model_validate_json(run.fingerprint.read_text(encoding="utf-8"))
    steps = [FlowStep("in the data", seen.n_images + seen.unreadable, seen.n_patients)]
    if seen.unreadable:
        steps.append(FlowStep("left out: unreadable", seen.unreadable, None))
    shown = list(seen.unreadable_reasons.items())[:N_SHOWN]
    steps += [FlowStep(f"unreadable: {reason}", n, None) for reason, n in shown]
    in_turn = seen.images_per_split["val"] == 0
    used = {"train": IN_TURN, "test": SPLITS["test"]} if in_turn else SPLITS
    for split, name in used.items():
        steps.append(FlowStep(f"used for {name}", seen.images_per_split[split], seen.patients_per_split[split]))
    return tuple(steps)


def make_context(sheet: BundleSheet, plan: Plan, *, run: str, split: str) -> ReportContext:
    """Return what a report says about the network behind the predictions."""
    size = plan.preprocessing
    facts = {
        "network": f"{plan.network}, {size.size_text}, {size.channels} channel(s)",
        "preprocessing": _preprocessing_text(plan),
        "starting weights": plan.weights,
        **_developed_on(plan),
        "frames": _frames_text(plan),
        "best epoch": f"{sheet.epochs_text} of at most {plan.epochs}, chosen by {plan.metric} on val",
        "device": plan.device_name,
        "patients": ", ".join(f"{name} {count}" for name, count in sheet.n_patients.items()),
        "weights SHA-256": sheet.weights_sha256,
    }
    if sheet.members:
        facts["ensemble"] = ensemble_text(sheet, plan)
    if plan.augment.test_views > 1:
        facts["views"] = f"mean of the logits of {plan.augment.test_views} views of each image, the first as it is"
    if plan.task == "multilabel":
        facts["uncertain and blank labels in training"] = f"uncertain {plan.uncertain}, blank {plan.blank}"
    if plan.warnings:
        facts["warnings of the plan"] = "; ".join(plan.warnings)
    for number, each in enumerate(sheet.recalibrations, start=1):
        facts[f"recalibration {number}"] = each.text
    return ReportContext(
        run=run,
        variant=plan.variant,
        split=split,
        calibrator=sheet.calibrator,
        operating_points=sheet.operating_points,
        facts=facts,
        sets=sheet.sets,
        referral=sheet.referral,
        level=plan.level,
        level_rule="" if plan.level == "image" else f"{plan.level_rule} of logits",
        cautions=ensemble_cautions(sheet, plan),
    )


def _developed_on(plan: Plan) -> dict[str, str]:
    """Count the images of train and val; of folds each image is in both, for different networks."""
    both = plan.n_train + plan.n_val
    train, val = (plan.n_train, plan.n_val) if plan.folds == 1 else (both, both)
    return {"training images": str(train), "validation images": str(val)}


def _preprocessing_text(plan: Plan) -> str:
    """Say how the pixels of a file become what the network sees."""
    spec = plan.preprocessing
    fitted = f"fitted into {spec.size_text} on black, proportions kept; {spec.depth}"
    mean, std = (", ".join(f"{each:.3f}" for each in values) for values in (plan.mean, plan.std))
    return f"DICOM window {spec.window}; {fitted}, scaled to 0 to 1; minus mean {mean}, divided by {std}"


def _frames_text(plan: Plan) -> str:
    """Say what files of several frames were taken for."""
    joined = f"all, one prediction per file: {plan.frame_rule} of logits"
    return {"all": joined, "error": "files of several frames are refused"}.get(plan.frames, f"{plan.frames} of a file")


def with_frames(bundle: Bundle, settings: DataSettings) -> tuple[Bundle, DataSettings]:
    """Let the bundle say what files of several frames mean, and what one prediction is about.

    Where the bundle refuses files of several frames, the recipe may say what they mean.

    Raises:
        RecipeError: The recipe says otherwise than the bundle, whose calibrator and operating point would not hold.
    """
    plan = bundle.plan
    check_as_made(plan, settings)
    if plan.frames == "error":
        said = {key: getattr(settings, key) for key in FRAMES}
        bundle = replace(bundle, plan=plan.model_copy(update=said))
    known = {key: getattr(bundle.plan, key) for key in FRAMES + LEVELS}
    if plan.task == "multilabel":
        known |= {"task": plan.task, "min_positive": 0}
    return bundle, settings.model_copy(update=known)


def check_as_made(plan: Plan, settings: DataSettings) -> None:
    """Raise ``RecipeError`` where the recipe says otherwise than the plan what one prediction is about."""
    for key in LEVELS if plan.frames == "error" else FRAMES + LEVELS:
        if key in settings.model_fields_set and getattr(settings, key) != getattr(plan, key):
            problem = f"data.{key} = {getattr(settings, key)}, but the bundle was made with {getattr(plan, key)}"
            raise RecipeError(problem, hint=f"leave data.{key} out: the bundle knows it")


def bundle_folder(run: Path | None, talk: Talk) -> Path:
    """A run folder, a bundle folder, or the newest complete run."""
    if run is None:
        chosen = newest_run()
        talk.say(f"run {chosen.folder}")
        return chosen.bundle
    return run if (run / SHEET).is_file() else open_run(run).bundle


def bundle_name(folder: Path) -> str:
    """Return what a report calls a bundle: the name of its run, or of the folder where it lies alone."""
    whole = folder.resolve()
    run = Run(whole.parent)
    return run.folder.name if run.bundle == whole else whole.name


def run_of(folder: Path, sheet: BundleSheet) -> Run | None:
    """Return the run in which a bundle folder lies; None where it lies elsewhere, or in another network's run."""
    run = Run(folder.parent)
    if not run.is_complete:
        return None
    weights = json.loads(run.done.read_text(encoding="utf-8"))["weights_sha256"]
    return run if weights == sheet.weights_sha256 else None


def tell_of_ids(settings: DataSettings, talk: Talk) -> None:
    """Say that persons can be named by what will be written, where that is wanted."""
    if settings.keep_ids:
        talk.warn("data.keep_ids = true: manifest and predictions hold patient and study ids as they are; do not share")


def known_patients(run: Run | None, manifest: Manifest, settings: DataSettings, talk: Talk) -> int | None:
    """Count patients whose id stands in the run's train or val split; None where that cannot be told."""
    if run is None:
        return None
    made_with = json.loads(run.environment.read_text(encoding="utf-8")).get(KEY_ID, "kept")
    if made_with != make_pseudonyms(keep_ids=settings.keep_ids).key_id:
        talk.warn("the run's pseudonyms were made otherwise: whether its patients are among these cannot be told")
        return None
    known = read_manifest(run.manifest, manifest.root).frame
    seen = known.loc[known["split"] != "test", "patient"]
    patients = manifest.frame["patient"]
    n_known = int(patients[patients.isin(seen)].nunique())
    return None if n_known == 0 and patients.isna().any() else n_known


def check_classes(manifest: Manifest, bundle: Bundle, talk: Talk) -> None:
    """Raise ``BundleError`` where the labels name a class that the bundle does not know.

    Of labels that do not exclude each other those that the bundle does not know are left out, and that is said.
    """
    several = bundle.plan.task == "multilabel"
    if manifest.classes and manifest.is_multilabel != several:
        problem = f"the bundle is for {_task_text(several)}, the table is of {_task_text(manifest.is_multilabel)}"
        raise BundleError(problem, hint="give labels of the bundle's kind; data.task says how a table is read")
    if several:
        _check_labels(manifest, bundle, talk)
        return
    unknown = sorted(set(manifest.classes) - set(bundle.sheet.classes))
    if unknown:
        problem = f"the labels name classes that the bundle does not know: {', '.join(unknown[:N_SHOWN])}"
        raise BundleError(problem, hint=f"rename them to the bundle's: {', '.join(bundle.sheet.classes)}")


def _task_text(several: bool) -> str:
    return "several labels that do not exclude each other" if several else "classes that exclude each other"


def _check_labels(manifest: Manifest, bundle: Bundle, talk: Talk) -> None:
    names, known = set(manifest.classes), bundle.sheet.classes
    if names.isdisjoint(known):
        problem = f"the table holds none of the bundle's labels {', '.join(known[:N_SHOWN])}"
        raise BundleError(problem, hint="rename the table's labels to the bundle's")
    if names - set(known):
        talk.warn(f"labels that the bundle does not know are left out: {', '.join(sorted(names - set(known)))}")
    if missing := [name for name in known if name not in names]:
        talk.warn(f"labels that the table does not hold are not known of any image: {', '.join(missing)}")


def score(bundle: Bundle, manifest: Manifest, talk: Talk) -> Predictions:
    """Score every image of a manifest; ``DataError`` where it holds none."""
    if len(manifest) == 0 and not manifest.unreadable:
        problem = f"no image below {manifest.root}"
        raise DataError(problem, hint="name a folder that holds DICOM, PNG, JPEG, TIFF or BMP files")
    return predict_images(bundle, manifest, workers=bundle.plan.threads, on_progress=progress_of(talk, "scoring"))
