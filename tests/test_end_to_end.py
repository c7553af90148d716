"""One story on made radiographs: inspect → train → evaluate → predict, and what happens when something is wrong."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from effmed import workflows
from effmed.cli.app import app
from effmed.errors import BundleError, DataError, EffmedError, MachineError, PreemptedError, RecipeError
from effmed.learn.bundle import read_bundle, weights_digest
from effmed.learn.kernels.build import Kernels
from effmed.learn.kernels.check import find_kernels
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.scoring import make_context
from effmed.workflows.values import Training

RUNNER = CliRunner()
SMALL = ("model.weights=none", "model.image_size=32", "train.epochs=2", "train.threads=1", "train.batch_size=8")
VARIANT = "timm:test_efficientnet"


def picture(path, *, sick, seed):
    """Noise, with a bright square at a varying place when sick."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 100, (40, 48)).astype(np.uint8)
    if sick:
        row, column = chance.integers(4, 24, 2)
        pixels[row : row + 12, column : column + 12] += 130
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="session")
def xrays(tmp_path_factory):
    """30 patients, some with two images, in class folders."""
    root = tmp_path_factory.mktemp("xrays")
    for k in range(30):
        for i in range(1 + k % 2):
            name = "opacity" if k % 3 == 0 else "clear"
            picture(root / name / f"p{k:02d}_{i}.png", sick=name == "opacity", seed=10 * k + i)
    return root


def training(data, folder, *settings, labels=None):
    recipe = find_recipe(None, [*SMALL, "data.patient_pattern=(p[0-9]+)_", *settings])
    return Training(VARIANT, data, labels, recipe, folder)


