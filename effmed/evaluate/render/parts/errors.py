"""The worst errors of every class, with pictures where they are given and the page stays small."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from effmed.evaluate.render.parts.tables import records
from effmed.evaluate.render.text import judged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.report import Report

TABLES = {"worst_false_positives": "False positives", "worst_false_negatives": "False negatives"}
MAX_PICTURE_BYTES = 1_200_000  # of all pictures of a page in base64, so that the page stays below 3 MB
PNG_URI = "data:image/png;base64,"

Row: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Wrong:
    """One image that was judged wrongly.

    Attributes:
        image: Its name, with ``#frame`` behind it where that is not 0.
        probability: Of the class.
        truth: Its class, or of a label whether it is present.
        picture: As a data URI; empty without one.
    """

    image: str
    probability: float
    truth: str
    picture: str


@dataclass(frozen=True)
class Errors:
    """The worst errors of one kind and class; ``wrong`` may be empty: there were none."""

    kind: str
    class_name: str
    wrong: tuple[Wrong, ...]


def error_lists(report: Report, thumbnails: Mapping[tuple[str, int], bytes] | None = None) -> list[Errors]:
    """Return the worst errors by class and kind; empty where none were listed for any.

    Args:
        report: What names them.
        thumbnails: PNG files by image and frame. The worst error of every list gets its picture first, until the page
            would be too large.
    """
    found = {
        (kind, name): [row for row in records(report.tables.get(table)) if row["class"] == name]
        for name in judged(report)
        for table, kind in TABLES.items()
    }
    if not any(found.values()):
        return []
    pictures = _chosen(list(found.values()), thumbnails or {})
    return [
        Errors(kind, name, tuple(_wrong(row, pictures.get((number, rank), "")) for rank, row in enumerate(rows)))
        for number, ((kind, name), rows) in enumerate(found.items())
    ]


def named_images(report: Report) -> list[tuple[str, int]]:
    """Return image and frame of every listed error, each once."""
    rows = [row for table in TABLES for row in records(report.tables.get(table))]
    return list(dict.fromkeys(map(_name, rows)))


def _chosen(lists: list[list[Row]], thumbnails: Mapping[tuple[str, int], bytes]) -> dict[tuple[int, int], str]:
    """Return the pictures that the page has room for, by number of the list and rank in it: rank by rank."""
    left, pictures = MAX_PICTURE_BYTES, {}
    places = [(number, rank) for number, rows in enumerate(lists) for rank in range(len(rows))]
    for number, rank in sorted(places, key=lambda place: (place[1], place[0])):
        png = thumbnails.get(_name(lists[number][rank]))
        uri = "" if png is None else PNG_URI + base64.b64encode(png).decode("ascii")
        if len(uri) <= left:
            pictures[number, rank] = uri
            left -= len(uri)
    return pictures


def _name(row: Row) -> tuple[str, int]:
    return str(row["image"]), int(row["frame"])


def _wrong(row: Row, picture: str) -> Wrong:
    image, frame = _name(row)
    name = image if frame == 0 else f"{image}#{frame}"
    return Wrong(name, float(row["probability"]), str(row["truth"]), picture)
