"""What is remembered of a file holds until its size or time changes."""

import time

import pandas as pd

from effmed.data.remembered import recall, remember

OLD_NS = time.time_ns() - 10_000_000_000


def files(*rows):
    return pd.DataFrame(rows, columns=["image", "size", "mtime_ns"])


def test_what_was_remembered_comes_back_in_the_order_of_the_files(tmp_path):
    known = files(("a", 1, OLD_NS), ("b", 2, OLD_NS)).assign(kind=["x", "y"])
    remember(tmp_path / "t.parquet", known)
    found = recall(tmp_path / "t.parquet", files(("b", 2, OLD_NS), ("c", 3, OLD_NS), ("a", 1, OLD_NS)), ["kind"])
    assert found["kind"].astype(object).where(found["kind"].notna(), None).tolist() == ["y", None, "x"]


def test_a_file_of_another_size_or_time_is_not_known(tmp_path):
    remember(tmp_path / "t.parquet", files(("a", 1, OLD_NS), ("b", 2, OLD_NS)).assign(kind=["x", "y"]))
    assert recall(tmp_path / "t.parquet", files(("a", 9, OLD_NS), ("b", 2, OLD_NS + 1)), ["kind"])["kind"].isna().all()


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path):
    now = time.time_ns()
    remember(tmp_path / "t.parquet", files(("a", 1, now)).assign(kind=["x"]))
    assert recall(tmp_path / "t.parquet", files(("a", 1, now)), ["kind"])["kind"].isna().all()


def test_a_missing_or_damaged_table_knows_nothing(tmp_path):
    assert recall(tmp_path / "t.parquet", files(("a", 1, OLD_NS)), ["kind"])["kind"].isna().all()
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    assert recall(tmp_path / "t.parquet", files(("a", 1, OLD_NS)), ["kind"])["kind"].isna().all()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    remember(tmp_path / "file" / "t.parquet", files(("a", 1, OLD_NS)).assign(kind=["x"]))
    assert (tmp_path / "file").read_text() == ""
