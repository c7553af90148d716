"""What the cache of decoded images costs: building it, and reading a batch from it; ``benchmarks.ingest`` prints it."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch

from benchmarks.radiographs import TARGET, Turns, made_up, read_with_effmed, take_turns, temporary, write_radiograph
from effmed.data.cache import Cache, open_cache
from effmed.data.pixels import Preprocessing
from effmed.data.records import Manifest, make_frame
from effmed.learn.transforms import to_input

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH = 32
NETWORK_SIDE = 224  # pixels
N_IMAGES = 200  # among which batches are drawn
N_BATCHES = 20  # of which the median counts


def measure_building(n_images: int, side: int, n_turns: int) -> Turns:
    """Build the cache of 16-bit radiographs anew, against reading them and bringing them to the network's size."""
    spec = spec_of(TARGET)
    with temporary() as root:
        manifest = write_images(root, n_images, side)
        paths = [root / name for name in manifest.frame["image"]]
        folder = root.parent / "images"

        def build() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            open_cache(manifest, spec, folder=folder)

        return take_turns(build, lambda: [read_with_effmed(path, spec) for path in paths], n_turns)


def measure_opening(n_images: int, side: int) -> tuple[float, float]:
    """Return the seconds of building a cache and of opening it again, in this process."""
    with temporary() as root:
        manifest = write_images(root, n_images, side)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            open_cache(manifest, spec_of(TARGET), folder=root.parent / "images")
            seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def measure_batches(network: str, *, n_images: int = N_IMAGES, side: int = NETWORK_SIDE) -> tuple[float, float]:
    """Return the seconds of reading a batch of 32, and of a step of training with it, on one thread."""
    torch.set_num_threads(1)
    model = timm.create_model(network, num_classes=1, in_chans=1).train()
    with temporary() as root:
        manifest = write_images(root, n_images, side)
        cache = open_cache(manifest, spec_of(side), folder=root.parent / "images")
        chance = np.random.default_rng(0)
        reading = [_seconds(lambda: _read(cache, chance)) for _ in range(N_BATCHES)]
        batch = _read(cache, chance)
        steps = [_seconds(lambda: model(batch).mean().backward()) for _ in range(3)]
    return float(np.median(reading)), float(np.median(steps))


def write_images(root: Path, n_images: int, side: int) -> Manifest:
    """Write radiographs that differ, and return their manifest."""
    picture = made_up(side)
    rows = []
    for number in range(n_images):
        write_radiograph(root / f"{number}.dcm", np.roll(picture, number, axis=1), number=number)
        rows.append({"image": f"{number}.dcm", "frame": 0, "label": "a", "colour": False})
    return Manifest(root, make_frame(rows), classes=("a",))


def spec_of(side: int) -> Preprocessing:
    """Return what a network of that size is shown."""
    return Preprocessing(height=side, width=side, channels=1, depth="uint16", window="stored", max_megapixels=200)


def _read(cache: Cache, chance: np.random.Generator) -> torch.Tensor:
    return to_input(cache.pixels[chance.integers(0, len(cache.pixels), BATCH)], (0.5,), (0.25,))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
