"""The benchmark of trainings says what its runs gave, at a tiny size."""

import pytest

from benchmarks import results
from effmed.run import Run
from tests import make

SMALL = ("train.epochs=1", "train.threads=1", "train.batch_size=8", "data.patient_pattern=(p[0-9]+)_")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    make.class_folders(root / "data", patients=14)
    command = ("--variant", "timm:test_efficientnet", "--data", str(root / "data"))
    sizes = (("small", "32 px", 32), ("larger", "48 px", 48))
    trials = [
        results.Trial(name, text, (*SMALL, "model.weights=none", f"model.image_size={size}"))
        for name, text, size in sizes
    ]
    (root / "runs").mkdir()
    return trials, [results.run_trial(trial, root / "runs", command) for trial in trials], command


@pytest.mark.slow
def test_each_training_is_a_row_with_its_difference_from_the_first(made):
    trials, runs, _ = made
    lines = list(results.table(trials, runs))
    assert len(lines) == 4
    first, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert (first[0], second[0]) == ("32 px", "48 px")
    assert first[3] == ""
    assert second[3].startswith(("+", "-", "0"))
    assert all("(" in row[1] and row[2].startswith(("0.", "1.")) and int(row[5]) > 0 for row in (first, second))


@pytest.mark.slow
def test_a_training_that_is_there_is_not_made_again(made):
    trials, runs, command = made
    before = Run(runs[0]).done.stat().st_mtime_ns
    assert results.run_trial(trials[0], runs[0].parent, command) == runs[0]
    assert Run(runs[0]).done.stat().st_mtime_ns == before
