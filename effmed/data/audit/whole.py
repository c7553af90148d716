"""Manifest and signatures → everything that is found, the gravest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.data.audit.duplicates import find_near_duplicates
from effmed.data.audit.findings import SEVERITIES, Finding
from effmed.data.audit.leaks import find_identical_pixels, find_leaks
from effmed.data.audit.shortcuts import find_one_size_classes, find_shortcuts
from effmed.data.records import FOLD

if TYPE_CHECKING:
    from effmed.data.pixels.signature import Signatures
    from effmed.data.records import Manifest


def audit_manifest(manifest: Manifest, signatures: Signatures | None) -> tuple[Finding, ...]:
    """Look for leaks between splits, copies, contradictory labels, and shortcuts to the class.

    Args:
        manifest: Divided or not, labelled or not: what needs a split or a label is not looked for without. Where it
            is divided into folds, each of them is a split of its own: what two share would be in train and val.
        signatures: Of the manifest's images, in its order. Without them pixels are not looked at.

    Returns:
        The findings, sorted by severity and kind.
    """
    if FOLD in manifest.frame:
        fold = manifest.frame[FOLD]
        parts = manifest.frame["split"].where(fold.isna(), "fold " + fold)
        manifest = manifest.with_frame(manifest.frame.assign(split=parts.astype("string")))
    found = [*find_leaks(manifest), *find_one_size_classes(manifest), *find_shortcuts(manifest, signatures)]
    if signatures is not None:
        found += [*find_identical_pixels(manifest, signatures), *find_near_duplicates(manifest, signatures)]
    return tuple(sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.kind)))
