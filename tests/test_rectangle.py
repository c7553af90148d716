"""Tall pictures: the plan says what a square wastes; with the rectangle that it offers train, predict, evaluate."""

import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from effmed import workflows
from effmed.cli.app import app
from effmed.data.pixels import preprocess, read_image
from effmed.errors import EffmedError, RecipeError
from effmed.learn.bundle import read_bundle
from effmed.learn.transforms import to_input
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training

SMALL = ("model.weights=none", "train.epochs=1", "train.threads=1", "data.one_image_per_patient=true")
WASTE = r"warning: 67% of an input of 96 px stays black on average"


def picture(path, *, sick, seed):
    """300 x 100 px of noise, with a bright square at a varying place when sick."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 100, (300, 100)).astype(np.uint8)
    row = chance.integers(20, 240)
    pixels[row : row + 40, 30:70] += np.uint8(120 * sick)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="module")
def tall(tmp_path_factory):
    root = tmp_path_factory.mktemp("tall")
    for k in range(30):
        picture(root / ("sick" if k % 2 else "healthy") / f"p{k:02d}.png", sick=k % 2, seed=k)
    return root


@pytest.fixture(scope="module")
def run(tall, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rectangle"
    recipe = find_recipe(None, [*SMALL, "model.image_size=160x64"])
    workflows.train(Training("timm:test_efficientnet", tall, None, recipe, folder))
    return Run(folder)


def command(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(done.exception, EffmedError):
        raise done.exception
    return done, re.sub(r"\s+", " ", done.stderr)


def training(tall, *settings, variant="timm:test_efficientnet"):
    chosen = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    return ("train", "--variant", variant, "--data", tall, *chosen)


def test_a_dry_run_warns_once_and_offers_a_rectangle(tall):
    done, told = command(*training(tall, "model.image_size=96"), "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    assert len(re.findall(WASTE, told)) == 1
    assert "--set model.image_size=160x64 (HEIGHTxWIDTH) leaves" in told
    assert len(json.loads(done.stdout)["warnings"]) == 1


def test_a_training_warns_once_though_it_is_planned_again_and_its_card_and_report_keep_it(tall, tmp_path):
    data = tmp_path / "data"
    for path in tall.rglob("*.png"):
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        (data / path.parent.name / path.name).write_bytes(path.read_bytes())
    damaged = data / "sick" / "p99.png"
    damaged.write_bytes((data / "sick" / "p01.png").read_bytes()[:9000])
    settings = ("model.image_size=96", "data.max_unreadable_fraction=0.1")
    done, told = command(*training(data, *settings), "--run", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "1 images could not be decoded" in told  # so that the plan is made twice
    assert len(re.findall(WASTE, told)) == 1
    assert "| warning 1 | 67% of an input of 96 px" in (tmp_path / "run" / "bundle" / "CARD.md").read_text()
    facts = json.loads((tmp_path / "run" / "report.json").read_text())["data"]["facts"]
    assert facts["warnings of the plan"].startswith("67% of an input of 96 px")


def test_a_rectangle_is_trained_on_and_told_as_height_and_width(run):
    bundle = read_bundle(run.bundle)
    assert (bundle.sheet.preprocessing.height, bundle.sheet.preprocessing.width) == (160, 64)
    assert bundle.plan.warnings == ()
    assert "A classifier of 160 px high × 64 px wide images" in (run.bundle / "CARD.md").read_text()
    facts = json.loads(run.report.read_text())["data"]["facts"]
    assert "160 px high × 64 px wide" in facts["network"]
    assert "fitted into 160 px high × 64 px wide on black" in facts["preprocessing"]


def test_predictions_of_a_rectangular_network_are_its_own(run, tall, tmp_path):
    done, _ = command("predict", run.folder, "--data", tall, "--out", tmp_path / "scores.csv")
    assert done.exit_code == 0, done.output
    scored = pd.read_csv(tmp_path / "scores.csv").set_index("image")
    assert len(scored) == 30
    test = pd.read_parquet(run.predictions("test")).set_index("image")
    assert scored.loc[test.index, "logit_sick"].to_numpy() == pytest.approx(test["logit_sick"].to_numpy(), abs=1e-5)
    bundle, name = read_bundle(run.bundle), test.index[0]
    pixels = preprocess(read_image(tall / name, 0, window="stored", max_megapixels=10.0), bundle.sheet.preprocessing)
    assert pixels.shape == (160, 64)
    with torch.inference_mode():
        logit = float(bundle.network(to_input(pixels[np.newaxis], bundle.plan.mean, bundle.plan.std)))
    assert scored.loc[name, "logit_sick"] == pytest.approx(logit, abs=1e-5)


def test_a_rectangular_network_is_evaluated_on_other_images_with_pictures(run, tall, tmp_path):
    pictured = ("--set", "report.thumbnails=true", "--set", "data.one_image_per_patient=true")
    done, _ = command("evaluate", run.bundle, "--data", tall, "--out", tmp_path / "out", *pictured)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {metric["n"] for metric in report["metrics"] if metric["name"] == "auroc"} == {30}
    assert '<img src="data:image/png;base64,' in (tmp_path / "out" / "report.html").read_text()


def test_a_rectangular_run_is_a_starting_point_whose_scale_is_that_of_its_area(run, tall):
    sizes = {"model.image_size=128x96": 0, "model.image_size=320x128": 1}
    for size, n_told in sizes.items():
        done, told = command(*training(tall, size), "--weights", run.folder, "--dry-run")
        assert done.exit_code == 0, done.output
        assert told.count("the weights were trained at 101 px") == n_told


def test_the_plan_shows_height_by_width(tall):
    done, _ = command(*training(tall, "model.image_size=160x64"), "--dry-run")
    assert re.search(r"model\.image_size +160x64 ", done.stdout)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_network_of_one_size_ends_in_two_lines_before_anything_is_decoded(tall, tmp_path, more):
    wanted = training(tall, "model.image_size=256x192", variant="timm:vit_tiny_patch16_224")
    with pytest.raises(RecipeError) as caught:
        command(*wanted, "--run", tmp_path / "run", *more)
    assert "timm:vit_tiny_patch16_224 takes no image of 256 px high × 192 px wide" in caught.value.problem
    assert caught.value.hint == "--set model.image_size=224, or take an EfficientNet"
    assert "\n" not in caught.value.problem
    assert not (tmp_path / "run").exists()
