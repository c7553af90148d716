import pytest
import torch

from effmed.errors import MachineError
from effmed.learn.machine.allocator import can_keep_memory
from effmed.learn.machine.device import find_machine
from effmed.learn.machine.memory import memory_bytes


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
