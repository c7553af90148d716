"""``effmed calibrate``: another site's images change probabilities and threshold, and never the network."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from typer.testing import CliRunner

from effmed import workflows
from effmed.cli.app import app
from effmed.errors import BundleError, DataError, RecipeError
from effmed.evaluate.calibration import prevalence_by_confusion
from effmed.learn.bundle import read_sheet
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training
from tests.workflows import make

SMALL = ("model.weights=none", "model.image_size=32", "train.epochs=6", "train.threads=1", "train.batch_size=8")
DIVIDED = ("data.val_fraction=0.4", "data.test_fraction=0.1")
PATIENT = "data.patient_pattern=([a-z][0-9]+)"
FEW_DRAWS = "report.bootstrap_replicates=100"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained on 120 patients, 48 of them for val."""
    root = tmp_path_factory.mktemp("calibrating")
    recipe = find_recipe(None, [*SMALL, *DIVIDED, PATIENT, "train.learning_rate=0.003"])
    data = make.squares(root / "images", 120)
    workflows.train(Training("timm:test_efficientnet", data, None, recipe, root / "home"))
    return Run(root / "home")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """150 other patients, every third one sick."""
    return make.squares(tmp_path_factory.mktemp("site") / "clinic", 150, first=500, name="q", sick_every=3)


def calibrate(run, data, out, *settings, labels=None):
    recipe = find_recipe(None, [PATIENT, FEW_DRAWS, *settings])
    return workflows.calibrate(run, recipe, data=data, labels=labels, out=out)


def scored(bundle, data, out):
    workflows.predict(bundle, data, out, find_recipe(None, [PATIENT]))
    return pd.read_parquet(out).sort_values("image")


def value(made, name, stage):
    (row,) = [row for row in made.metrics if row["name"] == name]
    return row[stage]["value"]


@pytest.fixture(scope="module")
def updated(run, clinic, tmp_path_factory):
    out = tmp_path_factory.mktemp("updated") / "bundle"
    return out, calibrate(run.folder, clinic, out)


def test_the_run_under_test_is_calibrated_on_val(run):
    assert read_sheet(run.bundle).calibrator.method == "platt"


def test_constant_and_slope_are_right_on_the_sites_images(updated):
    _, made = updated
    assert (value(made, "citl", "after"), value(made, "slope", "after")) == pytest.approx((0, 1), abs=1e-6)
    assert value(made, "citl", "before") != pytest.approx(0, abs=0.05)
    assert value(made, "brier", "after") < value(made, "brier", "before")
    assert any("expect less on new ones" in note for note in made.notes)


def test_the_network_stays_and_the_new_bundle_predicts(run, updated, clinic, tmp_path):
    out, _ = updated
    before, after = scored(run.folder, clinic, tmp_path / "a.parquet"), scored(out, clinic, tmp_path / "b.parquet")
    assert before["logit_sick"].tolist() == after["logit_sick"].tolist()
    assert before["probability_sick"].tolist() != after["probability_sick"].tolist()
    assert read_sheet(out).weights_sha256 == read_sheet(run.bundle).weights_sha256


def test_the_operating_point_is_chosen_again_on_the_site(run, updated):
    out, made = updated
    (old,), (new,) = read_sheet(run.bundle).operating_points, read_sheet(out).operating_points
    assert (new.rule, new.chosen_on, new.n, new.n_events) == (old.rule, "site: clinic", 150, 50)
    assert new.digest != old.digest
    assert new.sensitivity >= 0.9
    assert (made.threshold_before, made.threshold_after) == (old.threshold, new.threshold)


def test_the_new_bundle_is_evaluated_and_tells_its_past(updated, clinic):
    out, _ = updated
    arguments = ["evaluate", str(out), "--data", str(clinic), "--json", "--set", PATIENT, "--set", FEW_DRAWS]
    result = CliRunner().invoke(app, arguments)
    report = json.loads(result.stdout)
    slope = next(each for each in report["metrics"] if (each["name"], each["stage"]) == ("slope", "calibrated"))
    assert slope["value"] == pytest.approx(1, abs=1e-6)
    assert "slope on site clinic, 150 images, 50 of the rarest class" in report["data"]["facts"]["recalibration 1"]
    first, second, *_ = report["data"]["warnings"]
    assert "validation are among these cannot be told" in first
    assert "recalibrated on images of the same name" in second
    assert second in " ".join(result.stderr.split())
    assert (report["run"], report["data"]["split"]) == (out.parent.name, "external: clinic")


