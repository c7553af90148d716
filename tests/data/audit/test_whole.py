"""The audit as a whole: clean data has no findings, every kind is found, the gravest comes first."""

import numpy as np
import pytest

from effmed.data.audit import audit_manifest
from effmed.data.records import Manifest, make_frame
from tests import make
from tests.data.audit.make import jpeg, pictures, signatures

PICTURES = pictures(12)


def clean():
    return make.manifest(labels=["a", "b"] * 6, splits=["train"] * 6 + ["val"] * 3 + ["test"] * 3)


def troubled():
    """A manifest with a patient in two splits, a copy under another label, and a near-copy; and its signatures."""
    made = make.manifest(
        labels=["a", "b"] * 6 + ["b", "b"],
        patients=[f"SECRET{k}" for k in range(13)] + ["SECRET2"],
        splits=["train"] * 6 + ["val"] * 3 + ["test"] * 5,
    )
    return made, signatures([*PICTURES, PICTURES[0], jpeg(PICTURES[1], 60)])


def test_clean_data_has_no_findings():
    assert audit_manifest(clean(), signatures(PICTURES)) == ()


def test_an_empty_manifest_has_no_findings():
    empty = Manifest(make.manifest(labels=["a"]).root, make_frame([]))
    assert audit_manifest(empty, None) == ()


def test_prediction_data_is_audited_without_labels_splits_and_patients():
    made = clean()
    bare = Manifest(made.root, made.frame.assign(label=None, split=None, patient=None).astype(made.frame.dtypes))
    images = [*PICTURES[:10], PICTURES[0], jpeg(PICTURES[1], 60)]
    findings = audit_manifest(bare, signatures(images))
    assert [(finding.kind, finding.severity) for finding in findings] == [
        ("identical-pixels", "warning"),
        ("near-duplicates", "warning"),
    ]


def test_every_kind_is_found_and_the_gravest_comes_first():
    made, signs = troubled()
    found = [(finding.severity, finding.kind) for finding in audit_manifest(made, signs)]
    assert found == [
        ("error", "conflicting-labels"),
        ("error", "identical-pixels"),
        ("error", "near-duplicates"),
        ("error", "shared-patient"),
    ]


def test_without_signatures_pixels_are_not_looked_at():
    kinds = {finding.kind for finding in audit_manifest(troubled()[0], None)}
    assert kinds == {"shared-patient"}


def test_warnings_come_after_errors_whatever_their_kind():
    made = make.manifest(labels=["sick"] * 40 + ["well"] * 60, patients=[f"p{k % 98}" for k in range(100)])
    made = made.with_frame(made.frame.assign(rows=[5] * 40 + list(range(10, 70)), split=["train"] * 98 + ["test"] * 2))
    found = [(finding.severity, finding.kind) for finding in audit_manifest(made, None)]
    assert found == [("error", "shared-patient"), ("error", "shortcut"), ("warning", "one-size-class")]


def test_no_finding_names_a_patient():
    made, signs = troubled()
    assert "SECRET" not in str(audit_manifest(made, signs))


@pytest.mark.slow
def test_a_hundred_thousand_images_are_audited_in_a_minute():
    n, chance = 100_000, np.random.default_rng(0)
    made = make.manifest(labels=chance.choice(list("abc"), n), patients=[f"p{k // 2}" for k in range(n)])
    made = made.with_frame(made.frame.assign(scanner=chance.choice(list("XYZ"), n), rows=chance.integers(9, 999, n)))
    assert audit_manifest(made, None) == ()
