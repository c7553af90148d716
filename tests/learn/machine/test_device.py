import pytest
import torch

from effmed.data.allocator import can_keep_memory
from effmed.errors import MachineError
from effmed.learn.kernels.check import find_kernels
from effmed.learn.machine import device as module
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
    assert machine.can_fuse == (find_kernels().library is not None)
    assert machine.fused_by == find_kernels().why
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


def test_omp_num_threads_is_a_limit_unless_torchrun_has_set_it():
    assert own_cores(8, ALONE, {"OMP_NUM_THREADS": "3"}) == 3
    assert own_cores(2, ALONE, {"OMP_NUM_THREADS": "3"}) == 2
    assert own_cores(8, ALONE, {"OMP_NUM_THREADS": "4,2"}) == own_cores(8, ALONE, {"OMP_NUM_THREADS": "0"}) == 8
    torchrun = {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none"}
    assert own_cores(8, Team(1, 4, 1, 4), torchrun) == 2


class SeenByTorch:
    """A GPU before Ampere: it makes bfloat16 tensors, but computes them slowly or not at all."""

    total_memory = 16 * 10**9


@pytest.mark.parametrize(("computes", "triton"), [(False, None), (True, "there")])
def test_a_gpu_has_the_half_precision_that_it_computes_itself(monkeypatch, computes, triton):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SeenByTorch)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "T4")
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or computes
    )
    monkeypatch.setattr(module, "find_spec", lambda _: triton)
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/bin/{name}" if name == "gcc" else None)
    found = find_machine("auto")
    assert (found.device, found.name, found.memory_bytes) == ("cuda", "T4", 16 * 10**9)
    assert found.has_bfloat16 is computes
    assert found.can_compile is (triton is not None)


def test_without_a_compiler_of_c_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: "there")
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    assert not module.can_compile()
