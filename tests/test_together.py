"""Several processes, one of which is killed: a clear end, a run that continues, torchrun's own restart."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from effmed.run import Run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "sample_data" / "xrays"
SETTINGS = ("model.weights=none", "model.image_size=32", "train.epochs=25", "train.patience=25", "train.batch_size=16")
TRAIN = [
    *("-m", "effmed", "train", "--variant", "timm:test_efficientnet"),
    *("--data", str(SAMPLE / "images"), "--labels", str(SAMPLE / "labels.csv")),
    *(word for setting in SETTINGS for word in ("--set", setting)),
]


def start(folder, *, restarts):
    """Start two processes with torchrun in ``folder``; what they say is kept."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *torchrun, *TRAIN, "--run-folder", "run"]
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=environment)


def wait_for_epochs(run, process, n):
    while not run.history.is_file() or len(run.history.read_text().splitlines()) < n:
        assert process.poll() is None
        time.sleep(0.05)


def worker(process, rank):
    """The process of a rank below torchrun."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError("torchrun has no such process")


def numbers(run):
    return [json.loads(line)["number"] for line in run.history.read_text().splitlines()]


@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_a_job_whose_process_was_killed_and_it_continues(tmp_path, rank):
    process, run = start(tmp_path, restarts=1), Run(tmp_path / "run")
    wait_for_epochs(run, process, 2)
    os.kill(worker(process, rank), signal.SIGKILL)
    assert process.wait(timeout=240) == 0
    said = (tmp_path / "said.txt").read_text()
    assert f"resuming {Path('run')}" in said
    assert numbers(run) == list(range(1, 26))
    assert run.is_complete


def test_a_job_whose_process_was_killed_says_so_and_one_process_continues_it(tmp_path):
    process, run = start(tmp_path, restarts=0), Run(tmp_path / "run")
    wait_for_epochs(run, process, 2)
    os.kill(worker(process, 1), signal.SIGKILL)
    assert process.wait(timeout=240) != 0
    said = (tmp_path / "said.txt").read_text()
    assert "a process of this job is lost: " in said
    assert "hint: effmed train --resume continues" in said
    assert not run.is_complete
    alone = [sys.executable, "-m", "effmed", "train", "--resume", "--run", "run"]
    done = subprocess.run(alone, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert numbers(run) == list(range(1, 26))


def test_srun_needs_no_other_command(tmp_path):
    """What srun does: the same command in every task, with its own variables."""
    processes = []
    for rank in range(2):
        step = {"SLURM_PROCID": rank, "SLURM_NTASKS": 2, "SLURM_LOCALID": rank, "SLURM_NTASKS_PER_NODE": 2}
        job = {"SLURM_JOB_ID": os.getpid(), "SLURM_STEP_ID": 0, "SLURM_STEP_NODELIST": "localhost"}
        environment = os.environ | {name: str(value) for name, value in (step | job).items()}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *TRAIN, "--set", "train.epochs=2", "--run", "run", "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes))
    said = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert json.loads(said[0][0])["plan"]["processes"] == 2
    assert said[1] == ("", "")  # the first process speaks
    assert numbers(Run(tmp_path / "run")) == [1, 2]
