"""MedMNIST files are read as they are: official splits, labels, independent images."""

import numpy as np
import pytest

from effmed.data.scan.medmnist import read_npz_images, read_npz_manifest
from effmed.errors import DataError
from tests import make


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_npz_manifest(path)
    return caught.value


def test_labels_and_splits_are_those_of_the_file(tmp_path):
    make.npz(tmp_path / "m.npz", n=(4, 2, 2))
    frame = read_npz_manifest(tmp_path / "m.npz").frame
    assert list(frame["split"]) == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    assert list(frame["label"]) == ["0", "1"] * 4
    assert list(frame["frame"]) == [0, 1, 2, 3, 0, 1, 0, 1]
    assert frame["image"].iloc[-1] == "test_images"


def test_every_image_is_of_another_patient_and_this_is_said(tmp_path):
    make.npz(tmp_path / "m.npz", n=(4, 2, 2))
    manifest = read_npz_manifest(tmp_path / "m.npz")
    assert manifest.frame["patient"].iloc[[0, 4]].tolist() == ["train-0", "val-0"]
    assert manifest.frame["patient"].is_unique
    assert "independent" in manifest.reasons["patient"]


@pytest.mark.parametrize("colour", [False, True])
def test_images_are_those_of_the_file_in_the_order_of_the_manifest(tmp_path, colour):
    arrays = make.npz(tmp_path / "m.npz", n=(4, 2, 2), colour=colour)
    manifest = read_npz_manifest(tmp_path / "m.npz")
    part = manifest.with_frame(manifest.frame.iloc[[7, 2]])
    images = list(read_npz_images(part))
    np.testing.assert_array_equal(images[0].pixels, arrays["test_images"][1])
    np.testing.assert_array_equal(images[1].pixels, arrays["train_images"][2])
    assert manifest.frame["colour"].eq(colour).all()
    assert images[0].provenance.photometric == ("RGB" if colour else "grey")


def test_a_file_without_images_and_labels_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", pictures=np.zeros(3))
    error = refusal(tmp_path / "m.npz")
    assert "does not hold train_images and train_labels" in error.problem
    assert "MedMNIST" in error.hint


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "m.npz").write_bytes(content)
    error = refusal(tmp_path / "m.npz")
    assert "m.npz cannot be read" in error.problem
    assert "again" in error.hint


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4)), np.zeros((2, 4, 4, 4), np.uint8), np.zeros((2, 4, 4, 4, 3), np.uint8)]
)
def test_images_of_another_shape_or_type_are_refused(tmp_path, images):
    np.savez(tmp_path / "m.npz", train_images=images, train_labels=np.zeros((2, 1), int))
    error = refusal(tmp_path / "m.npz")
    assert "train_images is" in error.problem
    assert "uint8 (n, height, width)" in error.hint


@pytest.mark.parametrize("labels", [np.zeros((2, 3), int), np.zeros((3, 1), int), np.zeros((2, 1))])
def test_labels_that_are_not_one_number_per_image_are_refused(tmp_path, labels):
    np.savez(tmp_path / "m.npz", train_images=np.zeros((2, 4, 4), np.uint8), train_labels=labels)
    error = refusal(tmp_path / "m.npz")
    assert "train_labels is" in error.problem
    assert "one integer label per image" in error.hint


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "m.npz", train_images=np.array([object()]), train_labels=np.zeros((1, 1), int))
    assert "cannot be read" in refusal(tmp_path / "m.npz").problem
