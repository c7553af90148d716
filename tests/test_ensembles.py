"""Ensembles: networks of folds or seeds, from the first image to one bundle, its reports and its predictions."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from effmed import workflows
from effmed.cli.app import app
from effmed.errors import BundleError, DataError, RecipeError
from effmed.learn.bundle import read_bundle
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.training import learning
from effmed.workflows.values import Training
from tests.test_end_to_end import SMALL, VARIANT, picture

RUNNER = CliRunner()
PATIENTS = "data.patient_pattern=(p[0-9]+)_"
FOLDS = ("fold-1", "fold-2", "fold-3")


class Heard(workflows.Silence):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def warn(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """42 patients, some with two images, in class folders."""
    root = tmp_path_factory.mktemp("data")
    for k in range(42):
        for i in range(1 + k % 2):
            name = "opacity" if k % 3 == 0 else "clear"
            picture(root / name / f"p{k:02d}_{i}.png", sick=name == "opacity", seed=10 * k + i)
    return root


def training(data, folder, *settings):
    return Training(VARIANT, data, None, find_recipe(None, [*SMALL, PATIENTS, *settings]), folder)


@pytest.fixture(scope="module")
def folded(data, tmp_path_factory):
    """A run of three folds that was interrupted in its second, and resumed on the command line."""
    run, heard = Run(tmp_path_factory.mktemp("runs") / "folded"), Heard()
    write, n_written = learning.write_checkpoint, []

    def interrupt(folder, state, best):
        write(folder, state, best)
        n_written.append(folder)
        if len(n_written) == 5:  # the beginning and two epochs of the first, the beginning and one of the second
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "write_checkpoint", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflows.train(training(data, run.folder, "train.folds=3"), heard)
    parts = [Run(run.folder / name) for name in FOLDS]
    before = [part.is_complete for part in parts], parts[0].done.stat().st_mtime_ns, run.is_complete
    done = RUNNER.invoke(app, ["train", "--resume", "--run", str(run.folder), "--json"])
    return run, parts, before, (heard.lines, done)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The same without an interruption."""
    run = Run(tmp_path_factory.mktemp("runs") / "whole")
    workflows.train(training(data, run.folder, "train.folds=3"))
    return run


def test_an_interrupted_ensemble_goes_on_at_its_first_unfinished_fold(folded):
    run, parts, (complete, first_done, whole_done), (lines, done) = folded
    assert (complete, whole_done) == ([True, False, False], False)
    assert f"the run can be continued: effmed train --resume --run {run.folder}" in lines
    assert done.exit_code == 0, done.output
    assert "fold-1 is complete" in done.stderr
    assert "1 of 2 epochs are done" in done.stderr
    assert parts[0].done.stat().st_mtime_ns == first_done
    assert json.loads(done.stdout)["run"] == str(run.folder)
    assert run.is_complete
    assert not any(run.folder.glob("**/last"))


def test_an_interruption_changes_no_network(folded, whole):
    first, second = (json.loads(run.done.read_text()) for run in (folded[0], whole))
    assert first == second


def test_the_division_is_told_before_anything_is_decoded(folded):
    lines = folded[3][0]
    assert [line.partition(":")[0] for line in lines if line.startswith("fold ")] == ["fold 1", "fold 2", "fold 3"]
    assert "patients shared between folds: 0" in lines


def test_every_image_beside_test_is_scored_once_by_a_network_that_never_saw_its_patient(folded):
    run, parts, *_ = folded
    manifest = pd.read_csv(run.manifest, dtype=str)
    table = pd.read_parquet(run.predictions("val"))
    developed = manifest[manifest["split"] != "test"]
    assert sorted(table["image"]) == sorted(developed["image"])
    assert set(manifest["split"]) == {"train", "test"}
    for number, part in enumerate(parts, start=1):
        seen = pd.read_csv(part.manifest, dtype=str)
        scored = table[table["fold"] == str(number)]
        assert set(scored["image"]) == set(seen.loc[seen["split"] == "val", "image"])
        assert set(scored["patient"]).isdisjoint(seen.loc[seen["split"] != "val", "patient"])
        assert set(seen.loc[seen["split"] == "test", "image"]) == set(
            manifest.loc[manifest["split"] == "test", "image"]
        )
        assert json.loads(part.fingerprint.read_text())["shared_patients"] == 0


