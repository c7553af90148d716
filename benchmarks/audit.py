"""How well and how fast near-duplicates are found: recall, precision, seconds and memory on made-up radiographs.

Every image has the anatomy that all share, shifted and stretched a little, structure of its own, and noise. Some get a
copy that is resized, shown in another window or with another gamma, compressed as JPEG, or several of these.

    python benchmarks/audit.py --images 20000 --pairs 200
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

from effmed.data.audit.likeness import near_duplicates
from effmed.data.pixels.image import Image, Provenance
from effmed.data.pixels.signature import Signature, Signatures, make_signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

HEIGHT, WIDTH = 232, 192  # of the images in pixels
ANATOMY_SIDES, OWN_SIDES = (4, 8, 16, 32), (4, 8, 16, 32, 64)  # scales of the random fields: grid points along a side
ANATOMY_SHARE = 0.5  # of the variance: strangers then correlate as the radiographs of different patients do
SHIFT_FRACTION, STRETCH_FRACTION = 0.03, 0.05  # standard deviation of where the anatomy lies, and of its size
GREY_CENTER, GREY_SPREAD, NOISE = 120.0, 45.0, 3.0  # grey levels of 255
SCALES, GAMMAS, QUALITIES = (0.3, 2.0), (0.6, 1.6), (30, 95)
CUT_FRACTION = 0.1  # most of the grey range that a window cuts off at each end
PROVENANCE = Provenance("png", "png", "grey", 8, "full", "full", "")
BYTES_PER_MB = 1e6


def measure(n_images: int, n_pairs: int, seed: int) -> dict[str, float]:
    """Make images, plant copies of some, and look for them.

    Args:
        n_images: Images in all, copies among them.
        n_pairs: Images that have a copy.
        seed: Of everything random.

    Returns:
        Recall and precision of the pairs, seconds for signatures and for the search, and the largest memory of this
        process in MB.
    """
    chance = np.random.default_rng(seed)
    signatures, planted, making_s = _planted(n_images, n_pairs, chance)
    start = time.perf_counter()
    found = {(int(a), int(b)) for a, b in near_duplicates(signatures)}
    searching_s = time.perf_counter() - start
    hits = len(found & planted)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "n_images": n_images,
        "n_pairs": n_pairs,
        "n_found": len(found),
        "recall": hits / max(len(planted), 1),
        "precision": hits / max(len(found), 1),
        "signatures_s": making_s,
        "search_s": searching_s,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / BYTES_PER_MB,
    }


def _planted(
    n_images: int, n_pairs: int, chance: np.random.Generator
) -> tuple[Signatures, set[tuple[int, int]], float]:
    """Return signatures in random order, the positions of the copies, and the seconds that signatures took."""
    place = chance.permutation(n_images)
    planted = {(int(min(pair)), int(max(pair))) for pair in place[: 2 * n_pairs].reshape(-1, 2)}
    signatures: list[Signature] = [None] * n_images  # type: ignore[list-item]
    making_s = 0.0
    for position, pixels in zip(place, _pictures(n_images, n_pairs, chance), strict=True):
        start = time.perf_counter()
        signatures[position] = make_signature(Image(pixels, 1.0, PROVENANCE))
        making_s += time.perf_counter() - start
    return stacked(signatures), planted, making_s


def stacked(signatures: list[Signature]) -> Signatures:
    """Return the signatures of a list as arrays."""
    return Signatures(
        np.array([signature.pixel_hash for signature in signatures], dtype=object),
        np.stack([signature.thumbnail for signature in signatures]),
        np.array([signature.aspect for signature in signatures]),
        np.array([signature.corners for signature in signatures], dtype=np.uint8),
    )


def _pictures(n_images: int, n_pairs: int, chance: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Yield the pairs first, each picture with its copy behind it, then the pictures without."""
    anatomy = _field(ANATOMY_SIDES, chance)
    for number in range(n_images - n_pairs):
        pixels = _picture(anatomy, chance)
        yield pixels
        if number < n_pairs:
            yield _copy(pixels, chance)


def _picture(anatomy: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.uint8]:
    stretch = 1 + STRETCH_FRACTION * chance.standard_normal(2)
    shift = SHIFT_FRACTION * chance.standard_normal(2) * (WIDTH, HEIGHT) + (1 - stretch) * (WIDTH / 2, HEIGHT / 2)
    placed = cv2.warpAffine(
        anatomy,
        np.array([[stretch[0], 0, shift[0]], [0, stretch[1], shift[1]]]),
        (WIDTH, HEIGHT),
        borderMode=cv2.BORDER_REFLECT,
    )
    mixed = np.sqrt(ANATOMY_SHARE) * placed + np.sqrt(1 - ANATOMY_SHARE) * _field(OWN_SIDES, chance)
    noise = chance.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    return np.clip(GREY_CENTER + GREY_SPREAD * mixed + NOISE * noise, 0, 255).astype(np.uint8)


def _field(sides: tuple[int, ...], chance: np.random.Generator) -> NDArray[np.float32]:
    """Return a random field of unit variance with less contrast the finer the scale, as in photographs."""
    field = np.zeros((HEIGHT, WIDTH), np.float32)
    for side in sides:
        grid = chance.standard_normal((side, side), dtype=np.float32) / side**0.5
        field += cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / field.std()


def _copy(pixels: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture after one to all three changes, in the order in which a picture is exported."""
    changes = chance.permutation(3)[: chance.integers(1, 4)]
    if 0 in changes:
        pixels = _shown(pixels, chance)
    if 1 in changes:
        scale = chance.uniform(*SCALES)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=method)
    if 2 in changes:
        quality = int(chance.integers(QUALITIES[0], QUALITIES[1] + 1))
        pixels = cv2.imdecode(
            cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE
        )
    return pixels


def _shown(pixels: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture in another window, and with another gamma."""
    low, high = chance.uniform(0, CUT_FRACTION, 2)
    shown = np.clip((pixels / 255 - low) / (1 - low - high), 0, 1) ** chance.uniform(*GAMMAS)
    return np.rint(255 * shown).astype(np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="images in all")
    parser.add_argument("--pairs", type=int, default=200, help="images that have a copy")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.images, arguments.pairs, arguments.seed), indent=2))
