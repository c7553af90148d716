"""How long a batch takes to read from the cache, and a step of training with it; ``benchmarks.ingest`` prints it.

    python -m benchmarks.batch efficientnet_b0

A program of its own: what else is measured must not carry the deep learning libraries in every process.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch

from benchmarks.cache import spec_of, write_images
from benchmarks.radiographs import temporary
from effmed.data.cache import Cache, open_cache
from effmed.learn.transforms import to_input

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
N_IMAGES, SIDE = 200, 224  # among which batches are drawn, and their height and width in pixels
N_READ, N_STEPS = 20, 3  # of which the median counts


def measure(network: str, *, n_images: int = N_IMAGES, side: int = SIDE) -> tuple[float, float]:
    """Return the seconds of reading a batch of 32, and of a step of training with it, on one thread."""
    torch.set_num_threads(1)
    model = timm.create_model(network, num_classes=1, in_chans=1).train()
    with temporary() as root:
        cache = open_cache(write_images(root, n_images, side), spec_of(side), folder=root.parent / "images")
        chance = np.random.default_rng(0)
        reading = [_seconds(lambda: _read(cache, chance)) for _ in range(N_READ)]
        batch = _read(cache, chance)
        steps = [_seconds(lambda: model(batch).mean().backward()) for _ in range(N_STEPS)]
    return float(np.median(reading)), float(np.median(steps))


def _read(cache: Cache, chance: np.random.Generator) -> torch.Tensor:
    return to_input(cache.pixels[chance.integers(0, len(cache.pixels), BATCH)], (0.5,), (0.25,))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
