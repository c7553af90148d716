"""Training with effmed beside timm's own ``train.py``: whole processes, in turns, on the same made-up images.

    python -m benchmarks.train TIMM --images 1000 --side 512 --turns 3
    python -m benchmarks.train TIMM --images 1000 --side 2048 --bits 16 --ways effmed,timm

TIMM is a checkout of huggingface/pytorch-image-models: its scripts are not in timm's wheel. Both sides train the same
network from scratch for as many epochs, in batches of the same size, on one channel (effmed) or three (timm, which
shows grey images as colour), with crops or affine maps, mirrors, brightness and contrast; both validate after each
epoch. effmed starts with an empty cache, and its seconds hold what timm does not do: the audit, dropout, calibration, a
test split of four images, bundle and report. timm leaves out the last batch where it is not full.

"timm tuned" is timm with ``--channels-last`` and glibc told to keep freed memory, which nothing in timm does by itself.
Images per second are those of the epochs after the first, their validation included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

CLASSES = ("clear", "opacity")
N_TEST = 4  # the least that effmed evaluates: two of each class
NOISE_FRACTION = 0.005  # of the grey range; a 2048-pixel PNG of 16 bits takes 5 to 6 MB, as radiographs do
STRUCTURE_POINTS = 24  # along a side of the grid under the smooth structure
OPACITY_FRACTIONS = (0.12, 0.15)  # of the side: how wide the opacity is; of the grey range: how bright
TIMM = (
    *("--train-split", "train", "--val-split", "val", "--num-classes", "2", "--seed", "42"),
    *("--opt", "adamw", "--lr", "1e-3", "--weight-decay", "0.01", "--sched", "cosine", "--warmup-epochs", "0"),
    *("--scale", "0.8", "1.0", "--ratio", "0.9", "1.1", "--hflip", "0.5", "--color-jitter", "0.2"),
    *("--train-interpolation", "bilinear", "--smoothing", "0", "--workers", "1", "--checkpoint-hist", "1"),
)
KEPT_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2147483647:glibc.malloc.top_pad=67108864"
TRAIN_LINE = re.compile(r"Train: (\d+) \[ *(\d+)/(\d+) .*?Time: \S+, +\S+/s +\(([\d.]+)s,")
TEST_LINE = re.compile(r"Test: \[ *(\d+)/(\d+)\] +Time: \S+ \(([\d.]+)\)")
WAYS = ("effmed", "timm", "timm tuned")


@dataclass(frozen=True)
class Task:
    """What every way has to do.

    Attributes:
        data: Folder with ``train``, ``val`` and ``test``, a folder per class in each.
        network: timm's name.
        size: Side of the input in pixels.
        epochs: Passes over the training images.
        batch: Images per step.
        n_train: Training images.
        device: "cpu" or "cuda".
    """

    data: Path
    network: str
    size: int
    epochs: int
    batch: int
    n_train: int
    device: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    """One training.

    Attributes:
        seconds: Of the whole process.
        rate: Images per second of the epochs after the first; of the only one where there is one.
        wait_fraction: Share of the training time in which effmed waited for images; None where nothing says so.
    """

    seconds: float
    rate: float
    wait_fraction: float | None = None


def make_images(folder: Path, counts: Mapping[str, int], side: int, bits: int) -> None:
    """Write grey PNG files, an image per patient, that differ by a bright disc; those that are there stay.

    Args:
        folder: Gets ``<split>/<class>/<number>.png``.
        counts: Images of each split.
        side: Height and width in pixels.
        bits: 8 or 16.
    """
    chance = np.random.default_rng(0)
    noise = chance.standard_normal((side, side), dtype=np.float32) * NOISE_FRACTION
    wanted = [
        (folder / split / CLASSES[i % 2] / f"{number:06}.png", (number, i % 2))
        for k, (split, count) in enumerate(counts.items())
        for i, number in enumerate(range(k * 1_000_000, k * 1_000_000 + count))
    ]

    def write(path: Path, kind: tuple[int, int]) -> None:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"part-{path.name}")
            if not cv2.imwrite(str(part), make_picture(noise, *kind, bits=bits)):
                raise OSError(f"{part} cannot be written")
            part.rename(path)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(write, *zip(*wanted, strict=True)))


def make_picture(noise: NDArray[np.float32], number: int, label: int, *, bits: int) -> NDArray[np.unsignedinteger]:
    """Return smooth structure of its own under noise, with a bright disc in class 1, ``(side, side)``."""
    chance, side = np.random.default_rng((1, number)), len(noise)
    grid = chance.uniform(0.2, 0.7, (STRUCTURE_POINTS, STRUCTURE_POINTS)).astype(np.float32)
    picture = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    picture += np.roll(noise, tuple(chance.integers(0, side, 2)), axis=(0, 1))
    if label == 1:
        wide, bright = OPACITY_FRACTIONS
        x, y = (int(each) for each in chance.uniform(0.3, 0.7, 2) * side)
        disc = np.zeros_like(picture)
        cv2.circle(disc, (x, y), int(wide * side), bright, thickness=-1)
        picture += disc
    kind = np.uint8 if bits == 8 else np.uint16
    return np.rint(np.clip(picture, 0, 1) * np.iinfo(kind).max).astype(kind)


def command_of(way: str, task: Task, timm: Path, out: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command of a way, and what it adds to the environment."""
    if way == "effmed":
        settings = {
            "model.weights": "none",
            "model.image_size": task.size,
            "train.epochs": task.epochs,
            "train.patience": task.epochs,
            "train.batch_size": task.batch,
            "train.device": task.device,
            "augment.horizontal_flip": "true",
            "data.one_image_per_patient": "true",
        }
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        where = ["--variant", f"timm:{task.network}", "--data", str(task.data), "--run", str(out / "run")]
        own = {"EFFMED_CACHE": str(out / "cache"), "EFFMED_KEY": str(out / "pseudonyms.key")}
        return [sys.executable, "-m", "effmed", "train", *where, *sets], own
    sizes = ["--img-size", str(task.size), "--epochs", str(task.epochs), "--batch-size", str(task.batch)]
    where = ["--data-dir", str(task.data), "--model", task.network, "--output", str(out), "--device", task.device]
    command = [sys.executable, str(timm / "train.py"), *where, *sizes, *TIMM]
    if way == "timm tuned":
        return [*command, "--channels-last"], {"GLIBC_TUNABLES": KEPT_MEMORY}
    return command, {}


