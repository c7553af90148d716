"""The contact sheet: one page with small pictures of every class, what was counted, and what was found."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from effmed.data.audit.findings import image_names
from effmed.data.pixels.window import to_uint8
from effmed.data.records import has_class
from effmed.run import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effmed.data.audit import Finding
    from effmed.data.cache import CachedPixels
    from effmed.data.overview.tables import Overview
    from effmed.data.records import Manifest

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "index.html"
N_PICTURES = 60  # of each class
JPEG_PERCENT = 85  # quality: a picture of 160 pixels takes about 5 kB
UNLABELLED = "without a label"
NO_LABEL = "with none of the labels"


@dataclass(frozen=True)
class Picture:
    """A small picture with its caption.

    Attributes:
        image: Path relative to the data folder, with ``#frame`` behind it where that is not 0.
        about: What is known of it.
        data: JPEG in base64.
    """

    image: str
    about: str
    data: str


@dataclass(frozen=True)
class Group:
    """Pictures under one heading; ``n_images`` counts those that are not shown as well."""

    title: str
    n_images: int
    pictures: tuple[Picture, ...]


def write_sheet(
    folder: Path, manifest: Manifest, pixels: CachedPixels, overview: Overview, findings: Sequence[Finding]
) -> Path:
    """Write one self-contained page: no script, no network.

    Args:
        folder: Where ``index.html`` is written.
        manifest: Which images.
        pixels: Of the manifest's images, in its order: what a picture shows.
        overview: What was counted.
        findings: What the audit found.

    Returns:
        The page.

    Raises:
        MachineError: The folder cannot be written.
    """
    names = image_names(manifest, np.arange(len(manifest)), n_most=len(manifest))
    rows = {name: row for row, name in enumerate(names)}
    found = [
        (finding, _pictures(manifest, pixels, [rows[n] for n in finding.images if n in rows])) for finding in findings
    ]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("sheet.html.j2").render(
        name=manifest.root.name,
        n_images=len(manifest),
        overview=overview,
        classes=manifest.classes,
        findings=found,
        groups=_groups(manifest, pixels),
        unreadable=manifest.unreadable,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _groups(manifest: Manifest, pixels: CachedPixels) -> list[Group]:
    """Return some pictures of every class, evenly spread over the manifest."""
    frame = manifest.frame
    held = {name: has_class(frame, name) for name in manifest.classes}
    if manifest.is_multilabel:
        held[NO_LABEL] = frame["label"].notna() & ~np.any(list(held.values()), axis=0)
    groups = []
    for name, is_class in {**held, UNLABELLED: frame["label"].isna()}.items():
        rows = np.flatnonzero(is_class)
        if len(rows):
            shown = rows[np.unique(np.linspace(0, len(rows) - 1, N_PICTURES).astype(int))]
            groups.append(Group(name, len(rows), _pictures(manifest, pixels, shown.tolist())))
    return groups


def _pictures(manifest: Manifest, pixels: CachedPixels, rows: list[int]) -> tuple[Picture, ...]:
    names = image_names(manifest, np.asarray(rows, np.int64), n_most=len(rows))
    return tuple(
        Picture(name, _about(manifest, row), encode_jpeg(pixels[row])) for row, name in zip(rows, names, strict=True)
    )


def _about(manifest: Manifest, row: int) -> str:
    frame = manifest.frame.iloc[row]
    parts = [f"{frame['columns']} x {frame['rows']}"]
    return ", ".join([*parts, *(str(frame[name]) for name in ("label", "split", "view") if frame.notna()[name])])


def encode_jpeg(pixels: NDArray[np.generic]) -> str:
    """Return a picture as JPEG in base64.

    Args:
        pixels: ``(height, width)`` or RGB ``(height, width, 3)``, uint8 or uint16 over its full range.
    """
    _, encoded = cv2.imencode(".jpg", _levels(pixels), [cv2.IMWRITE_JPEG_QUALITY, JPEG_PERCENT])
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def encode_png(pixels: NDArray[np.generic]) -> bytes:
    """Return a picture as the bytes of a PNG file; ``pixels`` as in ``encode_jpeg``."""
    _, encoded = cv2.imencode(".png", _levels(pixels))
    return bytes(encoded.tobytes())


def _levels(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return pixels as OpenCV writes them: uint8, colours from blue to red."""
    levels = to_uint8(cast("NDArray[np.uint16]", pixels)) if pixels.dtype == np.uint16 else pixels
    bgr = levels[..., ::-1] if levels.ndim > 2 else levels
    return np.ascontiguousarray(cast("NDArray[np.uint8]", bgr))
