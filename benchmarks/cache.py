"""What the cache of decoded images costs to build and to open; ``benchmarks.ingest`` prints it."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.radiographs import TARGET, Turns, made_up, read_with_effmed, take_turns, temporary, write_radiograph
from effmed.data.cache import open_cache
from effmed.data.pixels import Preprocessing
from effmed.data.records import Manifest, make_frame

if TYPE_CHECKING:
    from pathlib import Path


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
