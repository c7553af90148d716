"""One story on made images with two independent bright marks: several labels from the table to the report."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from effmed import workflows
from effmed.errors import BundleError, DataError
from effmed.learn.bundle import read_bundle
from effmed.learn.plan import Plan
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.scoring.bundles import check_classes
from effmed.workflows.values import Training
from tests import make

SMALL = (
    "model.weights=none",
    "model.image_size=32",
    "train.epochs=2",
    "train.threads=1",
    "train.batch_size=8",
    "report.bootstrap_replicates=100",
)
VARIANT = "timm:test_efficientnet"
LABELS = ("left", "right")
N_PATIENTS = 48


def picture(path, marks, *, seed):
    """Noise, with a bright square in the left half, in the right half, in both or in neither."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 100, (40, 40)).astype(np.uint8)
    for column, held in zip((4, 24), marks, strict=True):
        if held:
            pixels[12:26, column : column + 12] += 130
    cv2.imwrite(str(path), pixels)


def marks_of(k):
    return (k % 2 == 0, k % 3 == 0)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """48 patients, a third with two images; a table with a column per label, of which some are uncertain or blank."""
    root = tmp_path_factory.mktemp("marks")
    rows = []
    for k in range(N_PATIENTS):
        for i in range(1 + (k % 3 == 1)):
            picture(root / f"p{k:02d}_{i}.png", marks_of(k), seed=10 * k + i)
            cells = ["-1" if k % 17 == 5 else str(int(marks_of(k)[0])), "" if k % 16 == 6 else str(int(marks_of(k)[1]))]
            rows.append((f"p{k:02d}_{i}.png", f"p{k:02d}", *cells))
    pd.DataFrame(rows, columns=["path", "patient_id", *LABELS]).to_csv(root / "labels.csv", index=False)
    named = [
        (path, patient, "|".join(np.array(LABELS)[list(marks_of(int(patient[1:])))])) for path, patient, *_ in rows
    ]
    names = pd.DataFrame(named, columns=["path", "patient_id", "findings"])
    names.assign(findings=names["findings"].replace("", "No Finding")).to_csv(root / "names.csv", index=False)
    return root


def training(images, folder, *settings, labels="labels.csv"):
    return Training(VARIANT, images, images / labels, find_recipe(None, [*SMALL, *settings]), folder)


