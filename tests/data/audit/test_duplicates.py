"""Near-duplicates become findings where they make numbers wrong: across splits, labels or patients."""

from pathlib import Path

import pytest

from effmed.data.audit.duplicates import find_near_duplicates
from tests import make
from tests.data.audit.make import jpeg, pictures, resized, signatures

ONE, OTHER, THIRD = pictures(3)
IMAGES = [ONE, OTHER, jpeg(ONE, 60)]  # 0 and 2 show the same


def findings(
    *, images=None, labels=("a", "a", "a"), patients=("p", "q", "r"), splits=None, root=Path("data"), **columns
):
    made = make.manifest(labels=labels, patients=patients, splits=splits, root=root)
    made = made.with_frame(made.frame.assign(**columns))
    return find_near_duplicates(made, signatures(images or IMAGES))


def found(*args, **kwargs):
    return [(finding.kind, finding.severity, finding.images) for finding in findings(*args, **kwargs)]


PAIR = ("0.png", "2.png")


def test_the_same_picture_in_two_splits_is_an_error():
    assert found(splits=["train", "train", "test"]) == [("near-duplicates", "error", PAIR)]


def test_the_error_counts_pairs_and_says_how_they_differ():
    finding = findings(splits=["train", "train", "test"])[0]
    assert finding.text == (
        "1 pair of images in two splits show the same picture, resized, with other grey levels or recompressed"
    )


def test_the_same_picture_of_one_patient_in_two_splits_is_an_error():
    assert found(patients=["p", "q", "p"], splits=["train", "train", "test"]) == [("near-duplicates", "error", PAIR)]


@pytest.mark.parametrize("splits", [["train"] * 3, None])
def test_the_same_picture_of_two_patients_in_one_split_is_a_warning(splits):
    assert found(splits=splits) == [("near-duplicates", "warning", PAIR)]


def test_the_same_picture_of_unknown_patients_is_a_warning():
    assert found(patients=[None, None, None]) == [("near-duplicates", "warning", PAIR)]


def test_the_same_picture_of_one_patient_in_one_split_is_ignored():
    assert found(patients=["p", "q", "p"], splits=["train"] * 3) == []


def test_the_same_picture_under_two_labels_is_an_error_even_of_one_patient():
    kinds = found(labels=["a", "a", "b"], patients=["p", "q", "p"])
    assert kinds == [("conflicting-labels", "error", PAIR)]


def test_the_text_on_two_labels_says_near_identical():
    finding = findings(labels=["a", "a", "b"], patients=["p", "q", "p"])[0]
    assert finding.text.startswith("1 pair of images under two labels are near-identical")


def test_a_label_and_none_do_not_conflict():
    assert found(label=["a", "a", None], patients=["p", "q", "p"]) == []


def test_frames_of_one_file_are_ignored():
    assert found(image="scan.dcm", frame=range(3), patients=[None] * 3, labels=["a", "a", "b"]) == []


def test_images_of_an_npz_file_are_compared():
    named = ("train_images#0", "train_images#2")
    assert found(image="train_images", frame=range(3), root=Path("x.npz")) == [("near-duplicates", "warning", named)]


def test_pairs_stand_together_and_every_image_counts_once():
    images = [ONE, OTHER, jpeg(ONE, 60), resized(ONE, 0.5), THIRD]
    finding = findings(images=images, labels=["a"] * 5, patients=list("pqrst"))[0]
    assert finding.images == ("0.png", "2.png", "0.png", "3.png", "2.png", "3.png")
    assert finding.n_images == 3
    assert finding.text.startswith("3 pairs of images of different patients in one split")


def test_identical_pixels_do_not_hide_a_copy_in_another_split():
    images = [ONE, ONE, jpeg(ONE, 60)]
    made = found(images=images, splits=["train", "test", "train"])
    assert ("near-duplicates", "error", ("1.png", "2.png")) in made


def test_different_pictures_are_not_found():
    assert found(images=[ONE, OTHER, THIRD], labels=["a", "b", "a"], splits=["train", "val", "test"]) == []


def test_no_finding_names_a_patient():
    secret = findings(patients=["SECRET1", "SECRET2", "SECRET3"], splits=["train", "train", "test"])
    assert secret
    assert "SECRET" not in str(secret)
