"""``effmed inspect``: what a data folder holds, and what would stop a training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effmed.data.fingerprint import make_fingerprint
from effmed.data.scan import scan
from effmed.data.split import assign_splits
from effmed.errors import DataError
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.values import Inspection

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.data.records import Manifest
    from effmed.recipe import DataSettings, Recipe


def inspect(data: Path, labels: Path | None, recipe: Recipe, talk: Talk) -> Inspection:
    """Describe a data folder; see ``effmed.workflows.inspect``."""
    on_progress = progress_of(talk, "reading headers")
    manifest = scan(data, labels, recipe.data, labelled=False, on_progress=on_progress)
    divided, findings = _divide(manifest, data, labels, recipe.data)
    fingerprint = make_fingerprint(divided, recipe.data)
    return Inspection(
        n_images=len(manifest),
        n_patients=fingerprint.n_patients,
        classes=dict(fingerprint.images_per_class),
        unreadable=[{"path": item.image, "reason": item.reason, "hint": item.hint} for item in manifest.unreadable],
        findings=findings,
        fingerprint=fingerprint.model_dump(mode="json"),
        reasons=dict(divided.reasons),
    )


def _divide(
    manifest: Manifest, data: Path, labels: Path | None, settings: DataSettings
) -> tuple[Manifest, list[dict[str, Any]]]:
    """Try what ``train`` would do first; what stops it becomes a finding, and the labels are shown all the same."""
    try:
        return assign_splits(scan(data, labels, settings), settings), []
    except DataError as error:
        text = f"{error.problem} ({error.hint})"
    finding = {"kind": "blocks-training", "severity": "error", "images": [], "text": text}
    try:
        return scan(data, labels, settings.model_copy(update={"one_image_per_patient": True})), [finding]
    except DataError:
        return manifest, [finding]