@pytest.fixture(scope="session")
def marks_run(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "marks"
    workflows.train(training(images, folder, "imbalance.method=weights"))
    return Run(folder)


def plan_of(run):
    return Plan.model_validate_json(run.plan.read_text())


def test_the_task_is_read_from_the_table_and_its_reason_said(marks_run):
    plan = plan_of(marks_run)
    assert (plan.task, plan.classes, plan.n_outputs) == ("multilabel", LABELS, 2)
    assert plan.reasons["task"].startswith("task multilabel: 2 columns of labels")
    assert "uncertain labels in train: left out of the loss" in plan.reasons["train.uncertain"]


def test_the_manifest_keeps_a_column_per_label(marks_run, images):
    manifest = pd.read_csv(marks_run.manifest, dtype="string", keep_default_na=False).set_index("image")
    table = pd.read_csv(images / "labels.csv", dtype="string", keep_default_na=False).set_index("path")
    for name in LABELS:
        assert (manifest[f"label_{name}"] == table.loc[manifest.index, name]).all()
    assert manifest.loc["p00_0.png", "label"] == "left|right"


def test_the_fingerprint_counts_every_kind_of_label(marks_run, images):
    counts = json.loads(marks_run.fingerprint.read_text())["label_counts"]["all"]
    table = pd.read_csv(images / "labels.csv", dtype="string", keep_default_na=False)
    for name in LABELS:
        kinds = {"1": "present", "0": "absent", "-1": "uncertain", "": "blank"}
        assert counts[name] == {kind: int((table[name] == text).sum()) for text, kind in kinds.items()}


def test_no_patient_stands_in_two_splits(marks_run):
    manifest = pd.read_csv(marks_run.manifest)
    assert (manifest.groupby("patient")["split"].nunique() == 1).all()


def test_every_label_has_its_own_calibrated_probability(marks_run):
    sheet = read_bundle(marks_run.bundle).sheet
    table = pd.read_parquet(marks_run.predictions("test"))
    shift = sheet.calibrator.prior_shift
    assert len(shift) == 2
    assert all(shift)  # of the weights, which differ
    raw = table[[f"logit_{name}" for name in LABELS]].to_numpy() - np.array(shift)
    for each in sheet.calibrator.maps:
        raw = raw * np.array(each.scale) + np.array(each.bias)
    assert np.allclose(expit(raw), table[[f"probability_{name}" for name in LABELS]])


def test_the_decision_names_the_labels_called(marks_run):
    points = {point.class_name: point.threshold for point in read_bundle(marks_run.bundle).sheet.operating_points}
    assert set(points) == set(LABELS)
    for _, row in pd.read_parquet(marks_run.predictions("test")).iterrows():
        called = [name for name in LABELS if row[f"probability_{name}"] >= points[name]]
        assert row["decision"] == (" | ".join(called) or "none")


def test_the_report_judges_each_label_and_repeats(marks_run):
    known = json.loads(marks_run.report.read_text())
    assert known["data"]["task"] == "multilabel"
    assert {each["class"] for each in known["metrics"] if each["name"] == "auroc"} == set(LABELS)
    again = workflows.evaluate(marks_run.folder, find_recipe(None, SMALL[-1:]), data=None, labels=None)
    assert again.model_dump(mode="json", by_alias=True) == known


def test_prediction_needs_no_labels_and_gives_the_same_logits(marks_run, images, tmp_path):
    recipe = find_recipe(None, ["data.one_image_per_patient=true"])
    scored = workflows.predict(marks_run.folder, images, tmp_path / "s.csv", recipe)
    found = pd.read_csv(tmp_path / "s.csv").set_index("image")
    known = pd.read_parquet(marks_run.predictions("test")).set_index("image")
    assert scored.n_ok == len(pd.read_csv(images / "labels.csv"))
    assert found[[f"truth_{name}" for name in LABELS]].isna().all(axis=None)
    for name in LABELS:
        assert np.allclose(found.loc[known.index, f"logit_{name}"], known[f"logit_{name}"], atol=1e-4)


def test_another_table_is_read_as_the_bundles_labels(marks_run, images):
    """One of names, of which some are unknown to the bundle."""
    table = pd.read_csv(images / "names.csv")
    table.loc[0, "findings"] += "|other"
    table.to_csv(images / "other.csv", index=False)
    talk = Heard()
    recipe = find_recipe(None, ["data.label_column=findings", *SMALL[-1:]])
    report = workflows.evaluate(marks_run.folder, recipe, data=images, labels=images / "other.csv", talk=talk)
    assert report.data.classes == list(LABELS)
    assert report.data.images_per_class["left"] == sum(table["findings"].str.contains("left"))
    assert any("left out: other" in text for text in talk.warned)


class Heard(workflows.Silence):
    """Remembers what it was warned of."""

    def __init__(self):
        self.warned = []

    def warn(self, text):
        self.warned.append(text)


def test_labels_of_classes_are_refused_by_a_bundle_of_several_labels(marks_run, images, tmp_path):
    table = pd.read_csv(images / "names.csv").rename(columns={"findings": "label"}).assign(label="nothing known")
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(BundleError, match="none of the bundle's labels"):
        workflows.evaluate(marks_run.folder, find_recipe(None, []), data=images, labels=tmp_path / "t.csv")


def test_tables_of_the_other_kind_are_refused_by_name(marks_run):
    bundle = read_bundle(marks_run.bundle)
    exclusive = replace(bundle, plan=bundle.plan.model_copy(update={"task": "binary"}))
    several = make.several({"left": ["1"], "right": ["1"]})
    with pytest.raises(BundleError, match="the table is of classes that exclude each other"):
        check_classes(make.manifest(labels=["left", "right"]), bundle, Heard())
    with pytest.raises(BundleError, match="the table is of several labels"):
        check_classes(several, exclusive, Heard())


def test_labels_that_a_table_lacks_are_not_known_and_that_is_said(marks_run):
    talk = Heard()
    check_classes(make.several({"left": ["1", "0"]}), read_bundle(marks_run.bundle), talk)
    assert talk.warned == ["labels that the table does not hold are not known of any image: right"]


def test_recalibration_is_refused_by_name(marks_run, images, tmp_path):
    with pytest.raises(BundleError, match="has several labels"):
        workflows.calibrate(
            marks_run.folder, find_recipe(None, []), data=images, labels=images / "labels.csv", out=tmp_path / "new"
        )


def test_an_interrupted_training_goes_on_to_the_same_weights(images, tmp_path, marks_run, monkeypatch):
    class Stop(workflows.Silence):
        def say(self, text):
            if text.startswith("epoch 1/"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workflows.train(training(images, tmp_path / "run", "imbalance.method=weights"), Stop())
    workflows.resume(tmp_path / "run")
    first, second = (json.loads(run.done.read_text()) for run in (marks_run, Run(tmp_path / "run")))
    assert first == second


def test_a_study_has_every_label_that_one_of_its_images_has(images, tmp_path):
    workflows.train(training(images, tmp_path / "run", "train.epochs=1", "data.level=patient"))
    table = pd.read_parquet(Run(tmp_path / "run").predictions("test"))
    assert table["patient"].is_unique


def test_an_inspection_counts_and_shows_every_label(images, tmp_path):
    recipe = find_recipe(None, [])
    found = workflows.inspect(images, images / "labels.csv", recipe, out=tmp_path / "out")
    table = pd.read_csv(images / "labels.csv")
    assert found.classes == {name: int((table[name] == 1).sum()) for name in LABELS}
    assert {finding["kind"] for finding in found.findings} <= {"near-duplicates", "shortcut"}
    assert "with none of the labels" in (tmp_path / "out" / "index.html").read_text()


def test_names_between_bars_are_read_as_several_labels(images):
    plan = workflows.plan(training(images, None, "data.label_column=findings", labels="names.csv"))
    assert (plan.task, plan.classes) == ("multilabel", LABELS)
    assert "names of 'findings' between '|'" in plan.reasons["task"]


def test_one_key_overrides_a_wrong_guess(images):
    settings = ("data.label_column=findings", "data.task=multiclass")
    plan = workflows.plan(training(images, None, *settings, labels="names.csv"))
    assert plan.task == "multiclass"
    assert "left|right" in plan.classes


def test_a_label_that_no_training_image_has_is_refused(images, tmp_path):
    table = pd.read_csv(images / "labels.csv", dtype="string").assign(never="0")
    table.to_csv(tmp_path / "t.csv", index=False)
    made = replace(training(images, None), labels=tmp_path / "t.csv")
    with pytest.raises(DataError, match="present in no training image: never"):
        workflows.plan(made)
    rare = find_recipe(None, [*SMALL, "data.min_positive=3", "data.label_columns=[left,right,never]"])
    plan = workflows.plan(replace(made, recipe=rare))
    assert plan.classes == LABELS


def test_a_label_whose_val_lacks_a_kind_has_no_operating_point_and_the_report_says_so(images, tmp_path):
    """All images of val have the label ``always``."""
    run = tmp_path / "run"
    table = pd.read_csv(images / "labels.csv", dtype="string")
    split = np.array(["train", "val", "test"])[(np.arange(N_PATIENTS) // 4) % 3]
    table["split"] = [split[int(patient[1:])] for patient in table["patient_id"]]
    table["always"] = np.where((table["split"] == "val") | (table.index % 2 == 0), "1", "0")
    table.to_csv(tmp_path / "t.csv", index=False)
    talk = Heard()
    workflows.train(replace(training(images, run, "train.epochs=1"), labels=tmp_path / "t.csv"), talk)
    bundle = read_bundle(run / "bundle")
    assert {point.class_name for point in bundle.sheet.operating_points} == set(LABELS)
    assert any("no operating point for class 'always' on val" in text for text in talk.warned)
    report = json.loads((run / "report.json").read_text())
    assert any("always is never called" in text for text in report["data"]["warnings"])
    assert "always never: it has no operating point" in (run / "bundle" / "CARD.md").read_text()
    again = workflows.evaluate(run, find_recipe(None, ["decision.value=0.8"]), data=None, labels=None)
    assert any("no operating point for class 'always' on val" in text for text in again.data.warnings)


@pytest.mark.slow
def test_folds_of_several_labels_are_judged_and_calibrated_together(images, tmp_path):
    settings = ("imbalance.method=asymmetric", "train.folds=2", "train.epochs=1")
    workflows.train(training(images, tmp_path / "run", *settings))
    run = Run(tmp_path / "run")
    table = pd.read_parquet(run.predictions("val"))
    manifest = pd.read_csv(run.manifest, dtype=str)
    assert sorted(table["image"]) == sorted(manifest.loc[manifest["split"] != "test", "image"])
    assert set(table["fold"]) == {"1", "2"}
    report = json.loads((run.folder / "out-of-fold" / "report.json").read_text())
    assert {metric["class"] for metric in report["metrics"] if metric["name"] == "auroc"} == set(LABELS)
    parts = [read_bundle(run.folder / name / "bundle").sheet.calibrator for name in ("fold-1", "fold-2")]
    whole = read_bundle(run.bundle).sheet.calibrator
    assert [part.fitted_on for part in parts] == ["", ""]
    assert len(parts[0].maps) == 1
    assert (whole.maps[0], whole.fitted_on) == (parts[0].maps[0], "val")
