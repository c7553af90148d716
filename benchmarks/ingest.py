"""How fast images come in: headers, folders, pixels, and the search for duplicates, beside pydicom and the naive way.

    python -m benchmarks.ingest
    python -m benchmarks.ingest --files 1000000

All files are made up. Both sides of a ratio work in turns on the same files, read before, and their CPU seconds are
compared, so that neither a busy machine nor a slow disk favours one; every side may use one core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from benchmarks import audit, cache
from benchmarks.radiographs import (
    FULL_RANGE,
    SIDE,
    TARGET,
    Turns,
    made_up,
    read_with_effmed,
    take_turns,
    temporary,
    write_radiograph,
)
from effmed.data.pixels import Preprocessing
from effmed.data.pixels.dicom.header import WANTED
from effmed.data.pseudonyms import Pseudonyms
from effmed.data.scan import headers, scan
from effmed.recipe import DataSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

N_DIFFERENT = 500  # files; all others are links to them
LINKS_PER_FOLDER = 1000
LOOK_EVERY_S = 0.1  # at the memory
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BYTES_PER_GB = 1e9
YEAR_2020_S = 1_577_836_800  # only what was not changed lately is remembered


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: What was done.
        ours: Figure of effmed.
        other: Figure of what it is compared with, and its name; empty where there is none.
        result: The ratio, or what else was found out.
    """

    what: str
    ours: str
    other: str
    result: str


def measure_headers(n_files: int, n_turns: int) -> Turns:
    """Read the headers of radiographs into a table, against the same elements read by pydicom one file after another.

    Identifiers become pseudonyms, and nothing is remembered from one turn to the next.
    """
    with temporary() as root:
        link_radiographs(root, n_files)
        paths = sorted(root.rglob("*.dcm"))
        return take_turns(
            lambda: headers.read_headers(root, Pseudonyms(os.urandom(32))),
            lambda: [read_with_pydicom(path) for path in paths],
            n_turns,
        )


def read_with_pydicom(path: Path) -> list[object]:
    """Read the elements that effmed keeps."""
    keywords = [keyword for keyword, _ in WANTED.values()]
    dataset = dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    return [dataset.get(keyword) for keyword in keywords]


def measure_scan(n_files: int) -> dict[str, float]:
    """Scan a folder of links to radiographs, twice, in a process of its own.

    Returns:
        Images found, seconds of the first scan and of the second one, which remembers the first; and the peak of the
        memory of the scanning process and of all its processes together, in GB.
    """
    with temporary() as root:
        link_radiographs(root, n_files)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
            return executor.submit(_scan_twice, root).result()


def _scan_twice(root: Path) -> dict[str, float]:
    peaks = {"main_gb": 0.0, "all_gb": 0.0}
    is_over = threading.Event()
    watch = threading.Thread(target=_watch, args=(peaks, is_over))
    watch.start()
    try:
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            manifest = scan(root, None, DataSettings(), labelled=False)
            seconds.append(time.perf_counter() - start)
    finally:
        is_over.set()
        watch.join()
    return {"n_images": len(manifest), "first_s": seconds[0], "again_s": seconds[1], **peaks}


