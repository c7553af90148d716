"""Label tables: columns are found by name, nothing contradictory passes, and classes have an order."""

import pandas as pd
import pytest

from effmed.data.scan.labels import match_images, normalise_splits, read_labels
from effmed.errors import DataError
from effmed.recipe import DataSettings
from tests import make

AUTO = DataSettings()
PATHS = ["a.png", "b.png"]


def refusal(function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    return caught.value


def read(path, **settings):
    return read_labels(path, DataSettings(**settings))


def test_columns_are_found_by_name_whatever_their_case(tmp_path):
    path = make.table(tmp_path / "t.csv", File=PATHS, Diagnosis=["x", "y"], Patient_ID=["1", "2"], SET=["train", "val"])
    table = read(path)
    assert table.columns == {"image": "File", "label": "Diagnosis", "patient": "Patient_ID", "split": "SET"}
    assert table.rows.to_dict("list") == {
        "image": PATHS,
        "label": ["x", "y"],
        "patient": ["1", "2"],
        "split": ["train", "val"],
    }


def test_a_parquet_table_reads_like_a_csv_table(tmp_path):
    columns = {"path": PATHS, "label": [0, 1], "patient_id": [7, 8]}
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    make.table(tmp_path / "t.csv", **columns)
    pd.testing.assert_frame_equal(read(tmp_path / "t.parquet").rows, read(tmp_path / "t.csv").rows)


def test_settings_override_the_names_of_columns(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["no", "no"], where=PATHS, label=["no", "no"], truth=["x", "y"])
    rows = read(path, image_column="where", label_column="truth").rows
    assert rows[["image", "label"]].to_numpy().tolist() == [["a.png", "x"], ["b.png", "y"]]


def test_ids_keep_their_leading_zeros(tmp_path):
    path = make.table(tmp_path / "t.csv", path=PATHS, label=["x", "y"], patient_id=["007", "070"])
    assert list(read(path).rows["patient"]) == ["007", "070"]


def test_spaces_around_a_cell_are_no_part_of_it(tmp_path):
    (tmp_path / "t.csv").write_text("path , label\n a.png , x \nb.png,y\n")
    assert read(tmp_path / "t.csv").rows.to_numpy().tolist() == [["a.png", "x"], ["b.png", "y"]]


def test_a_class_may_be_called_none(tmp_path):
    path = make.table(tmp_path / "t.csv", path=PATHS, label=["None", "x"])
    assert list(read(path).rows["label"]) == ["None", "x"]


def test_one_column_of_0_and_1_per_class_gives_the_class(tmp_path):
    path = make.table(tmp_path / "t.csv", path=PATHS, sex=[1, 1], normal=[1, 0], tumour=[0, 1])
    assert list(read(path).rows["label"]) == ["normal", "tumour"]


def test_named_columns_of_0_and_1_come_before_a_label_column(tmp_path):
    path = make.table(tmp_path / "t.csv", path=PATHS, label=["u", "v"], normal=[1, 0], tumour=[0, 1])
    assert list(read(path, label_columns=("normal", "tumour")).rows["label"]) == ["normal", "tumour"]


@pytest.mark.parametrize("row", [(1, 1), (0, 0)])
def test_an_image_with_several_classes_or_none_is_refused_where_classes_exclude_each_other(tmp_path, row):
    path = make.table(tmp_path / "t.csv", path=[*PATHS, "c.png"], normal=[1, 0, row[0]], tumour=[0, 1, row[1]])
    error = refusal(lambda path: read(path, task="multiclass"), path)
    assert "1 rows do not have exactly one 1 among normal, tumour, such as row 3" in error.problem
    assert "exactly one class" in error.hint


def test_a_repeated_row_counts_once(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", "a.png", "b.png"], label=["x", "x", "y"])
    assert list(read(path).rows["image"]) == PATHS


def test_two_labels_for_one_image_are_refused(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", "a.png", "b.png"], label=["x", "y", "y"])
    error = refusal(read, path)
    assert "1 images have two labels: a.png" in error.problem
    assert error.hint == "give every image one label"


def test_two_patients_for_one_image_are_refused(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png"] * 2, label=["x"] * 2, patient=["1", "2"])
    error = refusal(read, path)
    assert "rows contradict each other for a.png" in error.problem
    assert "one row" in error.hint


@pytest.mark.parametrize("empty", ["", "NaN", "nan", "NA", " "])
def test_a_missing_label_is_refused(tmp_path, empty):
    path = make.table(tmp_path / "t.csv", path=PATHS, label=["x", empty])
    error = refusal(read, path)
    assert "1 images have no label (empty or NaN): b.png" in error.problem
    assert "label or remove" in error.hint


def test_a_missing_number_in_parquet_is_a_missing_label(tmp_path):
    pd.DataFrame({"path": PATHS, "label": [0.0, float("nan")]}).to_parquet(tmp_path / "t.parquet")
    assert "have no label (empty or NaN): b.png" in refusal(read, tmp_path / "t.parquet").problem


def test_a_row_without_an_image_is_refused(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", ""], label=["x", "y"])
    error = refusal(read, path)
    assert "1 rows name no image, such as row 2" in error.problem
    assert "complete or remove" in error.hint


def test_a_table_without_paths_is_refused_with_its_columns(tmp_path):
    error = refusal(read, make.table(tmp_path / "t.csv", id=["1"], label=["x"]))
    assert "no column with image paths; its columns are id, label" in error.problem
    assert "--set data.image_column=NAME" in error.hint


def test_a_table_without_labels_is_refused_with_its_columns(tmp_path):
    error = refusal(read, make.table(tmp_path / "t.csv", path=PATHS, finding=["x", "y"]))
    assert "has no label column; its columns are path, finding" in error.problem
    assert "--set data.label_column=NAME" in error.hint


def test_a_column_that_is_set_and_absent_is_refused(tmp_path):
    path = make.table(tmp_path / "t.csv", path=PATHS, label=["x", "y"])
    with pytest.raises(DataError, match=r"data.patient_column = 'pid' is not a column") as caught:
        read(path, patient_column="pid")
    assert "path, label" in caught.value.hint


def test_a_class_column_that_is_set_and_absent_is_refused(tmp_path):
    path = make.table(tmp_path / "t.csv", path=PATHS, normal=[0, 1])
    with pytest.raises(DataError, match="no column 'tumour'"):
        read(path, label_columns=("normal", "tumour"))


@pytest.mark.parametrize("content", [b"", b"path,label\n\xff\xfe,x\n", b'path\n"a\n'])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    error = refusal(read, tmp_path / "t.csv")
    assert "t.csv cannot be read" in error.problem
    assert "UTF-8" in error.hint


def test_a_table_that_is_not_there_is_refused(tmp_path):
    assert "no.csv cannot be read" in refusal(read, tmp_path / "no.csv").problem


def match(texts, root, *, table=None, known=("a/1.png", "b/1.png", "b/2.png")):
    return match_images(pd.Series(texts, dtype="string"), table or root / "t.csv", root, set(known))


@pytest.mark.parametrize("text", ["b/2.png", "./b/2.png", "a/../b/2.png", "b\\2.png"])
def test_a_path_relative_to_the_data_folder_is_found(tmp_path, text):
    files, how = match([text], tmp_path)
    assert list(files) == ["b/2.png"]
    assert how == "relative path"


def test_a_path_relative_to_the_table_is_found(tmp_path):
    files, _ = match(["far/data/b/2.png"], tmp_path / "far" / "data", table=tmp_path / "t.csv")
    assert list(files) == ["b/2.png"]


def test_an_absolute_path_inside_the_data_folder_is_found(tmp_path):
    assert list(match([f"{tmp_path}/b/2.png"], tmp_path)[0]) == ["b/2.png"]


def test_an_absolute_path_through_a_link_is_found(tmp_path):
    (tmp_path / "data" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert list(match([f"{tmp_path}/link/b/2.png"], tmp_path / "data")[0]) == ["b/2.png"]


def test_a_path_outside_the_data_folder_is_not_found(tmp_path):
    assert match(["../elsewhere/b/2.png"], tmp_path)[0].isna().all()


def test_a_path_is_never_matched_by_its_base_name(tmp_path):
    assert match(["c/2.png"], tmp_path)[0].isna().all()


def test_bare_names_that_are_unique_are_found_and_this_is_said(tmp_path):
    files, how = match(["2.png"], tmp_path)
    assert list(files) == ["b/2.png"]
    assert "base name" in how


def test_bare_names_beside_paths_are_not_searched_for(tmp_path):
    assert list(match(["a/1.png", "2.png"], tmp_path)[0].isna()) == [False, True]


def test_a_bare_name_in_two_folders_is_refused(tmp_path):
    error = refusal(match, ["2.png", "1.png"], tmp_path)
    assert "1 names stand in more than one folder: 1.png" in error.problem
    assert "paths relative to the data folder" in error.hint


def test_a_bare_name_that_does_not_exist_is_not_found(tmp_path):
    assert list(match(["2.png", "3.png"], tmp_path)[0].isna()) == [False, True]


def test_spellings_of_splits_become_train_val_and_test():
    values = pd.Series(["Training", "valid", "VALIDATION", "dev", "testing", pd.NA], dtype="string")
    assert normalise_splits(values, "t.csv").fillna("").tolist() == ["train", "val", "val", "val", "test", ""]


def test_an_unknown_split_is_refused():
    error = refusal(normalise_splits, pd.Series(["train", "fold1"], dtype="string"), "t.csv")
    assert "none of train, val and test: fold1" in error.problem
    assert "data.split_column" in error.hint
