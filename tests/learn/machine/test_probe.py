import pytest
import torch

from effmed.data.pixels import Preprocessing
from effmed.learn.bundle import weights_digest
from effmed.learn.machine import probe
from effmed.learn.network import build_network, create_network
from effmed.learn.scaling import count, stages
from tests.learn import make


def test_the_speed_is_that_of_the_median_step_whatever_interrupts_one(monkeypatch):
    ticks = iter([0.0, 0.25, 1.0, 10.0, 11.0, 11.125])  # three steps of 0.25, 9 and 0.125 s
    steps = []
    monkeypatch.setattr(probe, "_make_step", lambda *_, **__: lambda: steps.append(1))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(ticks))
    macs = count(stages.B0, probe.SIDE_PX, n_outputs=1).multiply_adds
    assert probe.measure_speed("cpu", "float32", 1) == 8 * macs * 3 / 0.25
    assert len(steps) == probe.WARM_UP_STEPS + 3


def test_the_probe_leaves_threads_and_random_numbers_as_they_were(monkeypatch):
    monkeypatch.setattr(probe, "PROBE_S", 0.01)
    monkeypatch.setattr(probe, "SIDE_PX", 32)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert probe.measure_speed("cpu", "float32", threads + 1) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_step_has_a_backward_pass(monkeypatch):
    monkeypatch.setattr(probe, "SIDE_PX", 32)
    assert probe._make_step("cpu", "float32")() != 0


def network(**changes):
    made = make.plan(**changes)
    torch.manual_seed(0)
    return build_network(made), made


def test_measuring_leaves_the_network_threads_and_random_numbers_as_they_were():
    built, made = network(dropout=0.3, drop_path=0.2)
    before = weights_digest(built)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    probe.measure_network(built, made, asks_precision=True)
    assert weights_digest(built) == before
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("kernels")
def test_what_is_measured_are_the_layers_that_will_learn(monkeypatch):
    """Ours keep the input of normalisation alone, torch's that of the activation too."""
    plain, own = (
        probe.measure_network(*network(fused_layers=fused), asks_precision=False).image_bytes for fused in (False, True)
    )
    assert 0.5 < own / plain < 0.9
    without = create_network("resnet18", n_outputs=1, channels=1)
    measured = probe.measure_network(without, make.plan(fused_layers=True), asks_precision=False)
    assert not measured.can_fuse
    assert measured.fused_by == "there are none for the layers of this network"
    asked = []
    monkeypatch.setattr(probe, "_make_step", lambda *_, fused: asked.append(fused) or (lambda: None))
    monkeypatch.setattr(probe, "PROBE_S", 0.0)
    probe.measure_speed("cpu", "float32", 1, fused=True)
    assert asked == [True]


def test_a_short_training_does_not_ask_for_precision(monkeypatch):
    built, made = network()
    assert probe.measure_network(built, made, asks_precision=True).bfloat16_gain == 0
    monkeypatch.setattr(probe, "WORTH_PROBING_S", 0.0)
    monkeypatch.setattr(probe, "PROBE_PRECISION_S", 0.0)
    assert probe.measure_network(built, made, asks_precision=True).bfloat16_gain > 0
    assert probe.measure_network(built, made, asks_precision=False).bfloat16_gain == 0


def test_the_gain_is_the_median_of_pairs_taken_in_turn(monkeypatch):
    """Float32 takes 1 s, bfloat16 0.5 s; one step of either is interrupted for an hour."""
    durations = iter([9, 1, 4, 1, 0.5, 3600, 0.5, 1, 3600])
    clock, asked = [0.0], []

    def now():
        return clock[0]

    class Context:
        def __enter__(self):
            clock[0] += next(durations)

        def __exit__(self, *_):
            pass

    def autocast(device, dtype, enabled):
        asked.append(enabled)
        return Context()

    built, made = network(n_train=10**6)
    images = torch.rand(2, 1, 32, 32)
    monkeypatch.setattr(probe.time, "perf_counter", now)
    monkeypatch.setattr(probe.torch, "autocast", autocast)
    assert probe._bfloat16_gain(built, images, made) == 2.0
    assert asked == [False, False, True, False, True, False, True, False, True]


def test_a_cpu_that_emulates_bfloat16_is_asked_once(monkeypatch):
    durations, clock, asked = {False: 1.0, True: 60.0}, [0.0], []

    class Context:
        def __init__(self, enabled):
            self.enabled = enabled

        def __enter__(self):
            clock[0] += durations[self.enabled]

        def __exit__(self, *_):
            pass

    def autocast(device, dtype, enabled):
        asked.append(enabled)
        return Context(enabled)

    built, made = network(n_train=10**6)
    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(probe.torch, "autocast", autocast)
    assert probe._bfloat16_gain(built, torch.rand(2, 1, 32, 32), made) == pytest.approx(1 / 60)
    assert asked == [False, False, True]


def test_memory_grows_with_the_side_and_what_learns():
    large = Preprocessing(height=64, width=64, channels=1, depth="uint8", window="stored", max_megapixels=10.0)
    small_bytes = probe.measure_network(*network(), asks_precision=False).image_bytes
    large_bytes = probe.measure_network(*network(preprocessing=large), asks_precision=False).image_bytes
    assert 3.5 < large_bytes / small_bytes < 4.5
    last = probe.measure_network(*network(depth=1, weights="file w"), asks_precision=False)
    assert last.image_bytes < small_bytes / 2


def test_weights_gradients_and_moments_are_what_is_fixed():
    built, made = network()
    n_numbers = sum(parameter.numel() for parameter in built.parameters())
    assert probe.measure_network(built, made, asks_precision=False).fixed_bytes == 16 * n_numbers
