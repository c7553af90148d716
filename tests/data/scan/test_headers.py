"""Headers of a folder: read once, remembered, the same with and without processes; no identifier gets through."""

import os
import time

import pandas as pd
import pytest

from effmed.data.pseudonyms import Pseudonyms
from effmed.data.scan import headers as module
from effmed.data.scan.headers import read_headers
from tests import make
from tests.data.deadly import read_or_die

KEY, KEPT = Pseudonyms(b"secret"), Pseudonyms(b"")
YEAR_2020_S = 1_577_836_800


def folder(root, n=4):
    for k in range(n):
        make.dicom(root / f"s{k % 2}" / f"{k}.dcm", patient=f"PAT{k}", study=f"1.2.{k}")
        os.utime(root / f"s{k % 2}" / f"{k}.dcm", (YEAR_2020_S, YEAR_2020_S))
    (root / "notes.txt").write_text("no image")
    os.utime(root / "notes.txt", (YEAR_2020_S, YEAR_2020_S))
    return root


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))


def test_images_have_rows_and_other_files_have_none(tmp_path):
    found = read_headers(folder(tmp_path / "data"), KEPT)
    assert found.frame["image"].tolist() == ["s0/0.dcm", "s0/2.dcm", "s1/1.dcm", "s1/3.dcm"]
    assert found.frame["patient"].tolist() == ["PAT0", "PAT2", "PAT1", "PAT3"]
    assert (found.n_files, found.refused) == (5, ())


def test_an_empty_folder_has_no_headers(tmp_path):
    found = read_headers(tmp_path, KEY)
    assert (len(found.frame), found.n_files) == (0, 0)


def test_identifiers_become_pseudonyms_before_anything_is_remembered(tmp_path):
    found = read_headers(folder(tmp_path / "data"), KEY)
    assert found.frame["patient"].tolist()[0] == KEY.of("patient", "PAT0")
    assert found.frame["study"].tolist()[0] == KEY.of("study", "1.2.0")
    stored = pd.concat([pd.read_parquet(path) for path in (tmp_path / "cache").rglob("*.parquet")])
    assert len(stored) == 5
    assert not stored.astype("string").apply(lambda column: column.str.contains(r"^PAT|^1[.]2[.][0-9]$")).any(axis=None)


def test_kept_identifiers_are_never_remembered(tmp_path):
    read_headers(folder(tmp_path / "data"), KEPT)
    assert not (tmp_path / "cache").exists()


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(tmp_path, monkeypatch):
    root = folder(tmp_path / "data")
    first = read_headers(root, KEY)
    make.dicom(root / "s0" / "0.dcm", patient="OTHER")
    read = []
    monkeypatch.setattr(module, "_read_row", lambda path, names: read.append(path) or module.NOTHING)
    second = read_headers(root, KEY)
    assert read == [f"{root}/s0/0.dcm"]
    pd.testing.assert_frame_equal(second.frame, first.frame.iloc[1:].reset_index(drop=True))


def test_a_damaged_volume_is_refused_by_the_end_of_its_whole_name(tmp_path):
    root = folder(tmp_path / "data")
    (root / "scan.NII.GZ").write_bytes(b"\x1f\x8b" + bytes(100))
    (root / "archive.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    (refused,) = read_headers(root, KEY).refused
    assert (refused.image, refused.reason) == ("scan.NII.GZ", "not an image, although it is called .NII.GZ")


def test_what_was_refused_is_tried_again(tmp_path):
    root = folder(tmp_path / "data")
    (root / "bad.png").write_text("text")
    os.utime(root / "bad.png", (YEAR_2020_S, YEAR_2020_S))
    assert [item.image for item in read_headers(root, KEY).refused] == ["bad.png"]
    assert [item.image for item in read_headers(root, KEY).refused] == ["bad.png"]


def test_processes_read_the_same(tmp_path, monkeypatch):
    root = folder(tmp_path / "data", n=6)
    alone = read_headers(root, KEPT).frame
    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "WORTH_PROCESSES_S", -1.0)
    told = []
    together = read_headers(root, KEPT, on_progress=lambda done, n: told.append((done, n)))
    pd.testing.assert_frame_equal(together.frame, alone)
    assert told == [(2, 7), (4, 7), (6, 7), (7, 7)]


def test_many_files_become_columns_in_parts(tmp_path, monkeypatch):
    root = folder(tmp_path / "data", n=6)
    whole = read_headers(root, KEPT).frame
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    pd.testing.assert_frame_equal(read_headers(root, KEPT).frame, whole)


def test_a_file_that_vanishes_or_becomes_a_folder_is_no_image(tmp_path):
    (tmp_path / "folder").mkdir()
    assert module.read_chunk(["gone", "folder"], tmp_path, KEPT) == [module.NOTHING, module.NOTHING]


def test_the_index_of_a_medium_is_no_image_whatever_it_holds(tmp_path):
    make.dicom(tmp_path / "DICOMDIR")
    make.dicom(tmp_path / "a.dcm")
    assert [row[0] for row in module.read_chunk(["DICOMDIR", "a.dcm"], tmp_path, KEPT)] == ["", "P1"]


def test_a_file_that_kills_its_process_costs_its_row_and_no_other():
    names = ["a", "deadly", "b"]
    rows = module._one_by_one(names, read_or_die)
    assert [row[0] for row in rows] == ["a", "", "b"]
    assert rows[1][-2] == "reading its header crashes or never ends"


def test_time_decides_whether_processes_are_started(tmp_path, monkeypatch):
    root = folder(tmp_path / "data")
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "work_through", None)  # would fail if it were called
    started = time.perf_counter()
    assert len(read_headers(root, KEPT).frame) == 4
    assert time.perf_counter() >= started
