"""``effmed compare A B``: a table for people, one document for programs, talk on stderr."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from effmed.cli.app import app
from effmed.errors import DataError, RecipeError
from effmed.evaluate.predictions import write_predictions
from tests.evaluate import make

FEW_DRAWS = ("--set", "report.bootstrap_replicates=100")


@pytest.fixture
def tables(tmp_path):
    paths = [tmp_path / "one.csv", tmp_path / "two.parquet"]
    for seed, path in enumerate(paths):
        write_predictions(make.binary(60, seed=seed), path)
    return paths


def compare(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments), *FEW_DRAWS])


def test_people_get_a_table_on_stdout_and_warnings_on_stderr(tables):
    result = compare(*tables)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].split()[:3] == ["measure", "one", "two"]
    assert "difference (95 % interval)" in lines[0]
    assert any(line.startswith("AUROC opacity") for line in lines)
    assert any(line.startswith("net benefit at 0.2 opacity") for line in lines)
    assert "warning: Few cases" in result.stderr
    assert "warning" not in result.stdout


def test_programs_get_one_document_and_quiet_is_quiet(tables):
    result = compare(*tables, "--json", "-q")
    found = json.loads(result.stdout)
    assert (found["version"], found["names"], found["n_images"]) == (1, ["one", "two"], 60)
    assert found["differences"][0]["class"] == "opacity"
    assert result.stderr == ""


def test_out_writes_a_page_and_the_same_numbers(tables, tmp_path):
    out = tmp_path / "out"
    result = compare(*tables, "--out", out, "--json")
    assert json.loads((out / "comparison.json").read_text()) == json.loads(result.stdout)
    assert f"comparison {out / 'comparison.html'}" in result.stderr
    assert "one against two" in (out / "comparison.html").read_text()


def test_nothing_is_overwritten_unless_asked(tables, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    refused = compare(*tables, "--out", tmp_path / "out")
    assert isinstance(refused.exception, RecipeError)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert compare(*tables, "--out", tmp_path / "out", "--overwrite").exit_code == 0


def test_tables_about_other_images_are_refused(tables, tmp_path):
    write_predictions(make.binary(30), tmp_path / "other.csv")
    refused = compare(tables[0], tmp_path / "other.csv", "--out", tmp_path / "out")
    assert isinstance(refused.exception, DataError)
    assert "30 images stand in one alone" in refused.exception.problem
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no-run", "no-run"], 4, "no-run is not a run folder"),
        (["no.csv", "no.csv"], 3, "no.csv cannot be read"),
        (["a"], 2, "Missing argument 'B'"),
        (["a", "b", "--set", "report.sed=1"], 2, "did you mean 'report.seed'"),
    ],
)
def test_wrong_requests_end_with_their_exit_code(tmp_path, arguments, code, says):
    command = [sys.executable, "-m", "effmed", "compare", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
