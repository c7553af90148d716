"""Two runs, two tables, or one of each; whatever is named is found or refused in two lines."""

import shutil

import pytest

from effmed import workflows
from effmed.errors import BundleError, DataError, RecipeError
from effmed.evaluate.predictions import write_predictions
from effmed.workflows.catalogue import find_recipe
from tests.evaluate import make
from tests.evaluate.comparison.make import some

RECIPE = find_recipe(None, ["report.bootstrap_replicates=100"])


def run(folder, seed):
    """What a training leaves, as far as a comparison reads it."""
    (folder / "predictions").mkdir(parents=True)
    write_predictions(make.binary(60, seed=seed), folder / "predictions" / "test.parquet")
    (folder / "plan.json").write_text("{}")
    (folder / "done.json").write_text("{}")
    return folder


@pytest.fixture
def runs(tmp_path):
    return [run(tmp_path / name, seed) for seed, name in enumerate(("xrays-b0-1", "xrays-b4-1"))]


def test_two_runs_are_compared_by_their_test_predictions(runs):
    found = workflows.compare(*runs, RECIPE)
    assert found.names == ("xrays-b0-1", "xrays-b4-1")
    assert found.n_images == 60
    assert found.digests == tuple(make.binary(60, seed=seed).digest() for seed in (0, 1))


def test_a_run_and_its_own_table_are_the_same(runs):
    found = workflows.compare(runs[0], runs[0] / "predictions" / "test.parquet", RECIPE)
    assert found.names == ("xrays-b0-1", "test")
    assert {each.difference for each in found.differences} == {0}


def test_two_tables_of_one_name_are_told_apart(runs):
    tables = [folder / "predictions" / "test.parquet" for folder in runs]
    assert workflows.compare(*tables, RECIPE).names == ("test (first)", "test (second)")


@pytest.mark.parametrize("own", ["", "predictions/test.parquet"])
def test_another_program_s_table_is_compared_with_a_run_or_its_table(runs, tmp_path, own):
    table = make.binary(60).frame
    foreign = table[["image", "patient"]].assign(diagnosis=table["truth"], probability_opacity=0.5)
    foreign.to_csv(tmp_path / "reader.csv", index=False)
    recipe = find_recipe(None, ["report.bootstrap_replicates=100", "columns.truth=diagnosis"])
    found = workflows.compare(runs[0] / own, tmp_path / "reader.csv", recipe)
    assert found.names == ("test" if own else "xrays-b0-1", "reader")
    assert found.differences[0].second == 0.5
    reasons = {each.reason for each in found.differences if each.name == "accuracy"}
    assert reasons == {"images without a decision (no operating point): 60 of 60 in reader"}


def test_settings_of_the_report_are_obeyed(runs):
    recipe = find_recipe(None, ["report.bootstrap_replicates=150", "report.seed=7", "report.net_benefit_at=[0.5]"])
    found = workflows.compare(*runs, recipe)
    assert (found.bootstrap_replicates, found.seed) == (150, 7)
    assert [each.threshold for each in found.differences if each.name == "net_benefit"] == [0.5]


def test_differences_are_words(runs):
    found = workflows.compare(*runs, RECIPE)
    rows = workflows.differences(found)
    assert len(rows) == len(found.differences)
    measure, first, _, difference, p_value, _ = rows[0]
    assert (measure, first) == ("AUROC opacity", f"{found.differences[0].first:.3f}")
    assert " to " in difference
    assert p_value.startswith("< ") or 0 <= float(p_value) <= 1


def test_what_is_no_run_and_no_table_is_refused(runs, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.parquet").write_text("x")
    (runs[1] / "done.json").unlink()
    for second, kind, says in (
        (tmp_path / "nothing", BundleError, "is not a run folder"),
        (runs[1], BundleError, "is not complete"),
        (tmp_path / "notes.txt", DataError, "neither a .csv nor a .parquet"),
        (tmp_path / "absent.csv", DataError, "cannot be read"),
        (tmp_path / "broken.parquet", DataError, "cannot be read"),
    ):
        with pytest.raises(kind, match=says):
            workflows.compare(runs[0], second, RECIPE)


def test_a_complete_run_without_its_predictions_is_refused(runs):
    shutil.rmtree(runs[1] / "predictions")
    with pytest.raises(DataError, match="cannot be read"):
        workflows.compare(*runs, RECIPE)


def test_a_column_that_is_not_there_is_refused(tmp_path):
    truth, first, _, _ = some(20)
    path = tmp_path / "p.csv"
    path.write_text("y,p\n" + "".join(f"{y},{p}\n" for y, p in zip(truth, first, strict=True)))
    with pytest.raises(DataError, match="have no column 'label'"):
        workflows.compare(path, path, find_recipe(None, ["columns.truth=label"]))
    with pytest.raises(RecipeError):
        find_recipe(None, ["columns.truths=label"])


@pytest.mark.parametrize("setting", ["data.level=patient", "report.subgroups=[site]", "decision.rule=threshold"])
def test_a_setting_that_would_change_nothing_is_refused(tmp_path, setting):
    with pytest.raises(RecipeError, match="a comparison would not heed it"):
        workflows.compare(tmp_path / "a.csv", tmp_path / "b.csv", find_recipe(None, [setting]))


@pytest.mark.parametrize("own", ["", "predictions/test.parquet"])
def test_columns_that_no_table_needs_are_refused(runs, own):
    with pytest.raises(RecipeError, match=r"^columns.truth: neither .* is a table of another program$"):
        workflows.compare(runs[0] / own, runs[1], find_recipe(None, ["columns.truth=diagnosis"]))
