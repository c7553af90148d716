"""One story on patients of several images: every image is learned from, and a patient is one prediction."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from effmed import workflows
from effmed.errors import RecipeError
from effmed.learn.bundle import read_bundle
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.talk import Silence
from effmed.workflows.values import Training

SMALL = ("model.weights=none", "model.image_size=32", "train.epochs=2", "train.threads=1", "train.batch_size=8")
PATIENT = "data.patient_pattern=(p[0-9]+)"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """36 patients of 1 to 3 images; every third patient has one image with a bright square, the others are clear."""
    root = tmp_path_factory.mktemp("patients")
    for k in range(36):
        for number in range(1 + (k + k // 3) % 3):
            chance = np.random.default_rng([k, number])
            sick = k % 3 == 0 and number == 0
            pixels = chance.integers(0, 100, (40, 48)).astype(np.uint8)
            row, column = chance.integers(4, 24, 2)
            pixels[row : row + 12, column : column + 12] += 130 * sick
            path = root / ("opacity" if sick else "clear") / f"p{k:02d}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    return root


def training(data, run, *settings):
    recipe = find_recipe(None, [*SMALL, PATIENT, *settings])
    return Training("timm:test_efficientnet", data, None, recipe, run)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "patients"
    workflows.train(training(pictures, folder, "data.level=patient", "data.level_rule=max"))
    return Run(folder)


def test_every_patient_is_one_row_and_positive_as_soon_as_one_image_is(run):
    manifest = pd.read_csv(run.manifest)
    assert len(manifest) > manifest["patient"].nunique() == 36
    for split in ("val", "test"):
        table = pd.read_parquet(run.predictions(split))
        images = manifest[manifest["split"] == split]
        expected = images.groupby("patient")["label"].agg(
            lambda labels: "opacity" if "opacity" in set(labels) else "clear"
        )
        assert table.set_index("patient")["truth"].to_dict() == expected.to_dict()


def test_what_decides_is_chosen_on_patients(run):
    sheet, val = read_bundle(run.bundle).sheet, pd.read_parquet(run.predictions("val"))
    assert {sheet.operating_points[0].n, sheet.calibrator.n, sheet.referral.n, sum(sheet.sets.n_per_class)} == {
        len(val)
    }


def test_plan_and_report_say_what_one_prediction_is_about(run):
    plan, report = json.loads(run.plan.read_text()), json.loads(run.report.read_text())
    assert (plan["level"], plan["level_rule"]) == ("patient", "max")
    assert plan["reasons"]["data.level"] == "set by the recipe"
    assert (report["data"]["level"], report["data"]["level_rule"]) == ("patient", "max of logits")
    assert {metric["level"] for metric in report["metrics"]} == {"patient"}
    steps = [row[0] for row in report["tables"]["flow"]["rows"]]
    assert steps[:4] == ["in the data", "used for training", "used for validation", "used for the test"]


def test_prediction_gives_the_test_patients_their_logits_again(run, pictures, tmp_path):
    workflows.predict(run.folder, pictures, tmp_path / "s.csv", find_recipe(None, [PATIENT]))
    found = pd.read_csv(tmp_path / "s.csv").set_index("patient")
    known = pd.read_parquet(run.predictions("test")).set_index("patient")
    assert len(found) == 36
    assert np.allclose(found.loc[known.index, "logit_opacity"], known["logit_opacity"], atol=1e-4)
    assert (found.loc[known.index, "decision"] == known["decision"]).all()
    assert set(found["referred"]) <= {"yes", "no"}
    assert found["prediction_set"].isin(["clear", "opacity", "clear | opacity", "none"]).all()


def test_an_external_set_is_evaluated_by_patient(run, pictures):
    report = workflows.evaluate(run.folder, find_recipe(None, [PATIENT]), data=pictures, labels=None)
    assert report.data.n_evaluated == 36


def test_another_level_than_the_bundles_is_refused(run, pictures, tmp_path):
    for recipe in (find_recipe(None, ["data.level=image"]), find_recipe(None, ["data.level_rule=mean"])):
        with pytest.raises(RecipeError, match="but the bundle was made with"):
            workflows.evaluate(run.folder, recipe, data=None, labels=None)
        with pytest.raises(RecipeError, match="but the bundle was made with"):
            workflows.predict(run.folder, pictures, tmp_path / "s.csv", recipe)


def test_a_table_of_images_is_evaluated_by_patient_where_the_recipe_says_so(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("image,patient,y,p\na,x,0,0.2\nb,x,1,0.7\nc,y,0,0.3\nd,z,1,0.9\n", encoding="utf-8")
    report = workflows.evaluate_table(path, find_recipe(None, ["data.level=patient", "data.level_rule=noisy-or"]))
    assert (report.data.n_evaluated, report.data.level_rule) == (3, "noisy-or of probabilities")
    assert report.tables["flow"].rows[0] == ["images in the file", 4, 3]


def test_noisy_or_of_three_classes_is_refused_before_anything_is_written(tmp_path):
    for k in range(30):
        path = tmp_path / "data" / "abc"[k % 3] / f"p{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(k).integers(0, 255, (40, 48)).astype(np.uint8))
    wanted = training(tmp_path / "data", tmp_path / "run", "data.level=patient", "data.level_rule=noisy-or")
    with pytest.raises(RecipeError, match="noisy-or is for two classes, not for 3"):
        workflows.train(wanted)
    assert not (tmp_path / "run").exists()


def test_a_file_that_cannot_be_read_may_be_missing_from_its_patient_and_that_is_said(run, pictures, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("p00_0.png", "p03_0.png"):
        (folder / name).write_bytes((pictures / "opacity" / name).read_bytes())
    (folder / "lost.png").write_bytes(b"no picture")
    heard = []
    talk = Silence()
    talk.warn = heard.append
    workflows.predict(run.folder, folder, tmp_path / "s.csv", find_recipe(None, [PATIENT]), talk)
    assert any("1 unreadable files name no patient" in text for text in heard)