def test_the_test_split_is_that_of_one_network_and_is_looked_at_once(folded, data):
    run, parts, *_ = folded
    plain = workflows.inspect(data, None, find_recipe(None, [PATIENTS])).overview["splits"]
    n_test = next(share["n_images"] for share in plain if share["split"] == "test")
    assert len(pd.read_parquet(run.predictions("test"))) == n_test
    assert not any((part.folder / name).exists() for part in parts for name in ("predictions", "report.json"))


def test_the_bundle_gives_the_mean_of_its_networks_logits(folded, data, tmp_path):
    run, parts, *_ = folded
    scores = {}
    for path in (run.folder, *(part.folder for part in parts)):
        workflows.predict(path, data, tmp_path / f"{path.name}.csv", find_recipe(None, [PATIENTS]))
        scores[path.name] = pd.read_csv(tmp_path / f"{path.name}.csv").set_index("image")["logit_opacity"]
    each = np.column_stack([scores[name] for name in FOLDS])
    assert each.std(axis=1).min() > 1e-4
    assert np.allclose(scores["folded"], each.mean(axis=1), atol=1e-5)
    known = pd.read_parquet(run.predictions("test")).set_index("image")["logit_opacity"]
    assert np.allclose(scores["folded"][known.index], known, atol=1e-4)


def test_out_of_fold_scores_are_those_of_the_network_that_held_the_image_out(folded, data, tmp_path):
    run, parts, *_ = folded
    table = pd.read_parquet(run.predictions("val")).set_index("image")
    workflows.predict(parts[1].folder, data, tmp_path / "second.csv", find_recipe(None, [PATIENTS]))
    second = pd.read_csv(tmp_path / "second.csv").set_index("image")["logit_opacity"]
    held_out = table.index[table["fold"] == "2"]
    others = table.index[table["fold"] != "2"]
    assert np.allclose(table.loc[held_out, "logit_opacity"], second[held_out], atol=1e-4)
    assert not np.allclose(table.loc[others, "logit_opacity"], second[others], atol=1e-3)


def test_calibrator_and_operating_point_come_from_all_out_of_fold_images(folded):
    run = folded[0]
    sheet = read_bundle(run.bundle).sheet
    n = len(pd.read_parquet(run.predictions("val")))
    assert (sheet.operating_points[0].chosen_on, sheet.operating_points[0].n) == ("val", n)
    assert (sheet.calibrator.fitted_on, sheet.calibrator.n) == ("val", n)
    assert sheet.n_patients["train and val"] + sheet.n_patients["test"] == 42


def test_the_reports_say_what_an_ensemble_is_and_what_out_of_fold_means(folded):
    run = folded[0]
    test, val = (json.loads((run.folder / name).read_text()) for name in ("report.json", "out-of-fold/report.json"))
    assert test["data"]["split"] == "test"
    assert test["data"]["facts"]["ensemble"].startswith(
        "mean of the logits of 3 networks, each learned from 2 of 3 folds"
    )
    assert any("which scatters less" in text for text in test["data"]["warnings"])
    assert val["data"]["n_images"] == len(pd.read_parquet(run.predictions("val")))
    assert val["data"]["warnings"][0].startswith("Out-of-fold")
    assert any("calibrator was fitted on these images" in text for text in val["data"]["warnings"])
    assert val["data"]["facts"]["auroc of each fold"].count(",") == 4
    assert any(metric["name"] == "auroc" and metric["unit"] == "patient" for metric in val["metrics"])
    assert (run.folder / "out-of-fold" / "report.html").is_file()
    assert "training and, each fold in its turn, validation" in json.dumps(test["tables"]["flow"])
    assert "mean of the logits of 3 networks" in (run.bundle / "CARD.md").read_text()
    assert "Ensemble: mean of the logits of 3 networks" in (run.folder / "report.html").read_text()


