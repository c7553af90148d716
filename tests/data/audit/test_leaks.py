"""Leaks: what stands in two splits is an error, what stands twice in one a warning; identifiers are never printed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effmed.data.audit.leaks import find_identical_pixels, find_leaks
from effmed.data.pixels.signature import Signatures
from tests import make

CHECKS = settings(max_examples=40, deadline=None)


def manifest(n=4, *, labels=None, patients=None, splits=None, root=Path("data"), **columns):
    made = make.manifest(labels=labels or ["a"] * n, patients=patients, splits=splits, root=root)
    return made.with_frame(made.frame.assign(**columns))


def signatures(hashes):
    n = len(hashes)
    return Signatures(np.array(hashes, object), np.zeros((n, 64, 64), np.uint8), np.ones(n), np.zeros(n, np.uint8))


def found(findings):
    return [(finding.kind, finding.severity, finding.images) for finding in findings]


# ---------------------------------------------------------------- identifiers


def test_nothing_is_found_where_nobody_is_in_two_splits():
    assert find_leaks(manifest(patients=list("aabb"), splits=["train", "train", "test", "test"])) == []


def test_nothing_is_found_before_the_division():
    assert find_leaks(manifest(patients=list("aaaa"), study="s", instance=list("1234"))) == []


def test_a_patient_in_two_splits_is_an_error():
    findings = find_leaks(manifest(patients=list("abab"), splits=["train", "train", "test", "train"]))
    assert found(findings) == [("shared-patient", "error", ("0.png", "2.png"))]
    assert findings[0].text == "1 patient is in more than one split, with 2 images"


def test_all_images_of_shared_patients_are_named_patient_by_patient():
    findings = find_leaks(manifest(6, patients=list("abcbab"), splits=["train", "test", "val", "val", "val", "test"]))
    assert findings[0].images == ("0.png", "4.png", "1.png", "3.png", "5.png")
    assert findings[0].text == "2 patients are in more than one split, with 5 images"
    assert findings[0].n_images == 5


def test_a_study_in_two_splits_is_an_error():
    findings = find_leaks(manifest(study=["s", "t", "s", None], splits=["train", "train", "val", "val"]))
    assert found(findings) == [("shared-study", "error", ("0.png", "2.png"))]
    assert findings[0].text == "1 study is in more than one split, with 2 images"


def test_a_dicom_object_in_two_splits_is_an_error():
    findings = find_leaks(manifest(instance=["i", "i", None, None], splits=["train", "val", "val", "val"]))
    assert found(findings) == [("shared-instance", "error", ("0.png", "1.png"))]


@pytest.mark.parametrize("splits", [["train"] * 4, None])
def test_a_dicom_object_in_two_files_of_a_split_is_a_warning(splits):
    findings = find_leaks(manifest(instance=["i", "j", "i", None], splits=splits))
    assert found(findings) == [("shared-instance", "warning", ("0.png", "2.png"))]
    assert findings[0].text == "1 DICOM object is in more than one file of a split, with 2 images"


def test_frames_of_one_dicom_object_are_no_copies():
    assert find_leaks(manifest(instance="i", image="i.dcm", frame=range(4))) == []


def test_patients_who_are_unknown_are_not_shared():
    assert find_leaks(manifest(patients=[None] * 4, splits=["train", "test", "val", "test"])) == []


def test_images_without_a_split_share_nothing():
    assert find_leaks(manifest(patients=list("aaaa"), splits=["train", None, None, "train"])) == []


def test_older_manifests_without_instances_are_read():
    older = manifest(splits=["train", "test"] * 2, patients=list("aabb"))
    older = replace(older, frame=older.frame.drop(columns=["instance", "series"], errors="ignore"))
    assert [finding.kind for finding in find_leaks(older)] == ["shared-patient"]


def test_no_finding_names_a_patient_a_study_or_an_object():
    findings = find_leaks(
        manifest(patients=["SECRET"] * 4, study="SECRET", instance="SECRET", splits=["val", "test"] * 2)
    )
    assert len(findings) == 4
    assert "SECRET" not in str(findings)


@CHECKS
@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["train", "val", "test"])), min_size=1, max_size=25)
)
def test_exactly_the_images_of_shared_patients_are_concerned(rows):
    patients, splits = zip(*rows, strict=True)
    findings = find_leaks(manifest(len(rows), patients=patients, splits=splits))
    of_patient = {name: {split for patient, split in rows if patient == name} for name in patients}
    assert sum(finding.n_images for finding in findings) == sum(len(of_patient[name]) > 1 for name in patients)


# ---------------------------------------------------------------- pixels


def test_identical_pixels_in_two_splits_are_an_error():
    findings = find_identical_pixels(manifest(splits=["train", "train", "test", "test"]), signatures(list("abac")))
    assert found(findings) == [("identical-pixels", "error", ("0.png", "2.png"))]
    assert findings[0].text == "1 picture is in more than one split, with 2 images of identical pixels"


@pytest.mark.parametrize("splits", [["train"] * 4, None])
def test_identical_pixels_in_one_split_are_a_warning(splits):
    findings = find_identical_pixels(manifest(splits=splits), signatures(list("aabb")))
    assert found(findings) == [("identical-pixels", "warning", ("0.png", "1.png", "2.png", "3.png"))]
    assert findings[0].text == "2 pictures are in more than one file of a split, with 4 images of identical pixels"


def test_only_the_copies_within_a_split_are_in_the_warning():
    made = manifest(splits=["train", "train", "test", "test"])
    findings = find_identical_pixels(made, signatures(list("aaab")))
    assert found(findings) == [
        ("identical-pixels", "error", ("0.png", "1.png", "2.png")),
        ("identical-pixels", "warning", ("0.png", "1.png")),
    ]


def test_equal_frames_of_one_file_are_no_copies():
    made = manifest(image="scan.dcm", frame=range(4), splits=["train"] * 4, labels=["a", "b", "a", "b"])
    assert find_identical_pixels(made, signatures(list("aaaa"))) == []


def test_equal_images_of_an_npz_file_are_copies():
    made = manifest(image="train_images", frame=range(4), root=Path("images.npz"), splits=["train"] * 4)
    findings = find_identical_pixels(made, signatures(list("aabc")))
    assert found(findings) == [("identical-pixels", "warning", ("train_images#0", "train_images#1"))]


def test_identical_pixels_under_two_labels_are_an_error():
    made = manifest(labels=["a", "a", "b", "b"])
    findings = find_identical_pixels(made, signatures(list("xyxz")))
    assert ("conflicting-labels", "error", ("0.png", "2.png")) in found(findings)
    assert findings[-1].text == "1 picture is under more than one label, with 2 images of identical pixels"


def test_a_label_and_none_do_not_conflict():
    findings = find_identical_pixels(manifest(label=["a", None, "a", "b"]), signatures(list("xxyz")))
    assert [finding.kind for finding in findings] == ["identical-pixels"]


def test_images_that_could_not_be_decoded_are_no_copies():
    assert find_identical_pixels(manifest(splits=["train", "test"] * 2), signatures(["", "", "a", ""])) == []


def test_images_of_different_pixels_are_no_copies():
    assert find_identical_pixels(manifest(splits=["train", "test"] * 2), signatures(list("abcd"))) == []
