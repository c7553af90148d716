"""Training on a GPU: a whole one, and how much of its speed the loader leaves; ``benchmarks.gpu_check`` prints it.

    python -m benchmarks.gpu_training --network tf_efficientnet_b0

The same loop trains twice: fed with images that are read, changed and sent to the device one batch after another, and
with one batch that stays there. A program of its own: it needs torch, and prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.train import N_TEST, Task, make_images, run_way
from effmed.learn.fitting import fit, start_training
from effmed.learn.loader import Images
from effmed.learn.machine.precision import set_precision
from effmed.learn.network import build_network
from effmed.learn.plan import Plan
from effmed.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effmed.learn.loader import Examples, Times

N_DIFFERENT = 2048  # images of the long epochs; others are these again
FILE_SIDE_FACTOR = 1.25  # files are so much larger than the network's input
LONG_EPOCHS = 3  # of which the first does not count


@dataclass(frozen=True)
class Measured:
    """What was found out on one device.

    Attributes:
        device: What the plan calls it.
        network: timm's name.
        size: Side of the input in pixels.
        batch: Images per step.
        precision: Of the network's computations.
        whole_s: Seconds of a short ``effmed train``, from start to end.
        fed_rate: Images per second of later epochs, their validation on one batch included.
        resident_rate: The same where one batch stays on the device.
    """

    device: str
    network: str
    size: int
    batch: int
    precision: str
    whole_s: float
    fed_rate: float
    resident_rate: float


@dataclass(frozen=True)
class Resident:
    """One batch on the device in place of all: examples for the loop that cost nothing to load.

    Attributes:
        images: Those whose number and truth are taken, and whose first batch stays on the device.
        plan: What was decided.
    """

    images: Images
    plan: Plan
    names: tuple[str, ...] = ()
    patients: NDArray[np.generic] | None = None

    @property
    def truth(self) -> NDArray[np.int64]:
        """As of the images."""
        return self.images.truth

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def batch(self) -> torch.Tensor:
        """The first batch, changed by chance once."""
        chosen = np.arange(min(self.plan.batch_size, len(self.images)))
        return self.images.changed_inputs(chosen, self.plan, 0).to(self.plan.device)

    def inputs(self, chosen: NDArray[np.int64], plan: Plan) -> torch.Tensor:
        """Return so many images of that batch."""
        return self.batch[: len(chosen)]

    def changed_inputs(self, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: Times = 0) -> torch.Tensor:
        """Return so many images of that batch."""
        return self.batch[: len(chosen)]


def measure(task: Task, folder: Path, n_long: int) -> Measured:
    """Train once with the command, then twice with its plan in this process.

    Args:
        task: The short training; its data are made here.
        folder: Empty, for data and run.
        n_long: Images of an epoch of the trainings that are compared.
    """
    counts = {"train": task.n_train, "val": task.batch, "test": N_TEST}
    make_images(task.data, counts, round(FILE_SIDE_FACTOR * task.size), bits=8)
    outcome = run_way("effmed", task, Path(), folder / "short")
    text = Run(folder / "short" / "run").plan.read_text(encoding="utf-8")
    plan = Plan.model_validate_json(text).model_copy(update={"epochs": LONG_EPOCHS, "patience": LONG_EPOCHS})
    train, val = made_up(plan, n_long), made_up(plan, plan.batch_size)
    resident, fed = (rate_of(examples, val, plan) for examples in (Resident(train, plan), train))
    return Measured(
        plan.device_name, plan.network, task.size, plan.batch_size, plan.precision, outcome.seconds, fed, resident
    )


def made_up(plan: Plan, n: int) -> Images:
    """Return images of noise in the form of the cache, of both classes in turn."""
    spec, chance = plan.preprocessing, np.random.default_rng(0)
    shape = (min(n, N_DIFFERENT), spec.height, spec.width, *((spec.channels,) if spec.channels > 1 else ()))
    pixels = chance.integers(0, np.iinfo(spec.depth).max, shape, dtype=spec.depth, endpoint=True)
    return Images(pixels, np.arange(n) % len(pixels), np.arange(n) % 2)


def rate_of(train: Examples, val: Examples, plan: Plan) -> float:
    """Return the images per second of the epochs after the first."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    set_precision(plan)
    epochs = list(fit(start_training(build_network(plan), plan), train, val, plan))[1:]
    return len(train) * len(epochs) / sum(epoch.duration_s for epoch in epochs)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="tf_efficientnet_b0", help="timm's name")
    parser.add_argument("--size", type=int, default=224, help="side of the input in pixels")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--images", type=int, default=1024, help="of the short training")
    parser.add_argument("--epochs", type=int, default=4, help="of the short training")
    parser.add_argument("--long", type=int, default=16384, help="images of an epoch where the loader is measured")
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    given = parse(arguments)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        task = Task(data, given.network, given.size, given.epochs, given.batch, given.images, given.device)
        print(json.dumps(asdict(measure(task, Path(place), given.long))))


if __name__ == "__main__":
    main(sys.argv[1:])