def test_an_ensemble_is_evaluated_again_to_the_same_report(folded):
    run = folded[0]
    report = workflows.evaluate(run.folder, find_recipe(None, []), data=None, labels=None)
    assert report.model_dump(mode="json", by_alias=True) == json.loads(run.report.read_text())


def test_the_out_of_fold_table_can_be_judged_by_fold(folded):
    table = folded[0].predictions("val")
    report = workflows.evaluate_table(table, find_recipe(None, ["report.subgroups=[fold]"]))
    assert {each.subgroup.value for each in report.metrics if each.subgroup is not None} == {"1", "2", "3"}
    written = json.loads((folded[0].folder / "out-of-fold" / "report.json").read_text())
    assert workflows.evaluate_table(table, find_recipe(None, [])).data.digest == written["data"]["digest"]


def test_an_ensemble_is_compared_recalibrated_and_evaluated_elsewhere_like_one_network(folded, whole, data, tmp_path):
    run = folded[0]
    assert workflows.compare(run.folder, whole.folder, find_recipe(None, [])).names == ("folded", "whole")
    alone = shutil.copytree(run.bundle, tmp_path / "alone")
    for name in ("0", "1"):
        for k in range(24):
            picture(tmp_path / "site" / ("opacity", "clear")[int(name)] / f"q{name}{k}_0.png", sick=name == "0", seed=k)
    recipe = find_recipe(None, ["data.patient_pattern=(q[0-9]+)_", "calibration.update=in-the-large"])
    workflows.calibrate(alone, recipe, data=tmp_path / "site", labels=None, out=tmp_path / "new")
    first, second = read_bundle(run.bundle), read_bundle(tmp_path / "new")
    assert second.sheet.members == first.sheet.members
    assert second.sheet.calibrator != first.sheet.calibrator
    site = find_recipe(None, ["data.patient_pattern=(q[0-9]+)_"])
    report = workflows.evaluate(tmp_path / "new", site, data=tmp_path / "site", labels=None)
    assert any("which scatters less" in text for text in report.data.warnings)


@pytest.mark.parametrize("damage", ["torn", "other", "swapped", "missing"])
def test_each_network_of_a_bundle_is_verified(folded, tmp_path, damage):
    bundle = shutil.copytree(folded[0].bundle, tmp_path / "bundle")
    second = bundle / "weights-2.safetensors"
    if damage == "torn":
        second.write_bytes(second.read_bytes()[:-100])
    elif damage == "missing":
        second.unlink()
    elif damage == "other":
        shutil.copy(bundle / "weights-1.safetensors", second)
    else:
        shutil.copy(bundle / "weights-1.safetensors", tmp_path / "first")
        shutil.copy(second, bundle / "weights-1.safetensors")
        shutil.copy(tmp_path / "first", second)
    with pytest.raises(BundleError, match="weights of bundle"):
        read_bundle(bundle)


def test_one_network_of_an_ensemble_is_neither_tested_nor_finished_alone(folded, data, tmp_path):
    run, parts, *_ = folded
    for action in (
        lambda: workflows.evaluate(parts[0].folder, find_recipe(None, []), data=None, labels=None),
        lambda: workflows.compare(parts[0].folder, run.folder, find_recipe(None, [])),
        lambda: workflows.resume(parts[0].folder),
    ):
        with pytest.raises(BundleError, match="one network of") as caught:
            action()
        assert str(run.folder) in caught.value.hint


def test_a_training_starts_from_one_network_and_not_from_several(folded, data, tmp_path):
    run, parts, *_ = folded
    with pytest.raises(BundleError, match="ensemble of 3 networks") as caught:
        workflows.train(training(data, tmp_path / "no", f"model.weights={run.folder}"))
    assert "fold-1" in caught.value.hint
    workflows.train(training(data, tmp_path / "yes", f"model.weights={parts[0].folder}", "train.epochs=1"))
    assert json.loads(Run(tmp_path / "yes").plan.read_text())["weights"] == "bundle fold-1"