def _watch(peaks: dict[str, float], is_over: threading.Event) -> None:
    """Keep the most memory that this process, and it with all its children, ever had; Linux only."""
    is_last = False
    while not is_last:
        is_last = is_over.wait(LOOK_EVERY_S)
        own = _resident_gb(os.getpid())
        peaks["main_gb"] = max(peaks["main_gb"], own)
        peaks["all_gb"] = max(peaks["all_gb"], own + sum(map(_resident_gb, _children(os.getpid()))))


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def _resident_gb(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES / BYTES_PER_GB
    except OSError:
        return 0.0


def measure_pixels(side: int, n_turns: int) -> Turns:
    """Decode, window and shrink a 16-bit radiograph, against the chain that tutorials show."""
    spec = _spec("uint8")
    with temporary() as root:
        path = write_radiograph(root / "a.dcm", made_up(side), PhotometricInterpretation="MONOCHROME1")
        return take_turns(lambda: read_with_effmed(path, spec), lambda: read_naively(path), n_turns)


def read_naively(path: Path) -> NDArray[np.uint8]:
    """Return what the usual chain of pydicom and OpenCV makes of a file."""
    dataset = dcmread(path)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = values.max() - values
    values = (values - values.min()) / (values.max() - values.min()) * 255
    return cv2.resize(values.astype(np.uint8), (TARGET, TARGET), interpolation=cv2.INTER_AREA)


def measure_reduced(side: int, n_turns: int) -> tuple[Turns, float]:
    """Decode lossless JPEG 2000 at a lower resolution, against decoding it whole.

    Returns:
        The turns; and the mean absolute difference of the two results in % of the full range.
    """
    whole = _spec("uint16")
    reduced = whole.model_copy(update={"reduced_decode": True})
    with temporary() as root:
        path = write_radiograph(root / "a.dcm", made_up(side), is_jpeg_2000=True)
        turns = take_turns(lambda: read_with_effmed(path, reduced), lambda: read_with_effmed(path, whole), n_turns)
        pictures = [read_with_effmed(path, spec).astype(np.float64) for spec in (reduced, whole)]
    return turns, float(np.abs(pictures[0] - pictures[1]).mean()) / FULL_RANGE * 100


def _spec(depth: str) -> Preprocessing:
    return Preprocessing(height=TARGET, width=TARGET, channels=1, depth=depth, window="stored", max_megapixels=200)


def link_radiographs(root: Path, n_files: int) -> None:
    """Write up to 500 small radiographs with all that a device says in a header, and link to them time and again."""
    pixels = made_up(64)
    originals = []
    for number in range(min(n_files, N_DIFFERENT)):
        path = write_radiograph(root.parent / f"{number}.dcm", pixels, number=number)
        os.utime(path, (YEAR_2020_S, YEAR_2020_S))
        originals.append(path)
    for number in range(n_files):
        folder = root / f"{number // LINKS_PER_FOLDER:04}"
        folder.mkdir(exist_ok=True)
        os.link(originals[number % N_DIFFERENT], folder / f"{number:07}.dcm")


def make_rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Measure everything, one row of the table after another."""
    n_turns = arguments.turns
    turns = measure_headers(arguments.headers, n_turns)
    rates = [f"{arguments.headers / seconds:,.0f} files/s" for seconds in (turns.ours_s, turns.other_s)]
    yield Row("headers, one core", rates[0], f"pydicom: {rates[1]}", str(turns))
    found = measure_scan(arguments.files)
    memory = f"peak {found['all_gb']:.2f} GB, of it {found['main_gb']:.2f} in the main process"
    seconds = f"{found['first_s']:.1f} s, again {found['again_s']:.1f} s"
    yield Row(f"scan of {arguments.files:,} files", seconds, "", memory)
    turns = measure_pixels(arguments.side, n_turns)
    size = f"{arguments.side} x {arguments.side}, 16 bits"
    yield Row(f"DICOM {size} to {TARGET}", _ms(turns.ours_s), f"naive chain: {_ms(turns.other_s)}", str(turns))
    turns, difference = measure_reduced(arguments.side, n_turns)
    result = f"{turns}, mean difference {difference:.2f} % of the range"
    yield Row(f"JPEG 2000 {size}, reduced", _ms(turns.ours_s), f"whole: {_ms(turns.other_s)}", result)
    yield _audit_row(arguments.images, arguments.pairs)
    yield from _cache_rows(arguments)


def _audit_row(n_images: int, n_pairs: int) -> Row:
    found = audit.measure(n_images, n_pairs, 0)
    seconds = f"{found['signatures_s']:.1f} s signatures, {found['search_s']:.1f} s search"
    result = f"recall {found['recall']:.3f}, precision {found['precision']:.3f}"
    return Row(f"audit of {n_images:,} images", seconds, "", result)


def _cache_rows(arguments: argparse.Namespace) -> Iterator[Row]:
    n_images, side = arguments.cached, arguments.side
    turns = cache.measure_building(n_images, side, arguments.turns)
    each, bare = (_ms(seconds / n_images) for seconds in (turns.ours_s, turns.other_s))
    cost = f"{turns.ours_s / turns.other_s:.2f} x the time"
    yield Row("building the cache, an image", each, f"decoding and resizing alone: {bare}", cost)
    first, again = cache.measure_opening(n_images, side)
    yield Row(
        f"opening {n_images} images", f"{again:.3f} s", f"the first time: {first:.2f} s", f"{first / again:.0f} x"
    )
    command = [sys.executable, "-m", "benchmarks.batch", arguments.network]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)  # noqa: S603  fixed words
    reading, step = json.loads(done.stdout)
    share = f"{reading / step * 100:.2f} % of the step"
    yield Row("reading a batch of 32", _ms(reading), f"{arguments.network}'s step: {step:.2f} s", share)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def as_table(rows: list[Row]) -> str:
    """Return rows as text in columns."""
    cells = [("", "effmed", "other", "result"), *((row.what, row.ours, row.other, row.result) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=int, default=10_000, help="files of which headers are read in turns")
    parser.add_argument("--files", type=int, default=100_000, help="files of the folder that is scanned")
    parser.add_argument("--side", type=int, default=SIDE, help="height and width of the images that are decoded")
    parser.add_argument("--images", type=int, default=20_000, help="images among which copies are looked for")
    parser.add_argument("--pairs", type=int, default=200, help="images that have a copy")
    parser.add_argument("--cached", type=int, default=192, help="images of which a cache is built")
    parser.add_argument("--network", default="efficientnet_b0", help="network whose step a batch is compared with")
    parser.add_argument("--turns", type=int, default=7, help="times that each side of a ratio is measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    print(as_table(list(make_rows(parse()))))
