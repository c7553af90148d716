"""How fast this machine trains, and how much memory a step takes: measured, in seconds."""

from __future__ import annotations

import statistics
import time
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from effmed.learn.fitting.depth import set_mode
from effmed.learn.kernels.layers import can_fuse, fuse_layers
from effmed.learn.machine.activations import compute_beside
from effmed.learn.machine.precision import AUTOCAST, autocast
from effmed.learn.machine.statistics import has_blocks
from effmed.learn.network import create_network
from effmed.learn.scaling import VARIANTS, count, stages
from effmed.learn.scaling.costs import BYTES_PER_FLOAT32, PASSES_OF_TRAINING
from effmed.learn.scaling.counting import RGB

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from effmed.learn.plan import Plan

PROBE_S = 1.0
STEPS_MIN = 3  # of an odd number the median is a step that no single interruption decides
WARM_UP_STEPS = 2  # the first allocates memory and chooses algorithms
SIDE_PX = 160  # of B0: two thirds of its side keep a step on a slow CPU below a second
BATCH = {"cpu": 8, "cuda": 64, "mps": 32}  # a GPU with fewer images waits for its next task
PROBED_IMAGES = 2  # batch normalisation needs two
PROBE_PRECISION_S = 5.0
WORTH_PROBING_S = 600.0  # the probe takes a hundredth of that
COPIES_OF_WEIGHTS = 4  # weights, gradients, two moments
# Gradients of activations: B0 and Lite0 took 0.76 to 0.96 of the product at 224 px, with layers of either kind.
BACKWARD_FACTOR = 1.3


def measure_speed(
    device: Literal["cpu", "cuda", "mps"],
    precision: Literal["float32", "bfloat16", "float16"],
    threads: int,
    *,
    fused: bool = False,
) -> float:
    """Return the multiply-adds per second of training B0: forward and backward pass, without updates of weights.

    Other networks of the family, sides and batches trained at 0.6 to 1.3 times this speed on two cores of a CPU that
    had other work.

    Args:
        device: Where.
        precision: Autocast type.
        threads: Of the CPU.
        fused: Whether effmed's own layers will be used.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step = _make_step(device, precision, fused=fused)
        for _ in range(WARM_UP_STEPS):
            step()
        step_s = statistics.median(_durations(step))
    finally:
        torch.set_num_threads(before)
    return count(stages.B0, SIDE_PX, n_outputs=1).multiply_adds * BATCH[device] * PASSES_OF_TRAINING / step_s


def _make_step(device: str, precision: str, *, fused: bool = False) -> Callable[[], float]:
    """Return a step that ends when the device has done its work; torch's random numbers stay where they were."""
    with torch.random.fork_rng(devices=[]):
        network = create_network(VARIANTS["b0"].architecture, n_outputs=1, channels=RGB)
        noise = torch.randn(BATCH[device], RGB, SIDE_PX, SIDE_PX)
    compute_beside(network)
    if fused:
        fuse_layers(network)
    images = noise.to(device, memory_format=torch.channels_last)
    network = network.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    def step() -> float:
        with torch.autocast(device, dtype=AUTOCAST[precision], enabled=precision != "float32"):
            outputs = network(images)
        network.zero_grad(set_to_none=True)
        outputs.float().square().mean().backward()
        return float(network.classifier.bias.grad)  # waits for the device

    return step


@dataclass(frozen=True)
class Measured:
    """What the network to be trained takes on this machine.

    Attributes:
        bfloat16_gain: Steps in bfloat16 per step in float32; 0 where a short training does not ask for it.
        image_bytes: Memory that one more image in a step takes.
        fixed_bytes: Memory that a step takes besides its images: weights, gradients, two moments of AdamW.
        can_checkpoint: Whether the network can compute its blocks twice, with the same statistics.
        can_fuse: Whether effmed's own kernels were compiled here, and the network has layers for them.
        fused_by: The compiler, or what was in the way.
    """

    bfloat16_gain: float
    image_bytes: int
    fixed_bytes: int
    can_checkpoint: bool
    can_fuse: bool
    fused_by: str


def measure_network(network: nn.Module, plan: Plan, *, asks_precision: bool) -> Measured:
    """Measure steps of the network that will be trained, as the plan trains it; weights and random numbers stay.

    Args:
        network: On the CPU.
        plan: What is decided so far.
        asks_precision: Whether it is open in which precision a CPU computes faster; trainings of less than about ten
            minutes do not wait for the answer.
    """
    threads, spec = torch.get_num_threads(), plan.preprocessing
    generator = torch.Generator().manual_seed(plan.seed)
    images = torch.rand(PROBED_IMAGES, spec.channels, spec.height, spec.width, generator=generator)
    torch.set_num_threads(plan.threads)
    probed = deepcopy(network).to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    compute_beside(probed)
    if plan.fused_layers and not plan.share_statistics:  # which needs as much memory as torch's
        fuse_layers(probed)
    set_mode(probed, plan, plan.epochs - 1)
    try:
        with torch.random.fork_rng(devices=[]):
            images = images.to(plan.device, memory_format=torch.channels_last)
            image_bytes = _image_bytes(probed, images, plan)
            gain = _bfloat16_gain(probed, images, plan) if asks_precision and plan.device == "cpu" else 0.0
    finally:
        torch.set_num_threads(threads)
    n_numbers = sum(parameter.numel() for parameter in network.parameters())
    fixed_bytes = n_numbers * COPIES_OF_WEIGHTS * BYTES_PER_FLOAT32
    return Measured(gain, image_bytes, fixed_bytes, has_blocks(network), *can_fuse(network))


def _image_bytes(network: nn.Module, images: torch.Tensor, plan: Plan) -> int:
    """Return what one image leaves in memory for the backward pass, and what that takes on top of it."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast(plan):
        outputs = network(images)  # noqa: F841  its graph must live until all is counted
    return round(sum(kept.values()) / len(images) * BACKWARD_FACTOR)


def _bfloat16_gain(network: nn.Module, images: torch.Tensor, plan: Plan) -> float:
    """Return how many times as fast bfloat16 is, in turns with float32 for five seconds; 0 for a short training."""

    def step(precision: str) -> float:
        started = time.perf_counter()
        with torch.autocast(plan.device, dtype=AUTOCAST[precision], enabled=precision != "float32"):
            outputs = network(images)
        network.zero_grad(set_to_none=True)
        outputs.float().square().mean().backward()
        return time.perf_counter() - started

    step("float32")
    full_s = step("float32")
    if full_s / len(images) * plan.n_train * plan.epochs < WORTH_PROBING_S:
        return 0.0
    half_s = step("bfloat16")  # which warms up: it takes longer than the next ones
    if half_s > PROBE_PRECISION_S:
        return full_s / half_s  # a CPU that emulates bfloat16 would take minutes for all pairs
    pairs = [(step("float32"), step("bfloat16")) for _ in range(STEPS_MIN)]
    deadline = time.perf_counter() + PROBE_PRECISION_S - sum(map(sum, pairs))
    while time.perf_counter() < deadline:
        pairs.append((step("float32"), step("bfloat16")))
    return statistics.median(full / half for full, half in pairs)


def _durations(step: Callable[[], float]) -> list[float]:
    """Repeat a step for about a second, three times at least; return the seconds that each took."""
    found: list[float] = []
    while len(found) < STEPS_MIN or sum(found) < PROBE_S:
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return found