def test_a_report_names_bundle_and_site_wherever_the_command_is_started(updated, clinic, monkeypatch):
    out, _ = updated
    monkeypatch.chdir(out)
    there = workflows.evaluate(Path(), find_recipe(None, [PATIENT, FEW_DRAWS]), data=clinic, labels=None)
    monkeypatch.chdir(clinic)
    here = workflows.evaluate(out, find_recipe(None, [PATIENT, FEW_DRAWS]), data=Path(), labels=None)
    assert (there.run, here.data.split) == (out.parent.name, "external: clinic")


def test_patients_of_the_training_and_of_a_recalibration_are_warned_of_in_the_report(run, updated, tmp_path):
    data = make.squares(tmp_path / "mine", 60, first=90)
    recipe = find_recipe(None, [PATIENT, FEW_DRAWS])
    warnings = workflows.evaluate(run.folder, recipe, data=data, labels=None).data.warnings
    assert "this is no test" in warnings[0]
    warnings = workflows.evaluate(updated[0], recipe, data=data, labels=None).data.warnings
    assert "none of those patients may be among these" in warnings[1]


def test_where_no_patient_is_known_it_cannot_be_told_whether_the_network_knows_them(run, clinic, tmp_path):
    prevalence = ["--set", "calibration.update=prevalence", "--set", "report.prevalence=[0.2]"]
    arguments = ["calibrate", str(run.folder), "--data", str(clinic), "--out", str(tmp_path / "b"), *prevalence]
    assert "cannot be told" in CliRunner().invoke(app, arguments).stderr


def test_bundle_and_card_say_what_was_changed_and_name_no_patient_and_no_place(run, updated):
    out, _ = updated
    (change,) = read_sheet(out).recalibrations
    assert (change.update, change.site, change.from_bundle, change.n_events) == ("slope", "clinic", "home", 50)
    assert {path.name for path in out.iterdir()} == {"weights.safetensors", "bundle.json", "CARD.md"}
    card = (out / "CARD.md").read_text()
    assert change.text in card
    assert "fitted on site: clinic" in card
    text = card + (out / "bundle.json").read_text()
    assert "q5" not in text
    assert str(run.folder.parent) not in text


def test_in_the_large_changes_a_constant(run, clinic, tmp_path):
    made = calibrate(run.folder, clinic, tmp_path / "b", "calibration.update=in-the-large")
    first, added = read_sheet(tmp_path / "b").calibrator.maps
    assert (first,) == read_sheet(run.bundle).calibrator.maps
    assert added.scale == (1.0,)
    assert value(made, "citl", "after") == pytest.approx(0, abs=1e-6)


def test_full_replaces_the_calibrator(run, clinic, tmp_path):
    settings = ("calibration.update=full", "calibration.method=beta")
    calibrate(run.folder, clinic, tmp_path / "b", *settings)
    calibrator = read_sheet(tmp_path / "b").calibrator
    assert (calibrator.method, calibrator.fitted_on, calibrator.n, len(calibrator.maps)) == (
        "beta",
        "site: clinic",
        150,
        1,
    )
    assert calibrator.prevalence == pytest.approx((2 / 3, 1 / 3))


def test_a_stated_prevalence_moves_probabilities_and_leaves_the_threshold(run, clinic, tmp_path):
    settings = ("calibration.update=prevalence", "report.prevalence=[0.05]")
    made = calibrate(run.folder, clinic, tmp_path / "b", *settings)
    old, new = read_sheet(run.bundle), read_sheet(tmp_path / "b")
    moved = logit(0.05) - logit(old.calibrator.prevalence[1])
    assert new.calibrator.maps[-1].bias == pytest.approx((moved,))
    (before,), (after,) = old.operating_points, new.operating_points
    assert (after.threshold, after.digest) == (before.threshold, before.digest)
    assert (after.rule, after.sensitivity) == (f"{before.rule}, before the prevalence was moved", None)
    assert any("same threshold" in note for note in made.notes)
    assert any("images of a class look as on val" in note for note in made.notes)
    assert (made.metrics, made.n, made.n_events) == ([], 150, None)