def run_way(way: str, task: Task, timm: Path, out: Path) -> Outcome:
    """Train once, in a process of its own with an empty cache, and return what it took.

    Raises:
        RuntimeError: The training failed; its last lines are in the text.
    """
    out.mkdir(parents=True)
    command, own = command_of(way, task, timm, out)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]) if way == "effmed" else "", **own}
    log = out / "log.txt"
    with log.open("w") as file:
        started = time.perf_counter()
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)  # noqa: S603  our own
        seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"{way} ended with {done.returncode}:\n{log.read_text()[-2000:]}")
    if way == "effmed":
        return _of_history((out / "run" / "history.jsonl").read_text(), task.n_train, seconds)
    return _of_log(log.read_text(), task, seconds)


def _of_history(lines: str, n_train: int, seconds: float) -> Outcome:
    """Read effmed's history: an epoch per line, its validation included."""
    epochs = [json.loads(line) for line in lines.splitlines()]
    later = epochs[1:] or epochs
    waits = [epoch.get("loader_wait_fraction") for epoch in later]
    wait = None if None in waits else statistics.mean(waits)
    return Outcome(seconds, n_train * len(later) / sum(epoch["duration_s"] for epoch in later), wait)


def _of_log(text: str, task: Task, seconds: float) -> Outcome:
    """Read what timm logs at the last batch of each pass: the mean seconds of a batch; the first wait is in them."""
    trained = [(int(n), float(mean)) for _, k, n, mean in TRAIN_LINE.findall(text) if int(k) == int(n) - 1]
    tested = [(int(last) + 1, float(mean)) for k, last, mean in TEST_LINE.findall(text) if k == last]
    if not len(trained) == len(tested) == task.epochs:
        raise RuntimeError(f"timm's log tells of {len(trained)} trained and {len(tested)} validated epochs")
    start = 1 if task.epochs > 1 else 0
    n_images = sum(n * task.batch for n, _ in trained[start:])
    return Outcome(seconds, n_images / sum(n * mean for n, mean in (*trained[start:], *tested[start:])))


