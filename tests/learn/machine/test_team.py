import json
import subprocess
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from effmed.errors import MachineError
from effmed.learn.fitting import fit, start_training
from effmed.learn.machine.team import ALONE, Team, find_team, first_host, is_restarted, job_name, joined, port_of
from effmed.learn.network import build_network
from tests.learn import make

ROOT = Path(__file__).parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STEP = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "4"}


def together(folder, **changes):
    """Train in two processes; return what each found."""
    command = [*TORCHRUN, "-m", "tests.learn.machine.together", str(folder), json.dumps(changes)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def alone(**changes):
    plan = make.plan(**changes)
    torch.manual_seed(plan.seed)
    state = start_training(build_network(plan), plan)
    return [asdict(epoch) for epoch in fit(state, make.images(40), make.images(21, seed=1), plan)]


@pytest.mark.slow
def test_two_processes_have_the_history_of_one_with_the_doubled_batch(tmp_path):
    changes = {"batch_size": 16, "epochs": 3}
    found = together(tmp_path, **changes, micro_batch=8, processes=2, share_statistics=True)
    assert found[0]["weights"] == found[1]["weights"]
    expected = alone(**changes)
    for one, other, single in zip(found[0]["epochs"], found[1]["epochs"], expected, strict=True):
        for name in ("number", "n_images", "is_best", "learning_rate"):
            assert one[name] == other[name] == single[name]
        for name in ("train_loss", "val_loss", "val_score", "val_low", "val_high"):
            assert one[name] == other[name]
            assert one[name] == pytest.approx(single[name], rel=2e-3)


@pytest.mark.slow
def test_statistics_that_are_not_shared_differ_from_those_of_one_process(tmp_path):
    """What the test above shows is not so by itself."""
    changes = {"batch_size": 16, "epochs": 3}
    found = together(tmp_path, **changes, micro_batch=8, processes=2, share_statistics=False)
    assert found[0]["epochs"][-1]["val_loss"] == found[1]["epochs"][-1]["val_loss"]
    assert found[0]["epochs"][-1]["val_loss"] != pytest.approx(alone(**changes)[-1]["val_loss"], rel=2e-3)
    assert found[0]["epochs"][-1]["val_loss"] == pytest.approx(found[0]["alone"], rel=1e-5)  # all judge the first one's


def test_a_process_without_torchrun_or_slurm_is_alone():
    assert find_team({}) == ALONE
    assert find_team({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) == ALONE  # in a batch script, outside srun
    assert find_team({**STEP, "SLURM_STEP_ID": "4294967290"}) == ALONE  # in a shell of salloc
    with joined({}) as team:
        assert team.tell(7) == 7
        tensor = torch.ones(3)
        team.add_up([tensor])
        assert tensor.tolist() == [1, 1, 1]


def test_torchrun_and_slurm_are_understood():
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert find_team(torchrun) == Team(3, 4, 1, 2)
    assert find_team({**STEP, "SLURM_STEP_ID": "0"}) == Team(5, 8, 1, 4)
    assert find_team({**torchrun, **STEP, "SLURM_STEP_ID": "0"}) == Team(3, 4, 1, 2)  # torchrun within srun


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node03", "node03"),
        ("node[03-05,07]", "node03"),
        ("node[12,14]", "node12"),
        ("a1,b2", "a1"),
        ("gpu[1-2].site.org", "gpu1.site.org"),
        ("a1,node[03-05]", "a1"),
    ],
)
def test_the_first_machine_of_a_slurm_step_is_where_all_meet(nodes, first):
    assert first_host({"SLURM_STEP_NODELIST": nodes}) == first


def test_two_steps_meet_at_two_ports():
    ports = {port_of({"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}) for job in (7, 8) for step in (0, 1)}
    assert len(ports) == 4
    assert all(20_000 <= port < 40_000 for port in ports)
    assert port_of({"MASTER_PORT": "29500"}) == 29500


def test_a_restart_and_its_job_are_known():
    assert is_restarted({"TORCHELASTIC_RESTART_COUNT": "1"})
    assert is_restarted({"SLURM_RESTART_COUNT": "2"})
    assert not is_restarted({"TORCHELASTIC_RESTART_COUNT": "0"})
    assert not is_restarted({})
    assert job_name({"SLURM_JOB_ID": "41"}) == "slurm-41"
    assert job_name({"TORCHELASTIC_RUN_ID": "none"}) == job_name({"TORCHELASTIC_RUN_ID": "none"}) != ""
    assert job_name({}) == ""


def test_processes_that_do_not_find_each_other_end_with_a_sentence(monkeypatch):
    monkeypatch.setattr("effmed.learn.machine.team.MEETING", timedelta(seconds=1))
    nobody = {**STEP, "SLURM_STEP_ID": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    with pytest.raises(MachineError, match="the other 7 processes were not found"), joined(nobody):
        pass


@pytest.mark.parametrize("n", [2, 5, 16])
def test_a_batch_is_shared_without_remainder(n):
    parts = [Team(rank, 2).share(np.arange(n)) for rank in range(2)]
    assert np.concatenate(parts).tolist() == list(range(n))
    assert abs(len(parts[0]) - len(parts[1])) <= 1


def test_a_row_found_twice_is_refused():
    with pytest.raises(ValueError, match="found twice"):
        ALONE.gather(np.array([0, 0]), np.zeros((2, 1), dtype=np.float32), 2)