def test_em_moves_to_the_prevalence_that_the_probabilities_then_have_on_average(run, clinic, tmp_path):
    made = calibrate(run.folder, clinic, tmp_path / "b", "calibration.update=em")
    assert scored(tmp_path / "b", clinic, tmp_path / "s.parquet")["probability_sick"].mean() == pytest.approx(
        made.prevalence["sick"], abs=1e-9
    )
    assert made.prevalence["sick"] < read_sheet(run.bundle).calibrator.prevalence[1]
    said = next(note for note in made.notes if note.startswith("prevalence estimated by em: healthy 0."))
    low, high = (float(text) for text in re.search(r"sick 0\.\d+ \((.*) to (.*)\)", said).groups())
    assert low < made.prevalence["sick"] < high
    assert "this assumes that images of a class look as on val, and only the prevalence differs" in made.notes


def test_bbse_inverts_the_confusion_on_val(run, clinic, tmp_path):
    made = calibrate(run.folder, clinic, tmp_path / "b", "calibration.update=bbse")
    both = ["probability_healthy", "probability_sick"]
    val, site = pd.read_parquet(run.predictions("val")), scored(run.folder, clinic, tmp_path / "s.parquet")
    truth = (val["truth"] == "sick").to_numpy(dtype=int)
    wanted = prevalence_by_confusion(site[both].to_numpy(), val[both].to_numpy(), truth)
    assert list(made.prevalence.values()) == pytest.approx(wanted.tolist())


def test_labels_that_are_known_judge_a_prevalence_and_do_not_change_it(run, clinic, tmp_path):
    images = [path.relative_to(clinic).as_posix() for path in clinic.rglob("*.png")]
    labels = pd.DataFrame({"image": images, "label": [name.split("/")[0] for name in images]})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    update = "calibration.update=em"
    blind = calibrate(run.folder, clinic, tmp_path / "b", update)
    seeing = calibrate(run.folder, clinic, tmp_path / "c", update, labels=tmp_path / "labels.csv")
    assert (seeing.prevalence, blind.metrics) == (blind.prevalence, [])
    assert value(seeing, "citl", "before") != value(seeing, "citl", "after")
    assert value(seeing, "slope", "before") == pytest.approx(value(seeing, "slope", "after"))


def test_an_impossible_estimate_is_refused(run, tmp_path):
    healthy = make.squares(tmp_path / "well", 40, first=301, name="h", sick_every=999, folders=False)
    with pytest.raises(DataError, match=r"impossible prevalence healthy 1\.\d+, sick -0"):
        calibrate(run.folder, healthy, tmp_path / "b", "calibration.update=bbse")


def test_a_bare_bundle_has_no_val_and_knows_no_patients(run, clinic, tmp_path):
    bare = shutil.copytree(run.bundle, tmp_path / "bare")
    with pytest.raises(BundleError, match="bbse needs the predictions on val") as caught:
        calibrate(bare, clinic, tmp_path / "b", "calibration.update=bbse")
    assert "calibration.update=em" in caught.value.hint
    arguments = ["calibrate", str(bare), "--data", str(clinic), "--out", str(tmp_path / "b"), "--set", PATIENT]
    assert "cannot be told" in CliRunner().invoke(app, arguments).stderr


def test_a_bundle_in_another_networks_run_is_not_taken_for_its_own(run, clinic, tmp_path):
    other = shutil.copytree(run.folder, tmp_path / "other")
    (other / "done.json").write_text(json.dumps({"weights_sha256": "0" * 64}))
    with pytest.raises(BundleError, match="bbse needs"):
        calibrate(other / "bundle", clinic, tmp_path / "b", "calibration.update=bbse")


