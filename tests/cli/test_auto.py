"""``effmed train --variant auto``: what is said, and what is left behind."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from effmed.cli.app import app
from effmed.learn.machine import probe
from effmed.learn.weights import places
from effmed.learn.weights.sets import default_set
from tests import make
from tests.learn.weights.make import fetched

RUNNER = CliRunner()
XRAYS = Path(__file__).parents[2] / "sample_data" / "xrays"
SAMPLE = ("--data", str(XRAYS), "--labels", str(XRAYS / "labels.csv"))
PATTERN = ("--set", "data.patient_pattern=(p[0-9]+)_")


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFMED_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def train(*arguments):
    return RUNNER.invoke(app, ["train", "--variant", "auto", *arguments])


def planned(*arguments):
    result = train(*SAMPLE, "--dry-run", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def test_offline_the_choice_is_among_the_installed_packages_and_said_with_its_reason():
    plan, said = planned()
    why = plan["reasons"]["variant"]
    assert (plan["variant"], plan["network"]) == ("lite0", "tf_efficientnet_lite0.in1k")
    assert "of lite0, lite1, lite2, whose weights are on this machine (EFFMED_OFFLINE=1)" in why
    assert "240 px, 69 training patients" in why
    assert why.endswith("lite1 is not: it is taken from 354 training patients on (250 × 2^φ for φ = 0.5)")
    assert why in said.replace("\n", "")
    assert "measuring" not in said


def test_people_see_the_choice_and_its_reason_too():
    shown = train(*SAMPLE, "--dry-run", "-q").stdout
    row = next(line for line in shown.splitlines() if line.startswith("variant"))
    assert row.split()[1] == "lite0"
    assert "the largest of lite0, lite1, lite2" in row


def test_with_a_network_better_ones_are_chosen_though_packages_are_installed(monkeypatch):
    monkeypatch.setenv("EFFMED_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    plan, _ = planned()
    assert plan["variant"] == "b0"
    assert "to be downloaded" in plan["reasons"]["weights"]


def test_weights_in_the_folder_count_as_here(monkeypatch, tmp_path):
    fetched(tmp_path / "w", default_set("b0"), {"a": torch.ones(1)})
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "w"))
    plan, _ = planned()
    assert (plan["variant"], plan["weights"]) == ("b0", "folder $EFFMED_WEIGHTS: tf_efficientnet_b0.ns_jft_in1k")


def test_only_a_time_budget_has_the_speed_measured(monkeypatch):
    monkeypatch.setattr(probe, "PROBE_S", 0.01)
    monkeypatch.setattr(probe, "SIDE_PX", 32)
    plan, said = planned("--set", "train.time_budget_min=0.001")
    assert "measuring how fast this machine trains" in said
    assert "20 epochs take about" in plan["reasons"]["variant"]
    assert plan["reasons"]["train.time_budget_min"] == "0.001 min, set by the recipe"


def test_a_named_variant_keeps_its_name_whatever_the_time_budget():
    result = RUNNER.invoke(
        app, ["train", "--variant", "lite1", *SAMPLE, "--dry-run", "--json", "--set", "train.time_budget_min=1"]
    )
    reasons = json.loads(result.stdout)["reasons"]
    assert reasons["variant"] == "named by --variant (b0 where it is left out) or --phi"
    assert reasons["train.time_budget_min"] == "1 min, set by the recipe"


def test_the_run_is_named_after_the_chosen_variant(tmp_path):
    make.class_folders(tmp_path / "data", patients=20)
    small = ("model.image_size=32", "train.epochs=1", "train.threads=1", "train.batch_size=8")
    settings = [part for setting in small for part in ("--set", setting)]
    result = train("--data", str(tmp_path / "data"), *PATTERN, *settings, "--json")
    assert result.exit_code == 0, result.output
    trained = json.loads(result.stdout)
    assert trained["run"] == "runs/data-lite0-1"
    assert trained["plan"]["variant"] == "lite0"
    assert "it too is beyond a limit: it is made for 224 px" in trained["plan"]["reasons"]["variant"]
    assert json.loads((tmp_path / trained["bundle"] / "bundle.json").read_text())["plan"]["variant"] == "lite0"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--phi", "2.5"), "--phi 2.5 and --variant auto are two networks"),
        (("--weights", "some.pth"), "'some.pth' is for one network"),
    ],
)
def test_what_names_a_network_and_auto_exclude_each_other(arguments, problem):
    result = train(*SAMPLE, *arguments)
    assert type(result.exception).__name__ == "RecipeError"
    assert problem in result.exception.problem
    assert "patients divided" not in result.stderr


def test_an_isolated_machine_without_weights_is_told_so_before_data_are_read(monkeypatch):
    monkeypatch.setattr(places, "PACKAGES", {})
    result = train(*SAMPLE)
    assert type(result.exception).__name__ == "MachineError"
    assert "EFFMED_OFFLINE=1 forbids the network" in result.exception.problem
    assert "patients divided" not in result.stderr


def test_the_table_of_the_plan_tells_settings_of_one_name_apart():
    shown = train(*SAMPLE, "--dry-run").stdout
    rows = {line.split()[0]: line.split()[1] for line in shown.splitlines() if line.startswith(("data.", "train."))}
    assert rows["data.depth"] == "uint16"
    assert rows["train.depth"] == "all"
