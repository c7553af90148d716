"""What commands let other cores do while they import torch."""

from pathlib import Path

import pytest

from effmed import workflows
from effmed.errors import EffmedError
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training

NOWHERE = Path("no-such-folder")


@pytest.fixture
def started(monkeypatch):
    calls = []
    monkeypatch.setattr("effmed.data.processes.start_early", lambda: calls.append("processes"))
    monkeypatch.setattr("effmed.learn.kernels.build.compile_early", lambda: calls.append("kernels"))
    return calls


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], ["processes", "kernels"]),
        (["train.fused_layers=false"], ["processes"]),
        (["train.device=cuda"], ["processes"]),
    ],
)
def test_training_starts_processes_and_a_compiler_where_it_may_need_them(started, settings, expected):
    with pytest.raises(EffmedError):
        workflows.train(Training("b0", NOWHERE, None, find_recipe(None, settings), None))
    assert started == expected


@pytest.mark.parametrize(
    "command",
    [
        lambda recipe: workflows.resume(NOWHERE),
        lambda recipe: workflows.evaluate(NOWHERE, recipe, data=NOWHERE, labels=None),
        lambda recipe: workflows.predict(NOWHERE, NOWHERE, Path("scores.csv"), recipe),
    ],
)
def test_commands_that_read_images_start_processes(started, command):
    with pytest.raises(EffmedError):
        command(find_recipe(None, []))
    assert started == ["processes"]


def test_a_report_on_images_that_were_read_before_starts_nothing(started):
    with pytest.raises(EffmedError):
        workflows.evaluate(NOWHERE, find_recipe(None, []), data=None, labels=None)
    assert started == []
