"""Contents of files: one hash per content, remembered until the file changes."""

import os

import numpy as np
import pandas as pd
import pytest
import xxhash

from effmed.data import contents as module
from effmed.data.contents import content_of, recall_contents, remember_contents


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for name, text in {"a": "one", "b": "two", "c": "one"}.items():
        (root / name).write_text(text)
        os.utime(root / name, ns=(1, 1))
    return root


def recalled(root, names, folder):
    return recall_contents(root, pd.Series(names, dtype="str"), folder)


def test_the_hash_is_that_of_the_bytes(files, monkeypatch):
    monkeypatch.setattr(module, "READ_BYTES", 2)
    assert content_of(files / "a") == xxhash.xxh3_128_hexdigest(b"one") == content_of(files / "c")


def test_a_changed_file_has_another_hash_in_the_same_process(files):
    before = content_of(files / "a")
    (files / "a").write_text("three")
    assert content_of(files / "a") != before


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_hashed_once_for_all_their_images(files, tmp_path, workers):
    contents = recalled(files, ["b", "a", "b"], tmp_path).hashed(files, workers=workers)
    assert list(contents.of_images) == [xxhash.xxh3_128_hexdigest(text) for text in (b"two", b"one", b"two")]
    assert len(contents.files) == 2


def test_what_is_remembered_need_not_be_read(files, tmp_path, monkeypatch):
    hashed = recalled(files, ["a", "b"], tmp_path).hashed(files)
    remember_contents(files, hashed, tmp_path)
    monkeypatch.setattr(module, "_hash_file", None)
    again = recalled(files, ["b", "a"], tmp_path).hashed(files)
    assert list(again.of_images) == list(hashed.of_images[::-1])


def test_a_changed_file_is_not_remembered(files, tmp_path):
    remember_contents(files, recalled(files, ["a", "b"], tmp_path).hashed(files), tmp_path)
    os.utime(files / "a", ns=(2, 2))
    assert list(recalled(files, ["a", "b"], tmp_path).of_images == "") == [True, False]


def test_a_file_that_is_not_there_stays_unknown(files, tmp_path):
    contents = recalled(files, ["a", "none"], tmp_path).hashed(files)
    assert list(contents.of_images == "") == [False, True]
    remember_contents(files, contents, tmp_path)
    assert list(recalled(files, ["a", "none"], tmp_path).of_images == "") == [False, True]


def test_what_others_found_out_is_taken_over(files, tmp_path):
    contents = recalled(files, ["a", "b", "a"], tmp_path).with_known({0: "x"})
    assert np.array_equal(contents.of_images, ["x", "", "x"])


def test_a_chunk_that_is_lost_is_unknown():
    assert module._none_of(["a", "b"]) == ["", ""]
