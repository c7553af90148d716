"""The manifest: its rows, its digest, and the way to disk and back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effmed.data.records import (
    COLUMNS,
    Manifest,
    Unreadable,
    has_class,
    is_told,
    label_columns,
    make_frame,
    read_manifest,
    with_types,
    write_manifest,
)
from effmed.errors import DataError, MachineError
from tests import make

TEXT = st.one_of(st.none(), st.sampled_from(["NA", "None", "007", "1e5", "true", 'a "quoted", one', "ä\n b"]), st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), min_size=1, max_size=5,
))  # fmt: skip
ROW = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["a/1.png", "b/1.png", "ü.dcm", "x,y.png", "NA"]),
        "frame": st.integers(0, 5),
        **dict.fromkeys(("label", "patient", "study", "view", "sex", "site", "scanner"), TEXT),
        "split": st.sampled_from([None, "train", "val", "test"]),
        "age": st.one_of(st.none(), st.floats(0, 120)),
        "rows": st.integers(1, 10_000),
        "columns": st.integers(1, 10_000),
        "bits": st.integers(1, 16),
        "colour": st.booleans(),
    }
)


def test_a_record_holds_one_row_with_none_where_nothing_is_known():
    manifest = make.manifest(labels=["a"], patients=["p"])
    record = next(manifest.records())
    assert (record.image, record.frame, record.label, record.patient) == ("0.png", 0, "a", "p")
    assert record.study is None
    assert record.split is None
    assert record.attributes["rows"] == 12
    assert record.attributes["age"] is None


def test_the_length_of_a_manifest_is_its_number_of_images():
    assert len(make.manifest(labels=["a", "b", "b"])) == 3


def test_one_split_keeps_its_images_in_order():
    manifest = make.manifest(labels=["a", "b", "a", "b"], splits=["val", "train", "val", "test"])
    assert list(manifest.in_split("val").frame["image"]) == ["0.png", "2.png"]


def test_reasons_are_added_to_those_there_are():
    manifest = make.manifest(labels=["a", "b"])
    both = manifest.with_frame(manifest.frame, patient="told").with_frame(manifest.frame, split="drawn")
    assert both.reasons == {"patient": "told", "split": "drawn"}


def test_rows_that_failed_to_decode_become_unreadable():
    manifest = make.manifest(labels=["a", "b", "a"])
    left = manifest.without({1: DataError("damaged", hint="copy it")})
    assert list(left.frame["image"]) == ["0.png", "2.png"]
    assert left.unreadable == (Unreadable("1.png", 0, "damaged", "copy it"),)
    assert list(left.frame.index) == [0, 1]


@pytest.mark.parametrize("order", [[1, 2], [2, 1]])
def test_the_other_frames_of_a_file_go_with_the_one_that_failed(order):
    manifest = make.manifest(labels=["a"] * 5)
    rows = manifest.frame.assign(image=["x.tif", "y.tif", "y.tif", "y.tif", "z.tif"], frame=[0, 0, 1, 2, 0])
    failures = {row: DataError(f"damaged {row}", hint="copy it") for row in order}
    left = manifest.with_frame(rows).without(failures)
    assert list(left.frame["image"]) == ["x.tif", "z.tif"]
    assert {(item.image, item.frame): item.reason for item in left.unreadable} == {
        ("y.tif", 0): "damaged 1",
        ("y.tif", 1): "damaged 2",
        ("y.tif", 2): "frame 0 of the same file cannot be read",
    }


def test_images_of_an_npz_member_do_not_go_with_one_that_failed():
    manifest = make.manifest(labels=["a"] * 3, root=Path("data.npz"))
    rows = manifest.frame.assign(image="train_images", frame=[0, 1, 2])
    left = manifest.with_frame(rows).without({1: DataError("damaged", hint="copy it")})
    assert list(left.frame["frame"]) == [0, 2]


def test_the_digest_does_not_depend_on_the_order_of_rows():
    manifest = make.manifest(labels=["a", "b", "a"])
    assert manifest.with_frame(manifest.frame.iloc[::-1]).digest() == manifest.digest()


@pytest.mark.parametrize("column", ["image", "frame", "label", "patient", "study", "split"])
def test_the_digest_changes_with_every_column_of_identity(column):
    manifest = make.manifest(labels=["a", "b"])
    changed = {"frame": [7, 7], "patient": ["x", "x"], "study": ["x", "x"]}.get(column, ["x", "y"])
    frame = manifest.frame.assign(**{column: changed})
    assert manifest.with_frame(with_types(frame)).digest() != manifest.digest()


def test_the_digest_does_not_depend_on_what_patients_are_called():
    manifest = make.manifest(labels=["a", "b", "a"], patients=["p1", "p2", "p1"])
    other = make.manifest(labels=["a", "b", "a"], patients=["z", "a", "z"])
    torn = make.manifest(labels=["a", "b", "a"], patients=["z", "a", "a"])
    assert other.digest() == manifest.digest()
    assert torn.digest() != manifest.digest()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=4))
def test_a_manifest_survives_writing_and_reading(tmp_path, suffix, rows):
    manifest = Manifest(tmp_path, make_frame(rows))
    write_manifest(manifest, tmp_path / f"manifest{suffix}")
    back = read_manifest(tmp_path / f"manifest{suffix}", tmp_path)
    pd.testing.assert_frame_equal(back.frame, manifest.frame)
    assert back.digest() == manifest.digest()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["tumour", "normal"], ("normal", "tumour")), (["c", "a", "b"], ("a", "b", "c")), ([pd.NA], ())],
)
def test_a_manifest_that_was_read_has_the_class_order_that_names_suggest(tmp_path, labels, classes):
    frame = make.manifest(labels=["x"] * len(labels)).frame.assign(label=labels)
    write_manifest(Manifest(tmp_path, with_types(frame)), tmp_path / "manifest.csv")
    assert read_manifest(tmp_path / "manifest.csv", tmp_path).classes == classes


def test_a_class_order_that_is_known_is_kept(tmp_path):
    write_manifest(make.manifest(labels=["tumour", "normal"]), tmp_path / "manifest.csv")
    read = read_manifest(tmp_path / "manifest.csv", tmp_path, classes=("tumour", "normal"))
    assert read.classes == ("tumour", "normal")


def test_a_manifest_without_all_columns_is_refused(tmp_path):
    make.table(tmp_path / "manifest.csv", image=["a.png"], label=["a"])
    with pytest.raises(DataError, match="lacks the columns frame, patient, study") as caught:
        read_manifest(tmp_path / "manifest.csv", tmp_path)
    assert "manifest.csv of a run" in caught.value.hint


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_a_manifest_that_is_no_table_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\xff\x00")
    with pytest.raises(DataError, match=f"{name} ") as caught:
        read_manifest(tmp_path / name, tmp_path)
    assert "manifest.csv" in caught.value.hint


def test_a_manifest_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "manifest.csv", tmp_path)


def test_a_manifest_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "manifest.csv").mkdir()
    with pytest.raises(MachineError):
        write_manifest(make.manifest(labels=["a"]), tmp_path / "manifest.csv")
    assert [path.name for path in tmp_path.rglob("*")] == ["manifest.csv"]


def test_a_frame_has_all_columns_in_order_and_numbers_as_numbers():
    frame = make_frame([{"image": "a.png", "age": "61", "colour": True}, {"image": "b.png", "label": ""}])
    assert tuple(frame.columns) == COLUMNS
    assert frame["age"].tolist()[0] == 61.0
    assert np.isnan(frame["age"].tolist()[1])
    assert frame["colour"].tolist() == [True, False]
    assert frame["label"].isna().all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_several_labels_survive_the_disk_in_their_order(tmp_path, suffix):
    made = make.several({"b": ["1", "-1", None], "a 1": ["0", None, "1"]})
    write_manifest(made, tmp_path / f"m.{suffix}")
    back = read_manifest(tmp_path / f"m.{suffix}", made.root)
    assert back.is_multilabel
    assert back.classes == ("b", "a 1")
    pd.testing.assert_frame_equal(back.frame, made.frame)
    assert back.digest() == made.digest()


def test_the_digest_knows_blank_from_absent():
    digests = {make.several({"a": ["1", cell], "b": ["1", "1"]}).digest() for cell in ("0", None, "-1")}
    assert len(digests) == 3


def test_a_class_is_held_and_told_of_by_its_label_or_its_own_column():
    one = make.manifest(labels=["a", "b"]).frame
    assert (has_class(one, "a").tolist(), is_told(one, "a").tolist()) == ([True, False], [True, True])
    many = make.several({"a": ["1", "0", "-1", None], "b": ["1", "1", "1", "1"]})
    assert has_class(many.frame, "a").tolist() == [True, False, False, False]
    assert is_told(many.frame, "a").tolist() == [True, True, False, False]
    assert label_columns(many.frame) == ["label_a", "label_b"]
    assert next(many.records()).attributes["label_a"] == "1"
