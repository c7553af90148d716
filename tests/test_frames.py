"""One story on files of several frames: every frame is an image to learn from, and a file is one prediction."""

import json
import shutil

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from effmed import workflows
from effmed.errors import BundleError, RecipeError
from effmed.learn.bundle import read_bundle
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training

SMALL = ("model.weights=none", "model.image_size=32", "train.epochs=2", "train.threads=1", "train.batch_size=8")
PATIENT = "data.patient_pattern=(p[0-9]+)"
FRAMES_FACT = "all, one prediction per file: mean of logits"


def pages(path, *, sick, seed, n):
    """Noise of n pages, with a bright square at a varying place when sick."""
    chance = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        pixels = chance.integers(0, 100, (40, 48)).astype(np.uint8)
        row, column = chance.integers(4, 24, 2)
        pixels[row : row + 12, column : column + 12] += 130 * sick
        made.append(PIL.Image.fromarray(pixels))
    path.parent.mkdir(parents=True, exist_ok=True)
    made[0].save(path, save_all=True, append_images=made[1:], compression="tiff_lzw")
    return path


def break_page(path, number):
    """Overwrite the pixels of one page."""
    with PIL.Image.open(path) as picture:
        picture.seek(number)
        at, length = picture.tag_v2[273][0], picture.tag_v2[279][0]
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes(length) + data[at + length :])


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    """30 patients with a file of 1 to 3 frames each."""
    root = tmp_path_factory.mktemp("loops")
    for k in range(30):
        name = "opacity" if k % 3 == 0 else "clear"
        pages(root / name / f"p{k:02d}.tif", sick=name == "opacity", seed=k, n=1 + (k + k // 3) % 3)
    return root


def training(data, run, *settings):
    recipe = find_recipe(None, [*SMALL, PATIENT, "data.frames=all", *settings])
    return Training("timm:test_efficientnet", data, None, recipe, run)


@pytest.fixture(scope="module")
def run(loops, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "loops"
    workflows.train(training(loops, folder))
    return Run(folder)


def scored(bundle, data, out, *settings):
    workflows.predict(bundle, data, out, find_recipe(None, settings))
    return pd.read_csv(out).set_index("image")


def changed(run, folder, **plan):
    """Copy the bundle and change what its plan says."""
    shutil.copytree(run.bundle, folder)
    sheet = json.loads((folder / "bundle.json").read_text())
    sheet["plan"] |= plan
    (folder / "bundle.json").write_text(json.dumps(sheet))
    return folder


def test_every_frame_is_learned_from_and_every_file_is_one_prediction(run):
    manifest = pd.read_csv(run.manifest)
    assert len(manifest) > manifest["image"].nunique() == 30
    for split in ("val", "test"):
        table = pd.read_parquet(run.predictions(split))
        assert sorted(table["image"]) == sorted(manifest.loc[manifest["split"] == split, "image"].unique())
        assert set(table["frame"]) == {0}


def test_the_operating_point_and_the_calibrator_are_chosen_on_files(run):
    sheet, val = read_bundle(run.bundle).sheet, pd.read_parquet(run.predictions("val"))
    assert (sheet.operating_points[0].n, sheet.calibrator.n) == (len(val), len(val))


def test_plan_bundle_and_report_say_what_a_file_of_several_frames_is(run):
    plan, sheet = json.loads(run.plan.read_text()), json.loads((run.bundle / "bundle.json").read_text())
    for where in (plan, sheet["plan"]):
        assert (where["frames"], where["frame_rule"]) == ("all", "mean")
        assert where["reasons"]["data.frames"] == "set by the recipe"
        assert where["reasons"]["data.frame_rule"] == "weighs all frames alike"
    assert json.loads(run.report.read_text())["data"]["facts"]["frames"] == FRAMES_FACT


def test_prediction_takes_the_bundles_word_and_gives_the_test_files_their_logits_again(run, loops, tmp_path):
    found = scored(run.folder, loops, tmp_path / "s.csv")
    known = pd.read_parquet(run.predictions("test")).set_index("image")
    assert len(found) == 30
    assert np.allclose(found.loc[known.index, "logit_opacity"], known["logit_opacity"], atol=1e-4)
    assert (found.loc[known.index, "decision"] == known["decision"]).all()


def test_a_file_is_the_mean_or_the_largest_of_its_frames(run, tmp_path):
    whole = pages(tmp_path / "whole" / "a.tif", sick=True, seed=7, n=3)
    with PIL.Image.open(whole) as picture:
        (tmp_path / "single").mkdir()
        for number in range(3):
            picture.seek(number)
            picture.save(tmp_path / "single" / f"{number}.tif")
    single = scored(run.bundle, tmp_path / "single", tmp_path / "single.csv")["logit_opacity"]
    mean = scored(run.bundle, whole.parent, tmp_path / "mean.csv")["logit_opacity"]
    largest = scored(changed(run, tmp_path / "max", frame_rule="max"), whole.parent, tmp_path / "max.csv")[
        "logit_opacity"
    ]
    assert single.nunique() == 3
    assert mean.tolist() == pytest.approx([single.mean()], rel=1e-6)
    assert largest.tolist() == pytest.approx([single.max()], rel=1e-6)


def test_an_external_set_is_evaluated_by_file(run, loops):
    report = workflows.evaluate(run.folder, find_recipe(None, [PATIENT]), data=loops, labels=None)
    assert report.data.n_evaluated == 30
    assert report.data.facts["frames"] == FRAMES_FACT


@pytest.mark.parametrize("setting", ["data.frames=first", "data.frame_rule=max"])
def test_another_rule_than_the_bundles_is_refused(run, loops, tmp_path, setting):
    with pytest.raises(RecipeError, match="but the bundle was made with"):
        scored(run.bundle, loops, tmp_path / "s.csv", setting)
    with pytest.raises(RecipeError, match="but the bundle was made with"):
        workflows.evaluate(run.folder, find_recipe(None, [PATIENT, setting]), data=loops, labels=None)


def test_the_bundles_own_rule_may_be_repeated(run, loops, tmp_path):
    assert len(scored(run.bundle, loops, tmp_path / "s.csv", "data.frames=all", "data.frame_rule=mean")) == 30


def test_where_the_bundle_refuses_files_of_several_frames_the_recipe_may_say_what_they_mean(run, tmp_path):
    data = pages(tmp_path / "new" / "a.tif", sick=True, seed=1, n=3).parent
    bundle = changed(run, tmp_path / "bundle", frames="error")
    assert scored(bundle, data, tmp_path / "none.csv").loc["a.tif", "reason"].startswith("has 3 frames")
    first = scored(bundle, data, tmp_path / "first.csv", "data.frames=first")
    largest = scored(bundle, data, tmp_path / "max.csv", "data.frames=all", "data.frame_rule=max")
    wanted = scored(changed(run, tmp_path / "max", frame_rule="max"), data, tmp_path / "wanted.csv")
    assert len(first) == len(largest) == 1
    assert largest["logit_opacity"].tolist() == wanted["logit_opacity"].tolist()


def test_a_file_with_a_broken_frame_is_unreadable_and_not_scored_on_the_rest(run, tmp_path):
    pages(tmp_path / "new" / "a.tif", sick=True, seed=1, n=2)
    break_page(pages(tmp_path / "new" / "b.tif", sick=True, seed=2, n=3), 1)
    table = scored(run.bundle, tmp_path / "new", tmp_path / "s.csv")
    assert table["status"].to_dict() == {"a.tif": "ok", "b.tif": "unreadable"}
    assert "frame 1 (the first is 0)" in table.loc["b.tif", "reason"]
    assert pd.isna(table.loc["b.tif", "logit_opacity"])


def test_a_file_with_a_broken_frame_is_left_out_of_training_as_a_whole(loops, tmp_path):
    shutil.copytree(loops, tmp_path / "data")
    with PIL.Image.open(tmp_path / "data" / "clear" / "p02.tif") as picture:
        assert picture.n_frames == 3
    break_page(tmp_path / "data" / "clear" / "p02.tif", 1)
    workflows.train(training(tmp_path / "data", tmp_path / "run", "data.max_unreadable_fraction=0.2", "train.epochs=1"))
    assert "p02.tif" not in (tmp_path / "run" / "manifest.csv").read_text()


def test_a_bundle_that_does_not_say_what_frames_mean_is_refused(run, tmp_path):
    shutil.copytree(run.bundle, tmp_path / "bundle")
    sheet = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    del sheet["plan"]["frame_rule"]
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(sheet))
    with pytest.raises(BundleError, match="cannot be understood"):
        read_bundle(tmp_path / "bundle")