@pytest.fixture(scope="session")
def tiny_run(xrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    workflows.train(training(xrays, folder))
    return Run(folder)


def test_a_run_holds_everything_and_the_marker(tiny_run):
    names = {path.name for path in tiny_run.folder.iterdir()}
    wanted = (
        "recipe.yaml fingerprint.json audit.json plan.json manifest.csv environment.json history.jsonl training.html"
    )
    assert names >= {*wanted.split(), "bundle", "predictions", "report.json", "report.html", "done.json"}
    assert "last" not in names
    assert tiny_run.is_complete


def test_no_patient_stands_in_two_splits(tiny_run):
    manifest = pd.read_csv(tiny_run.manifest)
    assert (manifest.groupby("patient")["split"].nunique() == 1).all()
    assert json.loads(tiny_run.fingerprint.read_text())["shared_patients"] == 0


def test_the_bundle_names_no_patient_and_no_file(tiny_run):
    text = "".join(path.read_text() for path in (tiny_run.bundle / "bundle.json", tiny_run.bundle / "CARD.md"))
    assert not re.search(r"p\d\d(_|\b)|\.png", text)
    assert {path.name for path in tiny_run.bundle.iterdir()} == {"weights.safetensors", "bundle.json", "CARD.md"}


def test_the_report_names_no_patient_and_files_in_its_lists_of_errors_alone(tiny_run):
    page = (tiny_run.folder / "report.html").read_text()
    before, after = page.split('<h2 id="errors">')
    assert ".png" not in before + after.split("</section>")[1]
    report = json.loads(tiny_run.report.read_text())
    for name in ("worst_false_positives", "worst_false_negatives"):
        report["tables"].pop(name)
    assert not re.search(r"\.png|\bp\d\d\b", json.dumps(report))
    assert not re.search(r"\bp\d\d\b", page)


def with_pictures(run, out, *more):
    arguments = ["evaluate", str(run), "--out", str(out), "--set", "report.thumbnails=true", *map(str, more)]
    done = RUNNER.invoke(app, arguments)
    return done, (out / "report.html").read_text() if (out / "report.html").exists() else ""


def n_errors(run_or_out):
    tables = json.loads((run_or_out / "report.json").read_text())["tables"]
    return sum(len(tables[name]["rows"]) for name in ("worst_false_positives", "worst_false_negatives"))


def test_the_worst_errors_have_pictures_where_they_are_wanted(tiny_run, xrays, tmp_path):
    assert "<img" not in (tiny_run.folder / "report.html").read_text()
    done, page = with_pictures(tiny_run.folder, tmp_path / "own")
    assert done.exit_code == 0, done.output
    assert page.count('<img src="data:image/png;base64,') == n_errors(tmp_path / "own") > 0
    pattern = ("--set", "data.patient_pattern=(p[0-9]+)_")
    done, page = with_pictures(tiny_run.bundle, tmp_path / "given", "--data", xrays, *pattern)
    assert done.exit_code == 0, done.output
    assert page.count('<img src="data:image/png;base64,') == n_errors(tmp_path / "given") > 0


def test_pictures_of_images_that_are_gone_are_refused_before_anything_is_written(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run.folder, tmp_path / "run")
    facts = json.loads((run / "environment.json").read_text()) | {"data": str(tmp_path / "gone")}
    (run / "environment.json").write_text(json.dumps(facts))
    done, _ = with_pictures(run, tmp_path / "out")
    assert isinstance(done.exception, DataError)
    assert "are no longer at" in done.exception.problem
    assert not (tmp_path / "out").exists()


def test_a_training_draws_the_pictures_that_its_recipe_wants(xrays, tmp_path):
    workflows.train(training(xrays, tmp_path / "run", "report.thumbnails=true", "train.epochs=1"))
    assert '<img src="data:image/png;base64,' in (tmp_path / "run" / "report.html").read_text()


def test_the_same_seed_gives_the_same_weights(xrays, tiny_run, tmp_path):
    workflows.train(training(xrays, tmp_path / "again"))
    first, second = (json.loads(run.done.read_text()) for run in (tiny_run, Run(tmp_path / "again")))
    assert first["weights_sha256"] == second["weights_sha256"]


def test_the_history_has_a_line_per_epoch(tiny_run):
    lines = [json.loads(line) for line in tiny_run.history.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2]


def test_the_page_of_a_training_shows_all_of_its_epochs(tiny_run):
    page = tiny_run.training_page.read_text(encoding="utf-8")
    assert "2 of 2 epochs done; training is over." in page
    assert page.count("<figure") == 6
    assert not re.search(r"\.png|\bp\d\d(_|\b)", page)
    assert str(tiny_run.folder.parent) not in page


def test_calibrator_and_operating_point_come_from_val(tiny_run):
    bundle = read_bundle(tiny_run.bundle)
    manifest = pd.read_csv(tiny_run.manifest)
    n_val = int((manifest["split"] == "val").sum())
    assert (bundle.sheet.operating_points[0].chosen_on, bundle.sheet.operating_points[0].n) == ("val", n_val)
    assert bundle.sheet.classes == ("clear", "opacity")


def test_evaluating_again_gives_the_same_report(tiny_run):
    report = workflows.evaluate(tiny_run.folder, find_recipe(None, []), data=None, labels=None)
    assert report.model_dump(mode="json", by_alias=True) == json.loads(tiny_run.report.read_text())


def test_the_predictions_table_can_be_judged_without_the_run(tiny_run):
    report = workflows.evaluate_table(tiny_run.predictions("test"), find_recipe(None, []))
    assert "auroc" in {metric.name for metric in report.metrics}


def test_prediction_gives_the_test_split_its_logits_again(tiny_run, xrays, tmp_path):
    settings = find_recipe(None, ["data.patient_pattern=(p[0-9]+)_"])
    scored = workflows.predict(tiny_run.folder, xrays, tmp_path / "s.parquet", settings)
    found = pd.read_parquet(tmp_path / "s.parquet").set_index("image")
    known = pd.read_parquet(tiny_run.predictions("test")).set_index("image")
    both = found.loc[known.index]
    assert scored.n_ok == 45
    assert np.allclose(both["logit_opacity"], known["logit_opacity"], atol=1e-4)
    assert (both["decision"] == known["decision"]).mean() > 0.9


def test_an_image_has_the_same_logit_whatever_stands_beside_it(tiny_run, xrays, tmp_path):
    alone = tmp_path / "alone"
    picture(alone / "p00_0.png", sick=True, seed=0)
    workflows.predict(tiny_run.bundle, alone, tmp_path / "one.csv", find_recipe(None, []))
    workflows.predict(tiny_run.bundle, xrays, tmp_path / "all.csv", find_recipe(None, []))
    one = pd.read_csv(tmp_path / "one.csv").set_index("image").loc["p00_0.png", "logit_opacity"]
    every = pd.read_csv(tmp_path / "all.csv").set_index("image").loc["opacity/p00_0.png", "logit_opacity"]
    assert one == every


def test_an_unreadable_image_is_a_row_with_a_reason_and_exit_code_3(tiny_run, tmp_path):
    picture(tmp_path / "new" / "p90_0.png", sick=True, seed=1)
    whole = (tmp_path / "new" / "p90_0.png").read_bytes()
    (tmp_path / "new" / "p91_0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "new" / "p92_0.dcm").write_text("not even a header")
    out = tmp_path / "scores.csv"
    arguments = ["predict", str(tiny_run.folder), "--data", str(tmp_path / "new"), "--out", str(out)]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 3
    table = pd.read_csv(out).set_index("image")
    assert table.loc["p91_0.png", "status"] == "unreadable"
    assert table.loc["p92_0.dcm", "status"] == "unreadable"
    assert table.loc["p91_0.png", "reason"]
    assert pd.isna(table.loc["p91_0.png", "probability_opacity"])
    assert table.loc["p90_0.png", "status"] == "ok"


def test_an_external_set_is_evaluated_with_the_same_network(tiny_run, xrays):
    settings = find_recipe(None, ["data.patient_pattern=(p[0-9]+)_"])
    report = workflows.evaluate(tiny_run.folder, settings, data=xrays, labels=None)
    assert report.data.n_evaluated == 45
    assert report.data.split.startswith("external")


def test_evaluating_the_training_patients_again_is_said(tiny_run, xrays, tmp_path):
    sets = ["--set", "data.patient_pattern=(p[0-9]+)_"]
    result = RUNNER.invoke(app, ["evaluate", str(tiny_run.folder), "--data", str(xrays), "--json", *sets])
    manifest = pd.read_csv(tiny_run.manifest)
    n_known = manifest.loc[manifest["split"] != "test", "patient"].nunique()
    assert f"{n_known} patients bear the ids" in result.stderr
    facts = json.loads(result.stdout)["data"]["facts"]
    assert facts["patients with ids of the training or validation patients"] == str(n_known)


def test_pseudonyms_of_another_key_are_not_taken_for_other_patients(tiny_run, xrays, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    path = tmp_path / "run" / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pseudonym_key": "0123"}))
    sets = ["--set", "data.patient_pattern=(p[0-9]+)_"]
    result = RUNNER.invoke(app, ["evaluate", str(tmp_path / "run"), "--data", str(xrays), "--json", *sets])
    assert "whether its patients are among these cannot be told" in result.stderr
    facts = json.loads(result.stdout)["data"]["facts"]
    assert facts["patients with ids of the training or validation patients"] == "cannot be told"


def test_other_classes_than_the_bundles_are_refused(tiny_run, tmp_path):
    for k in range(4):
        picture(tmp_path / "ill" / f"p{k}_0.png", sick=True, seed=k)
        picture(tmp_path / "well" / f"p{k + 4}_0.png", sick=False, seed=k)
    settings = find_recipe(None, ["data.one_image_per_patient=true"])
    with pytest.raises(BundleError, match="does not know: ill, well"):
        workflows.evaluate(tiny_run.folder, settings, data=tmp_path, labels=None)


def test_an_interrupted_training_is_resumed_to_the_same_weights(xrays, tiny_run, tmp_path, monkeypatch):
    import effmed.workflows.training.learning as module

    write = module.write_checkpoint

    def interrupt(folder, state, best):
        write(folder, state, best)
        if state.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflows.train(training(xrays, tmp_path / "run"))
    monkeypatch.setattr(module, "write_checkpoint", write)
    result = RUNNER.invoke(app, ["train", "--resume", "--run", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["run"] == str(tmp_path / "run")
    first, second = (json.loads(run.done.read_text()) for run in (tiny_run, Run(tmp_path / "run")))
    assert first["weights_sha256"] == second["weights_sha256"]


@pytest.mark.usefixtures("kernels")
def test_a_training_with_our_layers_goes_on_where_there_is_no_compiler_and_says_so(
    xrays, tiny_run, tmp_path, monkeypatch
):
    import effmed.workflows.training.learning as module
    from effmed.learn.kernels import layers

    assert json.loads(tiny_run.plan.read_text())["fused_layers"]
    write = module.write_checkpoint

    def interrupt(folder, state, best):
        write(folder, state, best)
        if state.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflows.train(training(xrays, tmp_path / "run"))
    monkeypatch.setattr(module, "write_checkpoint", write)
    for each in (layers, module):
        monkeypatch.setattr(each, "find_kernels", lambda: Kernels(None, "no compiler of C (gcc) was found"))
    result = RUNNER.invoke(app, ["train", "--resume", "--run", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert "layers of torch take the place of effmed's own" in " ".join(result.stderr.split())
    assert "no compiler of C (gcc) was found" in " ".join(result.stderr.split())
    losses = [
        json.loads(folder.history.read_text().splitlines()[-1])["train_loss"]
        for folder in (tiny_run, Run(tmp_path / "run"))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_full_disk_is_said_and_the_run_stays_resumable(xrays, tiny_run, tmp_path, monkeypatch):
    import errno

    write = Path.write_bytes

    def fill_up(path, data):
        if "epoch-0002" in str(path) and path.name == "best.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(MachineError, match="disk is full"):
        workflows.train(training(xrays, tmp_path / "run"))
    monkeypatch.setattr(Path, "write_bytes", write)
    workflows.resume(tmp_path / "run")
    done = json.loads(Run(tmp_path / "run").done.read_text())
    assert done == json.loads(tiny_run.done.read_text())
    numbers = [json.loads(line)["number"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert numbers == [1, 2]


def test_a_training_that_stops_before_its_first_epoch_leaves_nothing(xrays, tmp_path, monkeypatch):
    import effmed.workflows.training.learning as module

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit_steps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflows.train(training(xrays, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def begun(xrays, folder, monkeypatch):
    """A run that was interrupted after its first epoch."""
    import effmed.workflows.training.learning as module

    write = module.write_checkpoint

    def interrupt(place, state, best):
        write(place, state, best)
        if state.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_checkpoint", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflows.train(training(xrays, folder))
    return Run(folder)


def test_a_complete_run_is_not_removed_whatever_goes_wrong_with_its_last_words(xrays, tmp_path):
    class Lost(Heard):
        def say(self, text):
            if text.startswith("test auroc"):
                raise SystemExit(1)  # what rich does when the terminal is gone

    with pytest.raises(SystemExit):
        workflows.train(training(xrays, tmp_path / "run"), Lost())
    assert Run(tmp_path / "run").is_complete
    assert Run(tmp_path / "run").report.is_file()


def test_images_that_are_gone_when_a_run_is_resumed_are_named_and_not_taken_for_black(xrays, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(xrays, data)
    run, victim = begun(data, tmp_path / "run", monkeypatch), data / "clear" / "p01_1.png"
    kept = victim.read_bytes()
    victim.unlink()
    with pytest.raises(DataError, match=r"1 images of .* cannot be read any more: clear/p01_1\.png"):
        workflows.resume(run.folder)
    victim.write_bytes(kept)
    workflows.resume(run.folder)
    assert run.is_complete


def test_a_run_that_cannot_be_resumed_is_not_removed(xrays, tmp_path, monkeypatch):
    run = begun(xrays, tmp_path / "run", monkeypatch)
    shutil.rmtree(run.last)
    with pytest.raises(BundleError, match="holds no checkpoint"):
        workflows.resume(run.folder)
    assert run.history.is_file()
    plan = json.loads(run.plan.read_text())
    run.plan.write_text(json.dumps(plan | {"device": "cuda"}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MachineError, match="no such device"):
        workflows.resume(run.folder)
    assert run.plan.is_file()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--set", "train.epochs=9"], "--set"),
        (["--dry-run"], "--dry-run"),
        (["--folds", "5"], "--folds"),
        (["--variant", "b4"], "--variant"),
        (["--data", "x", "--labels", "y"], "--data, --labels"),
    ],
)
def test_what_a_resumed_run_would_not_heed_is_refused(flags, named):
    result = RUNNER.invoke(app, ["train", "--resume", *flags])
    assert isinstance(result.exception, RecipeError)
    assert result.exception.problem.startswith(f"{named}: without effect with --resume")


def test_a_request_to_end_is_heeded_after_the_epoch_and_the_run_continues(xrays, tiny_run, tmp_path, monkeypatch):
    import effmed.workflows.training.learning as module

    say = module.append_line

    def ask(path, line):
        say(path, line)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(module, "append_line", ask)
        with pytest.raises(PreemptedError, match=r"SIGTERM: stopped in epoch 2 after step 1; a checkpoint is written"):
            workflows.train(training(xrays, tmp_path / "run"))
    workflows.resume(tmp_path / "run")
    done = json.loads(Run(tmp_path / "run").done.read_text())
    assert done == json.loads(tiny_run.done.read_text())


def test_a_request_after_the_last_step_is_heeded_before_the_final_scores(xrays, tiny_run, tmp_path, monkeypatch):
    import effmed.workflows.training.learning as module

    show = module.write_training_page

    def ask(run, plan, *, is_over):
        show(run, plan, is_over=is_over)
        if len(run.history.read_text().splitlines()) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_training_page", ask)
        with pytest.raises(PreemptedError, match=r"SIGTERM: stopped after epoch 2, the last; a checkpoint is written"):
            workflows.train(training(xrays, tmp_path / "run"))
    workflows.resume(tmp_path / "run")
    done = json.loads(Run(tmp_path / "run").done.read_text())
    assert done == json.loads(tiny_run.done.read_text())


def test_a_run_whose_memory_ran_out_before_its_first_checkpoint_is_kept(xrays, tmp_path, monkeypatch):
    from effmed.learn.fitting.steps import taking

    def too_small(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(taking, "_learn", too_small)
        heard = Heard()
        with pytest.raises(MachineError, match="too small for 2 images"):
            workflows.train(training(xrays, tmp_path / "run"), heard)
    assert heard.warned[-1] == f"the run can be continued: effmed train --resume --run {tmp_path / 'run'}"
    workflows.resume(tmp_path / "run")
    assert Run(tmp_path / "run").is_complete


def test_memory_that_runs_out_is_said_and_stands_in_the_plan(xrays, tmp_path, monkeypatch):
    from effmed.learn.fitting.steps import taking

    learn, sizes = taking._learn, []

    def small(state, plan, inputs, *rest):
        sizes.append(len(inputs))
        if len(inputs) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return learn(state, plan, inputs, *rest)

    monkeypatch.setattr(taking, "_learn", small)
    heard = Heard()
    workflows.train(training(xrays, tmp_path / "run"), heard)
    assert heard.warned.count("memory ran out: 4 images at a time from now on, 8 per step as before") == 1
    plan = json.loads(Run(tmp_path / "run").plan.read_text())
    assert (plan["micro_batch"], plan["batch_size"]) == (4, 8)
    assert plan["reasons"]["train.micro_batch"] == "memory ran out with more; 8 were planned"
    assert max(sizes[2:]) == 4


class Heard:
    """A talk that remembers what it was warned of."""

    def __init__(self):
        self.warned = []

    def say(self, text):
        pass

    def warn(self, text):
        self.warned.append(text)

    def progress(self, task, done, total, note=""):
        pass


def test_a_complete_run_is_not_resumed(tiny_run):
    with pytest.raises(BundleError, match="complete already"):
        workflows.resume(tiny_run.folder)


def test_images_that_fail_to_decode_are_left_out_when_allowed(xrays, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(xrays, data)
    victim = data / "clear" / "p01_1.png"
    victim.write_bytes(victim.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"p01_1\.png") as caught:
        workflows.train(training(data, tmp_path / "run"))
    assert "max_unreadable_fraction" in caught.value.hint
    assert not (tmp_path / "run").exists()
    workflows.train(training(data, tmp_path / "run", "data.max_unreadable_fraction=0.1"))
    assert "p01_1.png" not in (tmp_path / "run" / "manifest.csv").read_text()


def test_three_classes_from_a_label_table(tmp_path):
    rows = []
    for k in range(36):
        name = ("a", "b", "c")[k % 3]
        picture(tmp_path / "images" / f"{k:02d}.png", sick=name != "a", seed=k)
        rows.append({"path": f"images/{k:02d}.png", "label": name, "patient_id": f"q{k}", "sex": "F" if k % 2 else "M"})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    recipe = find_recipe(None, [*SMALL, "imbalance.method=weights"])
    run = tmp_path / "run"
    workflows.train(Training(VARIANT, tmp_path, tmp_path / "labels.csv", recipe, run))
    report = json.loads((run / "report.json").read_text())
    assert {metric["class"] for metric in report["metrics"] if metric["name"] == "auroc"} == {"a", "b", "c"}


def test_dry_run_prints_the_plan_and_writes_nothing(xrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [part for setting in (*SMALL, "data.patient_pattern=(p[0-9]+)_") for part in ("--set", setting)]
    result = RUNNER.invoke(app, ["train", "--variant", VARIANT, "--data", str(xrays), "--dry-run", *sets])
    assert result.exit_code == 0
    assert "model.image_size" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_inspect_shows_counts_and_what_blocks_training(xrays):
    result = RUNNER.invoke(app, ["inspect", str(xrays), "--json"])
    found = json.loads(result.stdout)
    assert (found["n_images"], found["classes"]) == (45, {"clear": 30, "opacity": 15})
    assert "patient" in found["findings"][0]["text"]
    human = RUNNER.invoke(app, ["inspect", str(xrays)])
    assert "error: blocks-training" in human.stdout


def test_evaluate_on_the_command_line_writes_a_report(tiny_run, tmp_path):
    out = tmp_path / "out"
    result = RUNNER.invoke(app, ["evaluate", str(tiny_run.folder), "--out", str(out)])
    assert result.exit_code == 0
    assert "auroc" in result.stdout
    assert (out / "report.html").is_file()
    table = RUNNER.invoke(app, ["evaluate", "--predictions", str(tiny_run.predictions("test")), "--json"])
    assert json.loads(table.stdout)["version"] == 1


def test_the_newest_run_is_taken_and_named(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(tiny_run.folder)
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["evaluate"])
    assert result.exit_code == 0
    assert "runs/tiny" in result.stderr
    assert RUNNER.invoke(app, ["predict", "--data", "none", "--out", "s.csv"]).exit_code != 0


def test_doctor_and_catalogues_speak_both_languages():
    assert "torch" in json.loads(RUNNER.invoke(app, ["doctor", "--json"]).stdout)["packages"]
    assert "torch" in RUNNER.invoke(app, ["doctor"]).stdout
    layers = json.loads(RUNNER.invoke(app, ["doctor", "--json"]).stdout)["fused layers"]
    assert layers.removeprefix("compiled by ") == find_kernels().why or torch.cuda.is_available()
    assert json.loads(RUNNER.invoke(app, ["variants", "--json"]).stdout)[0]["name"] == "b0"
    assert "lite0" in RUNNER.invoke(app, ["variants"]).stdout
    assert "chest-xray" in RUNNER.invoke(app, ["recipes", "list"]).stdout
    assert "Run:" in RUNNER.invoke(app, ["recipes", "show", "chest-xray"]).stdout
    assert "train.epochs" in RUNNER.invoke(app, ["recipes", "keys"]).stdout


@pytest.mark.parametrize("damage", ["no sheet", "no weights", "other weights", "newer"])
def test_a_damaged_bundle_is_refused(tiny_run, tmp_path, damage):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_run.bundle, tmp_path / "bundle")
    sheet, weights = tmp_path / "bundle" / "bundle.json", tmp_path / "bundle" / "weights.safetensors"
    if damage == "no sheet":
        sheet.unlink()
    elif damage == "no weights":
        weights.write_bytes(b"torn")
    elif damage == "newer":
        sheet.write_text(sheet.read_text().replace('"version": 1', '"version": 2', 1))
    else:
        tensors = load_file(weights)
        tensors["classifier.bias"] += 1
        save_file(tensors, weights)
    with pytest.raises(BundleError):
        read_bundle(tmp_path / "bundle")


def test_a_bundle_survives_the_disk(tiny_run):
    bundle = read_bundle(tiny_run.bundle)
    assert weights_digest(bundle.network) == bundle.sheet.weights_sha256
    assert make_context(bundle.sheet, bundle.plan, run="r", split="test").variant == VARIANT


def test_the_report_tells_software_and_preprocessing_but_not_the_machines_folders(tiny_run):
    facts = json.loads(tiny_run.report.read_text())["data"]["facts"]
    recorded = json.loads(tiny_run.environment.read_text())
    assert facts["software"].startswith(f"effmed {recorded['effmed']}, python {recorded['python']}, torch ")
    assert recorded["data"] not in facts["software"]
    spec = json.loads(tiny_run.plan.read_text())["preprocessing"]
    assert f"{spec['width']} × {spec['height']} px" in facts["preprocessing"]


def test_a_run_answers_more_of_the_checklist_than_its_predictions_alone(tiny_run, tmp_path):
    arguments = ["evaluate", "--predictions", str(tiny_run.predictions("test")), "--out", str(tmp_path / "alone")]
    assert RUNNER.invoke(app, arguments).exit_code == 0
    answered = []
    for folder in (tiny_run.folder, tmp_path / "alone"):
        rows = csv.DictReader((folder / "tables" / "checklist.csv").read_text(encoding="utf-8").splitlines())
        answered.append({(row["guideline"], row["item"]) for row in rows if row["where"]})
    assert answered[1] < answered[0]
    assert ("CLAIM 2024", "23") in answered[0] - answered[1]


def test_nothing_to_score_is_said(tiny_run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        workflows.predict(tiny_run.folder, tmp_path / "empty", tmp_path / "s.csv", find_recipe(None, []))
    with pytest.raises(RecipeError, match="neither"):
        workflows.predict(tiny_run.folder, tmp_path, tmp_path / "s.txt", find_recipe(None, []))


def test_every_error_of_this_story_has_a_hint():
    assert all(issubclass(kind, EffmedError) for kind in (BundleError, DataError, RecipeError))


def test_other_rules_of_decision_are_chosen_on_val_again(tiny_run, xrays):
    fixed = find_recipe(None, ["decision.rule=threshold", "decision.value=0.3"])
    (point,) = workflows.evaluate(tiny_run.folder, fixed, data=None, labels=None).data.operating_points
    val = pd.read_parquet(tiny_run.predictions("val"))
    assert (point.threshold, point.chosen_on, point.n) == (0.3, "val", len(val))
    wider = find_recipe(None, ["decision.miss_fraction=0.4"])
    report = workflows.evaluate(tiny_run.folder, wider, data=None, labels=None)
    assert report.data.sets.miss_fraction == 0.4
    assert report.data.operating_points == list(read_bundle(tiny_run.bundle).sheet.operating_points)


def test_a_bundle_without_its_run_has_no_val_to_choose_on(tiny_run, xrays, tmp_path):
    alone = shutil.copytree(tiny_run.bundle, tmp_path / "alone")
    recipe = find_recipe(None, ["decision.rule=youden", "data.patient_pattern=(p[0-9]+)_"])
    with pytest.raises(BundleError, match="chosen on val"):
        workflows.evaluate(alone, recipe, data=xrays, labels=None)


def test_a_training_starts_from_an_earlier_run(tiny_run, xrays, tmp_path):
    again = Run(tmp_path / "again")
    start = (f"model.weights={tiny_run.folder}", "train.epochs=1", "train.learning_rate=1e-9")
    workflows.train(training(xrays, again.folder, *start))
    plan = json.loads(again.plan.read_text())
    assert plan["weights"] == f"bundle {tiny_run.folder.name}"
    assert plan["reasons"]["weights"].endswith("head kept: the same classes")
    first, second = (read_bundle(run.bundle).network.state_dict() for run in (tiny_run, again))
    assert all(float((first[name] - second[name]).abs().max()) < 1e-6 for name in first if name.endswith("weight"))
    assert str(tmp_path) not in (again.bundle / "bundle.json").read_text()


def test_a_training_with_other_classes_takes_the_backbone_and_a_new_head(tiny_run, tmp_path):
    for k, name in enumerate(["a", "b", "c"] * 6):
        picture(tmp_path / "data" / name / f"p{k}_0.png", sick=k % 2 == 0, seed=k)
    run = Run(tmp_path / "run")
    start = (f"model.weights={tiny_run.bundle}", "train.epochs=1", "train.learning_rate=1e-9")
    workflows.train(training(tmp_path / "data", run.folder, *start))
    first, second = (read_bundle(each.bundle).network.state_dict() for each in (tiny_run, run))
    assert float((first["conv_stem.weight"] - second["conv_stem.weight"]).abs().max()) < 1e-6
    assert second["classifier.weight"].shape[0] == 3
    assert json.loads(run.plan.read_text())["reasons"]["weights"].endswith("new head: other classes")
