"""``effmed inspect`` and ``effmed cache``: what a data folder holds, and what is kept of those that were decoded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from effmed.data.audit import Finding, audit_manifest
from effmed.data.cache import clear_cache, describe_cache, open_cache
from effmed.data.fingerprint import make_fingerprint
from effmed.data.overview import make_overview, write_sheet
from effmed.data.pixels import Preprocessing
from effmed.data.processes import n_cores
from effmed.data.records import PROVENANCE
from effmed.data.scan import scan
from effmed.data.split import assign_splits
from effmed.errors import DataError
from effmed.run import cache_folder
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.values import CacheFacts, Inspection

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.data.cache import CachedPixels
    from effmed.data.records import Manifest
    from effmed.recipe import DataSettings, Recipe

PICTURE_PX = 160  # side of a picture on the contact sheet


def inspect(data: Path, labels: Path | None, recipe: Recipe, out: Path | None, talk: Talk) -> Inspection:
    """Describe a data folder; see ``effmed.workflows.inspect``."""
    on_progress = progress_of(talk, "reading headers")
    scanned = scan(data, labels, recipe.data, labelled=False, on_progress=on_progress)
    divided, obstacles = _divide(scanned, data, labels, recipe.data)
    manifest, pixels, findings = _audited(divided, recipe.data, talk)
    findings = [*obstacles, *findings]
    fingerprint = make_fingerprint(manifest, recipe.data)
    overview = make_overview(manifest)
    sheet = None if out is None else write_sheet(out, manifest, pixels, overview, findings)
    return Inspection(
        n_images=len(manifest),
        n_patients=fingerprint.n_patients,
        n_studies=fingerprint.n_studies,
        classes=dict(fingerprint.images_per_class),
        overview=overview.model_dump(mode="json"),
        unreadable=[{"path": item.image, "reason": item.reason, "hint": item.hint} for item in manifest.unreadable],
        findings=[finding.model_dump(mode="json") for finding in findings],
        fingerprint=fingerprint.model_dump(mode="json"),
        reasons=dict(manifest.reasons),
        sheet=None if sheet is None else str(sheet),
    )


def cache_info() -> CacheFacts:
    """Tell what the cache holds; see ``effmed.workflows.cache_info``."""
    kept = describe_cache()
    n_bytes = sum(each.bytes for each in kept)
    return CacheFacts(folder=str(cache_folder()), bytes=n_bytes, kept=[asdict(each) for each in kept])


def cache_clear() -> int:
    """Delete what the cache holds; see ``effmed.workflows.cache_clear``."""
    return clear_cache()


def _audited(manifest: Manifest, settings: DataSettings, talk: Talk) -> tuple[Manifest, CachedPixels, list[Finding]]:
    """Look at every picture; those that cannot be decoded become unreadable."""
    spec = _picture_spec(manifest, settings)
    workers, on_progress = n_cores(), progress_of(talk, "decoding images")
    cache = open_cache(manifest, spec, workers=workers, on_progress=on_progress)
    if cache.failures:
        manifest = manifest.without(cache.failures)
        cache = open_cache(manifest, spec, workers=workers)
    seen = manifest.with_frame(manifest.frame.assign(**{name: cache.provenance[name] for name in PROVENANCE}))
    return seen, cache.pixels, list(audit_manifest(seen, cache.signatures))


def _picture_spec(manifest: Manifest, settings: DataSettings) -> Preprocessing:
    return Preprocessing(
        height=PICTURE_PX,
        width=PICTURE_PX,
        channels=3 if manifest.frame["colour"].any() else 1,
        depth="uint8",
        window=settings.window.split(",")[0],
        max_megapixels=settings.max_megapixels,
        reduced_decode=settings.reduced_decode,
    )


def _divide(
    manifest: Manifest, data: Path, labels: Path | None, settings: DataSettings
) -> tuple[Manifest, list[Finding]]:
    """Try what ``train`` would do first; what stops it becomes a finding, and the labels are shown all the same."""
    try:
        return assign_splits(scan(data, labels, settings), settings), []
    except DataError as error:
        obstacle = error
    finding = Finding(
        kind="blocks-training", severity="error", images=(), n_images=0, text=obstacle.problem, hint=obstacle.hint
    )
    try:
        return scan(data, labels, settings.model_copy(update={"one_image_per_patient": True})), [finding]
    except DataError:
        return manifest, [finding]
