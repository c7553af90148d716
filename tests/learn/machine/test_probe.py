import torch

from effmed.learn.machine import probe
from effmed.learn.scaling import count, stages


def test_the_speed_is_that_of_the_median_step_whatever_interrupts_one(monkeypatch):
    ticks = iter([0.0, 0.25, 1.0, 10.0, 11.0, 11.125])  # three steps of 0.25, 9 and 0.125 s
    steps = []
    monkeypatch.setattr(probe, "_make_step", lambda *_: lambda: steps.append(1))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(ticks))
    macs = count(stages.B0, probe.SIDE_PX, n_outputs=1).multiply_adds
    assert probe.measure_speed("cpu", "float32", 1) == 8 * macs * 3 / 0.25
    assert len(steps) == probe.WARM_UP_STEPS + 3


def test_the_probe_leaves_threads_and_random_numbers_as_they_were(monkeypatch):
    monkeypatch.setattr(probe, "PROBE_S", 0.01)
    monkeypatch.setattr(probe, "SIDE_PX", 32)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert probe.measure_speed("cpu", "bfloat16", threads + 1) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_step_has_a_backward_pass(monkeypatch):
    monkeypatch.setattr(probe, "SIDE_PX", 32)
    assert probe._make_step("cpu", "float32")() != 0