@pytest.mark.slow
def test_seeds_are_an_ensemble_of_the_networks_that_each_seed_gives_alone(data, tmp_path):
    workflows.train(training(data, tmp_path / "seeds", "train.seeds=2", "train.seed=5"))
    workflows.train(training(data, tmp_path / "alone", "train.seed=6"))
    run, alone = Run(tmp_path / "seeds"), Run(tmp_path / "alone")
    bundle = read_bundle(run.bundle)
    assert [member.name for member in bundle.sheet.members] == ["seed-5", "seed-6"]
    assert bundle.sheet.members[1].weights_sha256 == json.loads(alone.done.read_text())["weights_sha256"]
    assert not (run.folder / "out-of-fold").exists()
    manifests = [pd.read_csv(each.manifest, dtype=str) for each in (run, alone)]
    pd.testing.assert_frame_equal(*manifests)
    val, one = (pd.read_parquet(each.predictions("val")).set_index("image")["logit_opacity"] for each in (run, alone))
    assert set(val.index) == set(one.index)
    assert not np.allclose(val, one[val.index], atol=1e-3)
    warnings = json.loads(run.report.read_text())["data"]["warnings"]
    assert not any("out-of-fold" in text.lower() for text in warnings)


@pytest.mark.slow
def test_a_network_that_waits_starts_from_the_weights_of_the_first(data, tmp_path, monkeypatch):
    """The weights that an ensemble started from may be gone when it is resumed."""
    workflows.train(training(data, tmp_path / "first", "train.epochs=1"))
    start = f"model.weights={tmp_path / 'first'}"
    workflows.train(training(data, tmp_path / "whole", start, "train.seeds=2", "train.epochs=1"))

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("effmed.workflows.training.members.finish_member", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflows.train(training(data, tmp_path / "parts", start, "train.seeds=2", "train.epochs=1"))
    shutil.rmtree(tmp_path / "first")
    workflows.resume(tmp_path / "parts")
    first, second = (json.loads(Run(tmp_path / name).done.read_text()) for name in ("whole", "parts"))
    assert first == second


def test_an_ensemble_that_stops_before_its_first_epoch_leaves_nothing(data, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "fit_steps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflows.train(training(data, tmp_path / "run", "train.folds=2"))
    assert not (tmp_path / "run").exists()


def test_folds_and_seeds_together_are_refused(data, tmp_path):
    with pytest.raises(RecipeError, match=r"train\.folds = 2 and train\.seeds = 3"):
        workflows.plan(training(data, None, "train.folds=2", "train.seeds=3"))


def test_a_dry_run_prints_the_folds_and_the_reason_and_writes_nothing(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [part for setting in (*SMALL, PATIENTS) for part in ("--set", setting)]
    arguments = ["train", "--variant", VARIANT, "--data", str(data), "--dry-run", "--folds", "3", *sets]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "fold 3: " in done.stderr
    assert "3 networks, each learns from all but one fold" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_the_networks_of_folds_have_one_plan(folded):
    run, parts, *_ = folded
    plans = [json.loads(each.plan.read_text()) for each in (run, *parts)]
    differing = {name for name in plans[0] if len({json.dumps(plan[name]) for plan in plans}) > 1}
    assert differing <= {"folds", "n_train", "n_val"}
    assert [plan["folds"] for plan in plans] == [3, 1, 1, 1]


def test_the_bundle_of_an_ensemble_is_free_of_patients_and_paths(folded):
    bundle = folded[0].bundle
    names = {path.name for path in bundle.iterdir()}
    assert names == {"bundle.json", "CARD.md", *(f"weights-{k}.safetensors" for k in (1, 2, 3))}
    text = (bundle / "bundle.json").read_text() + (bundle / "CARD.md").read_text()
    patients = pd.read_csv(folded[0].manifest, dtype=str)["patient"].unique()
    assert len(patients) > 10
    assert not any(patient in text for patient in patients)
    assert "png" not in text
    assert str(folded[0].folder) not in text
    assert torch.is_tensor(next(read_bundle(bundle).network.parameters()))


@pytest.mark.slow
def test_patients_that_are_one_prediction_each_have_one_out_of_fold(data, tmp_path):
    settings = ("train.folds=2", "train.epochs=1", "data.level=patient")
    workflows.train(training(data, tmp_path / "run", *settings))
    run = Run(tmp_path / "run")
    manifest, table = pd.read_csv(run.manifest, dtype=str), pd.read_parquet(run.predictions("val"))
    fold_of = manifest[manifest["split"] != "test"].groupby("patient")["fold"].first()
    assert table.set_index("patient")["fold"].to_dict() == fold_of.to_dict()
    assert len(table) == len(fold_of)


@pytest.mark.slow
def test_heads_that_learn_alone_are_an_ensemble_too_and_resume_to_the_same(data, tmp_path, monkeypatch):
    workflows.train(training(data, tmp_path / "first", "train.epochs=1"))
    settings = (f"model.weights={tmp_path / 'first'}", "train.depth=head", "train.folds=2", "train.epochs=2")
    workflows.train(training(data, tmp_path / "whole", *settings))
    write = learning.write_checkpoint

    def interrupt(folder, state, best):
        write(folder, state, best)
        if state.epoch > 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning, "write_checkpoint", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflows.train(training(data, tmp_path / "parts", *settings))
    workflows.resume(tmp_path / "parts")
    first, second = (json.loads(Run(tmp_path / name).done.read_text()) for name in ("whole", "parts"))
    assert first == second


@pytest.mark.slow
def test_a_fold_that_is_killed_goes_on_as_if_nothing_had_happened(data, tmp_path):
    settings = ("train.folds=3", "train.epochs=6", "train.patience=6")
    workflows.train(training(data, tmp_path / "whole", *settings))
    sets = [part for setting in (*SMALL, PATIENTS, *settings) for part in ("--set", setting)]
    run = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "effmed",
        "train",
        "--variant",
        VARIANT,
        "--data",
        str(data),
        "--run",
        str(run),
        *sets,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "fold-2" / "last" / "epoch-0002").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert [(run / name / "done.json").exists() for name in FOLDS] == [True, False, False]
    done = RUNNER.invoke(app, ["train", "--resume", "--run", str(run)])
    assert done.exit_code == 0, done.output
    first, second = (json.loads((folder / "done.json").read_text()) for folder in (tmp_path / "whole", run))
    assert first == second
    numbers = [json.loads(line)["number"] for line in (run / "fold-2" / "history.jsonl").read_text().splitlines()]
    assert numbers == list(range(1, 7))


def test_a_fold_that_cannot_be_learned_from_is_named_and_leaves_nothing(data, tmp_path, monkeypatch):
    """Of several labels one may be always present in the other folds; which labels, the plan of the fold checks."""
    from effmed.workflows.training import members

    decide, calls = members.decide, []

    def refuse(training, manifest, *, measures):
        calls.append(manifest)
        if len(calls) == 2:
            raise DataError("label 'x' is always present in train", hint="leave it out")
        fingerprint, plan = decide(training, manifest, measures=measures)
        return fingerprint, plan.model_copy(update={"warnings": ("images of this fold are small",)})

    monkeypatch.setattr(members, "decide", refuse)
    heard = Heard()
    with pytest.raises(DataError, match=r"fold-2: label 'x'") as caught:
        workflows.train(training(data, tmp_path / "run", "train.folds=3"), heard)
    assert "fold-1: images of this fold are small" in heard.lines
    assert caught.value.hint.endswith("or take fewer folds")
    assert not (tmp_path / "run").exists()


def test_a_run_inside_another_runs_folder_is_no_network_of_it(folded, data, tmp_path):
    run = shutil.copytree(folded[0].folder, tmp_path / "run")
    with pytest.raises(BundleError, match="holds no training"):
        workflows.resume(run / "again")
    with pytest.raises(BundleError, match="one network of the ensemble"):
        workflows.resume(run / "fold-2")


def test_starting_weights_that_a_disk_lost_are_told(data, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("effmed.workflows.training.members.finish_member", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflows.train(training(data, tmp_path / "run", "train.seeds=2", "train.epochs=1"))
    (tmp_path / "run" / "last" / "start.json").write_text("{")
    with pytest.raises(BundleError, match="starting weights"):
        workflows.resume(tmp_path / "run")
    assert (tmp_path / "run" / "plan.json").exists()