def take_turns(ways: Sequence[str], task: Task, timm: Path, folder: Path, n_turns: int) -> dict[str, list[Outcome]]:
    """Train each way in turn, several times; every second round in the opposite order."""
    found: dict[str, list[Outcome]] = {way: [] for way in ways}
    for turn in range(n_turns):
        for way in ways if turn % 2 == 0 else reversed(ways):
            outcome = run_way(way, task, timm, folder / f"{turn}-{way.replace(' ', '-')}")
            print(f"turn {turn + 1}, {way}: {outcome.seconds:.1f} s, {outcome.rate:.1f} images/s", file=sys.stderr)
            found[way].append(outcome)
    return found


def table(found: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Yield the lines of a Markdown table; ratios are effmed's gain, turn by turn: median (smallest to largest)."""
    yield "| way | seconds, whole process | seconds / effmed's | images/s after the first epoch | effmed's / images/s |"
    yield "|---|---|---|---|---|"
    ours = found["effmed"]
    for way, outcomes in found.items():
        pairs = list(zip(ours, outcomes, strict=True))
        walls = "" if way == "effmed" else _spread([theirs.seconds / own.seconds for own, theirs in pairs])
        rates = "" if way == "effmed" else _spread([own.rate / theirs.rate for own, theirs in pairs])
        seconds, rate = (statistics.median(getattr(each, name) for each in outcomes) for name in ("seconds", "rate"))
        yield f"| {way} | {seconds:.1f} | {walls} | {rate:.1f} | {rates} |"
    waits = [outcome.wait_fraction for outcome in ours]
    said = "not in its history" if None in waits else f"{100 * statistics.median(waits):.1f} % of the training time"
    yield f"\neffmed waited for images: {said}"


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timm", type=Path, help="checkout of huggingface/pytorch-image-models")
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--val", type=int, default=100, help="validation images")
    parser.add_argument("--side", type=int, default=512, help="of the files, in pixels")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8, help="of the files")
    parser.add_argument("--size", type=int, default=224, help="of the input, in pixels")
    parser.add_argument("--network", default="tf_efficientnet_b0", help="timm's name")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3, help="trainings of each way")
    parser.add_argument("--ways", type=lambda text: tuple(text.split(",")), default=WAYS, help=f"of {', '.join(WAYS)}")
    parser.add_argument("--data", type=Path, help="keeps the images here, for the next time")
    given = parser.parse_args(arguments)
    if not (given.timm / "train.py").is_file():
        parser.error(f"{given.timm} holds no train.py: it must be a checkout of huggingface/pytorch-image-models")
    if given.ways[0] != "effmed" or not set(given.ways) <= set(WAYS):
        parser.error(f"--ways starts with effmed and names some of {', '.join(WAYS)}")
    return given


def main(arguments: Sequence[str]) -> None:
    """Make the images, train in turns, print the table."""
    given = parse(arguments)
    with tempfile.TemporaryDirectory() as place:
        data = (given.data or Path(place) / "data").resolve()
        counts = {"train": given.images, "val": given.val, "test": N_TEST}
        make_images(data, counts, given.side, given.bits)
        task = Task(data, given.network, given.size, given.epochs, given.batch, given.images)
        found = take_turns(given.ways, task, given.timm.resolve(), Path(place), given.turns)
    what = f"{given.network} at {given.size} px, {given.epochs} epochs of {given.images} images"
    print(f"{what}, files of {given.side} x {given.side} pixels and {given.bits} bits, {given.val} for validation\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
