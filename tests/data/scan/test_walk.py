"""Walking: every regular file once, in order, with its stamp; what must not be opened is refused by name."""

import os

import pytest

from effmed.data.scan.walk import walk
from tests import make


def test_files_come_folder_by_folder_in_order_without_what_is_hidden(tmp_path):
    for name in ("b/2.txt", "b/1.txt", "a/x/3.txt", "z.txt", ".hidden/4.txt", "b/.5.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    walked = walk(tmp_path)
    assert walked.names == ["z.txt", "a/x/3.txt", "b/1.txt", "b/2.txt"]
    stamps = walked.stamps()
    assert stamps["size"].tolist() == [5, 9, 7, 7]
    assert stamps["mtime_ns"].tolist() == [(tmp_path / name).stat().st_mtime_ns for name in walked.names]


def test_an_empty_folder_has_no_stamps(tmp_path):
    assert len(walk(tmp_path).stamps()) == 0


def test_pipes_and_links_astray_are_refused_where_they_claim_to_be_images_and_passed_over_where_not(tmp_path):
    outside, root = tmp_path / "outside.png", tmp_path / "data"
    make.png(outside)
    root.mkdir()
    os.mkfifo(root / "pipe.dcm")
    os.mkfifo(root / "pipe")
    (root / "out.png").symlink_to(outside)
    (root / "out").symlink_to(outside)
    (root / "nowhere.png").symlink_to(root / "none.png")
    (root / "nowhere.nii.gz").symlink_to(root / "none.nii.gz")
    (root / "nowhere").symlink_to(root / "none")
    (tmp_path / "more").mkdir()
    (root / "folder").symlink_to(tmp_path / "more")
    (root / "circle").symlink_to(root)
    walked = walk(root)
    assert walked.names == []
    assert {item.image: item.reason for item in walked.refused} == {
        "pipe.dcm": "not a regular file",
        "out.png": "a link that leads out of the data folder",
        "out": "a link that leads out of the data folder",
        "folder": "a link to a folder, which is not entered",
        "circle": "a link to a folder, which is not entered",
        "nowhere.nii.gz": "a link that leads nowhere",
        "nowhere.png": "a link that leads nowhere",
    }


def test_a_link_to_a_file_inside_is_a_file(tmp_path):
    make.png(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert walk(tmp_path).names == ["a.png", "b.png"]


def test_a_name_that_is_no_text_is_refused_and_written_with_escapes(tmp_path):
    make.png(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"\xff.png"))
    (refused,) = walk(tmp_path).refused
    assert (refused.image, refused.reason) == ("\\udcff.png", "its name is not UTF-8")


def test_a_file_that_vanishes_while_it_is_looked_at_is_refused(tmp_path, monkeypatch):
    make.png(tmp_path / "a.png")

    class Entry:
        name, path = "a.png", str(tmp_path / "a.png")

        def is_dir(self, *, follow_symlinks):
            return False

        def is_symlink(self):
            return False

        def stat(self):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("effmed.data.scan.walk._entries", lambda *_: [Entry()])
    (refused,) = walk(tmp_path).refused
    assert refused.reason == "cannot be looked at (Input/output error)"


@pytest.mark.parametrize("name", ["two\nlines.png", "tab\t.png"])
def test_strange_but_valid_names_are_files(tmp_path, name):
    make.png(tmp_path / name)
    assert walk(tmp_path).names == [name]
