"""Several labels of an image: a column of each, or names between bars; what is not known stays not known."""

import pandas as pd
import pytest

from effmed.data.records import LABEL
from effmed.data.scan.label_sets import (
    find_separator,
    is_exclusive,
    label_texts,
    read_columns,
    read_lists,
    task_text,
    without_rare,
)
from effmed.data.scan.labels import read_labels
from effmed.errors import DataError
from effmed.recipe import DataSettings
from tests import make

AUTO = DataSettings()


def read(path, **settings):
    return read_labels(path, DataSettings(**settings))


def names(*cells):
    return pd.Series(cells, dtype="string")


@pytest.mark.parametrize(
    ("settings", "cells", "expected"),
    [
        ({}, ("a|b", "a"), "|"),
        ({}, ("a", "b"), None),
        ({}, ("a;b", "a"), None),
        ({"label_separator": ";"}, ("a;b", "a"), ";"),
        ({"task": "multilabel"}, ("a", "b"), "|"),
        ({"task": "multiclass"}, ("a|b", "a"), None),
    ],
)
def test_a_cell_names_several_labels_where_it_holds_the_separator_or_the_recipe_says_so(settings, cells, expected):
    assert find_separator(names(*cells), DataSettings(**settings)) == expected


def test_names_become_a_column_each_in_the_order_of_the_names(tmp_path):
    found = read_lists(names("mass | effusion", "effusion", "No Finding", ""), "|", tmp_path)
    assert found.to_dict("list") == {"label_effusion": ["1", "1", "0", "0"], "label_mass": ["1", "0", "0", "0"]}


def test_a_finding_beside_no_finding_is_refused(tmp_path):
    with pytest.raises(DataError, match="beside 'no finding': 2"):
        read_lists(names("mass", "mass|No Finding"), "|", tmp_path)


def test_a_column_that_names_no_label_is_refused(tmp_path):
    with pytest.raises(DataError, match="no row names a label"):
        read_lists(names("No Finding", ""), "|", tmp_path)


def test_numbers_keep_what_is_uncertain_or_blank(tmp_path):
    table = pd.DataFrame({"a": ["1", "0.0", "-1", "", "NaN"], "b": [1.0, 0.0, -1.0, None, 1.0]})
    found = read_columns(table, tmp_path)
    assert found["label_a"].fillna("?").tolist() == ["1", "0", "-1", "?", "?"]
    assert found["label_b"].fillna("?").tolist() == ["1", "0", "-1", "?", "1"]


@pytest.mark.parametrize("cell", ["2", "yes", "-2", "0.5"])
def test_any_other_cell_is_refused_with_its_row(tmp_path, cell):
    with pytest.raises(DataError, match=f"in row 2: '{cell}'"):
        read_columns(pd.DataFrame({"a": ["1", cell]}), tmp_path)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([("1", "0"), ("0", "1")], True), ([("1", "1")], False), ([("0", "0")], False), ([("1", None)], False)],
)
def test_labels_exclude_each_other_where_every_row_has_exactly_one(rows, expected):
    assert is_exclusive(pd.DataFrame(rows, columns=["label_a", "label_b"], dtype="string")) is expected


def test_labels_in_words_tell_all_that_is_known():
    rows = [("1", "1"), ("0", "-1"), ("0", "0"), ("0", None), (None, None)]
    texts = label_texts(pd.DataFrame(rows, columns=["label_a", "label_b"], dtype="string"))
    assert texts.fillna("nothing").tolist() == ["a|b", "b?", "none", "none", "nothing"]


def test_the_task_is_said_with_what_it_rests_on():
    labels = pd.DataFrame([("1", "1"), ("0", "0"), (None, None)], columns=["label_a", "label_b"], dtype="string")
    said = task_text(labels, "2 columns of labels", AUTO)
    assert said.endswith("of 3 rows 1 have several, 1 have none, 1 say nothing")
    assert "as the recipe says" in task_text(labels, "", DataSettings(task="multilabel"))


def test_rare_labels_are_left_out_by_name_and_none_must_not_be_left():
    counts = pd.Series([3, 1])
    kept, said = without_rare(("a", "b"), counts, DataSettings(min_positive=2))
    assert (kept, "b (1 images)" in said) == (("a",), True)
    assert without_rare(("a", "b"), counts, AUTO)[0] == ("a", "b")
    with pytest.raises(DataError, match="no label is present in 9 images"):
        without_rare(("a", "b"), counts, DataSettings(min_positive=9))


def test_columns_with_several_ones_uncertain_and_blank_cells_are_found_by_themselves(tmp_path):
    columns = {"path": ["a.png", "b.png", "c.png"], "a": ["1", "0", "1"], "b": ["1", "-1", ""], "note": ["p", "q", "r"]}
    table = read(make.table(tmp_path / "t.csv", **columns))
    assert table.columns["label"] == "a, b"
    assert table.rows[LABEL + "b"].fillna("?").tolist() == ["1", "-1", "?"]
    assert table.rows["label"].tolist() == ["a|b", "b?", "a"]
    assert table.task.startswith("task multilabel: 2 columns of labels")


def test_exclusive_columns_stay_classes_unless_the_recipe_says_otherwise(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", "b.png"], a=[1, 0], b=[0, 1])
    assert read(path).task == ""
    assert read(path, task="multilabel").rows["label"].tolist() == ["a", "b"]


def test_two_rows_of_an_image_that_differ_in_a_label_are_refused(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", "a.png"], a=[1, 1], b=[1, 0])
    with pytest.raises(DataError, match="two labels"):
        read(path, task="multilabel")


def test_a_column_with_blanks_beside_exclusive_ones_is_no_label(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", "b.png"], a=[1, 0], b=[0, 1], smoker=["1", ""])
    assert read(path).rows["label"].tolist() == ["a", "b"]
    assert "smoker" in read(path, task="multilabel").columns["label"]


def test_empty_cells_among_names_are_counted(tmp_path):
    path = make.table(tmp_path / "t.csv", path=["a.png", "b.png", "c.png"], label=["u|v", "", "NaN"])
    assert "(2 empty cells name no label)" in read(path).task
    assert read(path).rows["label"].tolist() == ["u|v", "none", "none"]
