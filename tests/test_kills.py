"""Kill -9 at any moment, and requests to end: what is left continues to the weights of the uninterrupted training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from effmed import workflows
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "sample_data" / "xrays"
SETTINGS = (
    *("model.weights=none", "model.image_size=32", "train.threads=1", "train.epochs=6", "train.patience=6"),
    *("train.batch_size=16", "model.dropout=0.3", "train.ema_decay=0.9", "train.checkpoint_min=0.0001"),
)
KILLS = 20
ATTEMPTS = 100  # some end before they are killed


def work(folder):
    """Train, or continue."""
    if Run(folder).plan.is_file():
        workflows.resume(folder)
        return
    recipe = find_recipe(None, list(SETTINGS))
    workflows.train(Training("timm:test_efficientnet", SAMPLE / "images", SAMPLE / "labels.csv", recipe, folder))


def start(folder):
    """Do it in a process of its own, which has all libraries already."""
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        code = 1
        try:
            work(folder)
            code = 0
        finally:
            os._exit(code)
    return pid


def finish(folder):
    assert os.waitpid(start(folder), 0)[1] == 0
    return json.loads(Run(folder).done.read_text())


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_to_the_same_weights(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finish(whole)  # decodes the images
    started = time.perf_counter()
    expected = finish(tmp_path / "again")
    duration_s = time.perf_counter() - started
    chance, places = np.random.default_rng(0), []
    while places.count(signal.SIGKILL) < KILLS and len(places) < ATTEMPTS:
        if Run(parts).is_complete:
            parts = tmp_path / f"parts-{len(places)}"  # it was faster than the kills: once more
        pid = start(parts)
        time.sleep(chance.uniform(0.05, 0.6 * duration_s))
        os.kill(pid, signal.SIGKILL)
        places.append(os.waitpid(pid, 0)[1])
    assert set(places) <= {0, signal.SIGKILL}
    assert places.count(signal.SIGKILL) == KILLS
    assert finish(parts) == expected
    numbers = [json.loads(line)["number"] for line in Run(parts).history.read_text().splitlines()]
    assert numbers == [1, 2, 3, 4, 5, 6]
    reports = [json.loads((folder / "report.json").read_text())["metrics"] for folder in (tmp_path / "again", parts)]
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written_it_continues_to_the_same_weights(tmp_path):
    expected, parts = finish(tmp_path / "again"), tmp_path / "parts"
    n_torn = 0
    for _ in range(200):
        pid = start(parts)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if any((parts / "last").glob(".epoch-0002-step-*")) and n_torn < 20:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                n_torn += any((parts / "last").glob(".epoch-0002-step-*"))
                break
            time.sleep(0.001)
        if Run(parts).is_complete:
            break
    assert n_torn == 20
    assert json.loads(Run(parts).done.read_text()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_asked_to_end_it_writes_a_checkpoint_and_ends_with_the_code_for_later(tmp_path, name):
    words = [word for setting in (*SETTINGS, "train.checkpoint_min=0") for word in ("--set", setting)]
    data = ["--data", str(SAMPLE / "images"), "--labels", str(SAMPLE / "labels.csv")]
    train = [sys.executable, "-m", "effmed", "train", "--variant", "timm:test_efficientnet", *data, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*train, "--run", "run"], cwd=tmp_path, env=environment, **pipes)
    run = Run(tmp_path / "run")
    while not run.history.is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert f"error: {name}: stopped in epoch" in said
    assert "hint: effmed train --resume --run run" in said
    assert any("-step-" in path.name for path in run.last.glob("epoch-*"))
    whole = finish(tmp_path / "whole")
    assert finish(run.folder) == whole