def test_patients_of_the_training_are_refused(run, tmp_path):
    data = make.squares(tmp_path / "mine", 60, first=90)
    with pytest.raises(DataError, match=r"patients of .* bear the ids") as caught:
        calibrate(run.folder, data, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert caught.value.hint


@pytest.mark.parametrize(("update", "n", "needed"), [("slope", 51, 20), ("in-the-large", 27, 10), ("full", 27, 10)])
def test_too_few_events_are_refused_with_the_reason(run, tmp_path, update, n, needed):
    data = make.squares(tmp_path / "small", n, first=600, name="q", sick_every=3)
    with pytest.raises(DataError, match=f"{n // 3} images of the rarest class, at least {needed} are needed"):
        calibrate(run.folder, data, tmp_path / "b", f"calibration.update={update}")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["calibration.method=beta"], "has no meaning with calibration.update = slope"),
        (["decision.rule=youden"], "follows the bundle's rule"),
        (["calibration.update=prevalence"], "needs the site's prevalence"),
        (["report.prevalence=[0.2]"], "report.prevalence has no meaning with calibration.update = slope"),
        (["calibration.update=prevalence", "report.prevalence=[0.2, 0.3, 0.5]"], "one share for each of 2 classes"),
    ],
)
def test_settings_that_mean_nothing_are_refused(run, clinic, tmp_path, settings, problem):
    with pytest.raises(RecipeError, match=problem):
        calibrate(run.folder, clinic, tmp_path / "b", *settings)


@pytest.mark.parametrize("setting", ["decision.value=0.5", "calibration.method=none"])
def test_prediction_refuses_settings_that_the_bundle_has_decided(run, clinic, tmp_path, setting):
    recipe = find_recipe(None, [PATIENT, setting])
    with pytest.raises(RecipeError, match="'effmed predict' would not heed it"):
        workflows.predict(run.folder, clinic, tmp_path / "scores.csv", recipe)


def test_evaluation_fits_no_calibrator(run, clinic):
    for data, more in ((None, []), (clinic, [PATIENT])):
        recipe = find_recipe(None, [*more, "calibration.method=isotonic"])
        with pytest.raises(RecipeError, match=r"calibration\.method: this evaluation would not heed it"):
            workflows.evaluate(run.folder, recipe, data=data, labels=None)


def test_the_old_bundle_is_never_written_over(run, clinic):
    for out in (run.folder, run.bundle):
        with pytest.raises(RecipeError, match="is the bundle itself"):
            calibrate(run.folder, clinic, out)


def test_a_bundle_may_be_recalibrated_again(updated, run, clinic, tmp_path):
    out, _ = updated
    settings = ("calibration.update=prevalence", "report.prevalence=[0.05]")
    calibrate(out, clinic, tmp_path / "b", *settings)
    changes = read_sheet(tmp_path / "b").recalibrations
    assert [(change.update, change.from_bundle) for change in changes] == [("slope", "home"), ("prevalence", "bundle")]
    assert len(read_sheet(tmp_path / "b").calibrator.maps) == 3
    back = calibrate(out, clinic, tmp_path / "c", "calibration.update=prevalence", "report.prevalence=[0.333333333]")
    assert read_sheet(tmp_path / "c").calibrator.maps[-1].bias == pytest.approx((0.0,), abs=1e-6)
    assert back.threshold_before == back.threshold_after


def test_the_command_prints_before_and_after(run, clinic, tmp_path):
    arguments = ["calibrate", str(run.folder), "--data", str(clinic), "--out", str(tmp_path / "b"), "--set", PATIENT]
    result = CliRunner().invoke(app, [*arguments, "-q"])
    assert result.exit_code == 0
    for part in ("before", "after", "citl sick", "slope sick", "brier sick", "threshold", "expect less on new ones"):
        assert part in result.stdout
    assert result.stderr == ""
    assert CliRunner().invoke(app, arguments).exit_code != 0
    made = json.loads(CliRunner().invoke(app, [*arguments, "--overwrite", "--json"]).stdout)
    assert made["out"] == str(tmp_path / "b")
    assert np.isfinite(made["metrics"][0]["after"]["value"])
