"""How fast this machine trains, measured in about a second on a network like the one that will be trained."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Literal

import torch

from effmed.learn.network import create_network
from effmed.learn.scaling import VARIANTS, count, stages
from effmed.learn.scaling.costs import PASSES_OF_TRAINING
from effmed.learn.scaling.counting import RGB

if TYPE_CHECKING:
    from collections.abc import Callable

PROBE_S = 1.0
STEPS_MIN = 3  # of an odd number the median is a step that no single interruption decides
WARM_UP_STEPS = 2  # the first allocates memory and chooses algorithms
SIDE_PX = 160  # of B0: two thirds of its side keep a step on a slow CPU below a second
BATCH = {"cpu": 8, "cuda": 64, "mps": 32}  # a GPU with fewer images waits for its next task
AUTOCAST = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def measure_speed(
    device: Literal["cpu", "cuda", "mps"], precision: Literal["float32", "bfloat16", "float16"], threads: int
) -> float:
    """Return the multiply-adds per second of training B0: forward and backward pass, without updates of weights.

    Other networks of the family, sides and batches trained at 0.6 to 1.3 times this speed on two cores of a CPU that
    had other work.

    Args:
        device: Where.
        precision: Autocast type.
        threads: Of the CPU.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step = _make_step(device, precision)
        for _ in range(WARM_UP_STEPS):
            step()
        step_s = statistics.median(_durations(step))
    finally:
        torch.set_num_threads(before)
    return count(stages.B0, SIDE_PX, n_outputs=1).multiply_adds * BATCH[device] * PASSES_OF_TRAINING / step_s


def _make_step(device: str, precision: str) -> Callable[[], float]:
    """Return a step that ends when the device has done its work; torch's random numbers stay where they were."""
    with torch.random.fork_rng(devices=[]):
        network = create_network(VARIANTS["b0"].architecture, n_outputs=1, channels=RGB)
        noise = torch.randn(BATCH[device], RGB, SIDE_PX, SIDE_PX)
    images = noise.to(device, memory_format=torch.channels_last)
    network = network.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    def step() -> float:
        with torch.autocast(device, dtype=AUTOCAST[precision], enabled=precision != "float32"):
            outputs = network(images)
        network.zero_grad(set_to_none=True)
        outputs.float().square().mean().backward()
        return float(network.classifier.bias.grad)  # waits for the device

    return step


def _durations(step: Callable[[], float]) -> list[float]:
    """Repeat a step for about a second, three times at least; return the seconds that each took."""
    found: list[float] = []
    while len(found) < STEPS_MIN or sum(found) < PROBE_S:
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return found
