"""A finding is closed and names images; files are told apart, the members of an .npz file as well."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from effmed.data.audit import Finding
from effmed.data.audit.findings import counted, file_numbers, image_names
from tests import make

FINDING = {"kind": "k", "severity": "note", "images": ("a.png",), "n_images": 1, "text": "t", "hint": "h"}


def frames(n, root=Path("data")):
    manifest = make.manifest(labels=["a"] * n, root=root)
    return manifest.with_frame(manifest.frame.assign(image="scan.dcm", frame=range(n)))


def test_a_finding_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Finding(**FINDING).text = "other"


@pytest.mark.parametrize("change", [{"more": 1}, {"severity": "fatal"}])
def test_what_a_finding_does_not_know_is_refused(change):
    with pytest.raises(ValidationError):
        Finding(**FINDING | change)


def test_a_finding_survives_json():
    finding = Finding(**FINDING)
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


def test_frames_but_the_first_are_named_with_their_number():
    assert image_names(frames(3), np.array([2, 0])) == ("scan.dcm#2", "scan.dcm")


def test_the_first_20_images_are_named():
    names = image_names(make.manifest(labels=["a"] * 30), np.arange(5, 30))
    assert names == tuple(f"{k}.png" for k in range(5, 25))


def test_frames_of_one_file_share_its_number():
    assert len(set(file_numbers(frames(3)))) == 1


def test_images_of_an_npz_file_are_files_of_their_own():
    assert file_numbers(frames(3, Path("images.npz"))).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("n", "thing", "text"), [(1, "study", "1 study"), (2, "study", "2 studies"), (0, "image", "0 images")]
)
def test_counts_agree_with_their_noun(n, thing, text):
    assert counted(n, thing) == text


def test_images_of_an_npz_file_are_always_numbered():
    manifest = make.manifest(labels=["a", "b"], root=Path("data.npz"))
    assert image_names(manifest, np.array([0, 1])) == ("0.png#0", "1.png#0")
