"""What the commands take and return; the results are closed models that ``--json`` prints."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from effmed.recipe import Recipe


class Result(BaseModel):
    """What a command prints with ``--json``: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Inspection(Result):
    """What ``inspect`` found."""

    n_images: int
    n_patients: int | None
    n_studies: int | None
    classes: dict[str, int]
    overview: dict[str, Any]
    unreadable: list[dict[str, str]]
    findings: list[dict[str, Any]]
    fingerprint: dict[str, Any]
    reasons: dict[str, str]
    sheet: str | None


class CacheFacts(Result):
    """What the cache holds, the largest first."""

    folder: str
    bytes: int
    kept: list[dict[str, Any]]


class Fetched(Result):
    """The weights that ``weights fetch`` left in a folder, with the record beside them."""

    file: str
    record: str
    variant: str
    network: str
    tag: str
    source: str
    revision: str
    licence: str
    sha256: str
    bytes: int
    resolution_px: int


class Trained(Result):
    """What ``train`` left, or planned to leave."""

    run: str
    bundle: str
    metrics: list[dict[str, Any]]
    plan: dict[str, Any]


class Scored(Result):
    """How ``predict`` ended."""

    n_ok: int
    n_unreadable: int
    n_refused: int
    out: str


class Recalibrated(Result):
    """What ``calibrate`` changed, and what that did to the site's own images."""

    out: str
    update: str
    site: str
    n: int
    n_events: int | None
    calibrator: str
    prevalence: dict[str, float]
    threshold_before: float | None
    threshold_after: float | None
    metrics: list[dict[str, Any]]
    notes: list[str]


def measure_text(measure: dict[str, Any]) -> str:
    """Return a measure of ``Recalibrated`` in words: value and interval, or why there is none."""
    if measure["value"] is None:
        return f"not estimable: {measure['reason']}"
    interval = "" if measure["low"] is None else f" ({measure['low']:.3f} to {measure['high']:.3f})"
    return f"{measure['value']:.3f}{interval}"


@dataclass(frozen=True)
class Training:
    """What ``train`` is asked for.

    Attributes:
        variant: Name of the network on the compound-scaling curve; "auto" until one is chosen for the data.
        data: Folder of images, or a MedMNIST ``.npz`` file.
        labels: Label table, or None where folders name the classes.
        recipe: Everything else.
        run: Folder to write, or None for the next free one below ``runs``.
        chosen_because: Why effmed chose the variant, in words; "" where it was named.
        started: When it was asked for, in seconds of ``time.perf_counter``; a time budget counts from then.
    """

    variant: str
    data: Path
    labels: Path | None
    recipe: Recipe
    run: Path | None = None
    chosen_because: str = ""
    started: float = field(default_factory=time.perf_counter)
