import pytest
import torch

from effmed.errors import MachineError
from effmed.learn.machine.allocator import can_keep_memory
from effmed.learn.machine.device import find_machine, own_cores
from effmed.learn.machine.memory import memory_bytes
from effmed.learn.machine.team import ALONE, Team


def test_the_cpu_is_always_there():
    machine = find_machine("cpu")
    assert machine.device == "cpu"
    assert machine.cores >= 1
    assert machine.memory_bytes == memory_bytes() > 0
    assert machine.speed == 0
    assert machine.can_keep_memory == can_keep_memory()
    assert find_machine("auto").name


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_a_machine_error():
    with pytest.raises(MachineError, match="no such device"):
        find_machine("cuda")


def test_processes_of_a_machine_share_its_cores_unless_slurm_has_given_each_its_own():
    assert own_cores(8, ALONE, {}) == 8
    assert own_cores(8, Team(1, 4, 1, 4), {}) == 2
    assert own_cores(1, Team(1, 4, 1, 4), {}) == 1
    assert own_cores(8, Team(1, 4, 1, 4), {"SLURM_CPUS_PER_TASK": "8"}) == 8
    assert own_cores(32, Team(1, 4, 1, 4), {"SLURM_CPUS_PER_TASK": "8"}) == 8  # not bound: all are seen
