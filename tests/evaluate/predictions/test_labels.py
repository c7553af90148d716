"""Labels that do not exclude each other: what a table may hold, and what each policy makes of it."""

import numpy as np
import pandas as pd
import pytest

from effmed.errors import DataError
from effmed.evaluate.predictions import apply_policy, read_predictions
from effmed.evaluate.predictions.labels import ABSENT, BLANK, PRESENT, UNCERTAIN, UNKNOWN, label_numbers
from effmed.recipe import ColumnSettings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", "-1", ""], [PRESENT, ABSENT, UNCERTAIN, BLANK]),
        ([1.0, 0.0, -1.0, np.nan], [PRESENT, ABSENT, UNCERTAIN, BLANK]),
        (["true", "False", None, pd.NA], [PRESENT, ABSENT, BLANK, BLANK]),
    ],
)
def test_labels_are_read_from_text_and_numbers(values, expected):
    assert label_numbers(np.array(values, dtype=object), "edema").tolist() == expected


def test_anything_else_is_refused_with_its_row():
    with pytest.raises(DataError, match=r"'edema' is none of 1, 0, -1 and blank in row 1: '2'"):
        label_numbers(np.array(["1", "2"], dtype=object), "edema")


@pytest.mark.parametrize(
    ("uncertain", "blank", "expected"),
    [
        ("ignore", "ignore", [1, 0, UNKNOWN, UNKNOWN]),
        ("zeros", "ignore", [1, 0, 0, UNKNOWN]),
        ("ones", "zeros", [1, 0, 1, 0]),
    ],
)
def test_policies_decide_what_uncertain_and_blank_count_as(uncertain, blank, expected):
    labels = np.array([[PRESENT], [ABSENT], [UNCERTAIN], [BLANK]])
    assert apply_policy(labels, uncertain=uncertain, blank=blank)[:, 0].tolist() == expected


def table(folder, text, also=()):
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_predictions(path, ColumnSettings(), also)


def test_a_column_of_truth_and_one_of_probability_make_a_label(tmp_path):
    found = table(tmp_path, "image,y_a,p_a,y_b,p_b,device\n1,1,0.9,,0.2,X\n2,-1,0.4,0,0.3,Y\n", also=("device",))
    assert (found.is_multilabel, found.classes) == (True, ("a", "b"))
    assert found.labels.tolist() == [[PRESENT, BLANK], [UNCERTAIN, ABSENT]]
    assert found.probability.tolist() == [[0.9, 0.2], [0.4, 0.3]]
    assert found.to_probability(found.logits) == pytest.approx(found.probability)
    assert found.frame["device"].tolist() == ["X", "Y"]


def test_an_image_without_any_label_is_unlabelled(tmp_path):
    found = table(tmp_path, "y_a,p_a,y_b,p_b\n,0.9,,0.2\n-1,0.4,,0.3\n")
    assert found.is_labelled.tolist() == [False, True]
    assert len(found.labelled) == 1


def test_labels_survive_writing_and_reading(tmp_path):
    from effmed.evaluate.predictions import write_predictions

    first = table(tmp_path, "image,truth_a,probability_a,truth_b,probability_b\n1,1,0.9,,0.2\n2,-1,0.4,0,0.3\n")
    for name in ("again.csv", "again.parquet"):
        write_predictions(first, tmp_path / name)
        again = read_predictions(tmp_path / name, ColumnSettings())
        assert again.labels.tolist() == first.labels.tolist()
        assert again.digest() == first.digest()


def test_a_wrong_label_is_refused_when_the_table_is_read(tmp_path):
    with pytest.raises(DataError, match="label 'b'"):
        table(tmp_path, "y_a,p_a,y_b,p_b\n1,0.9,maybe,0.2\n")


def test_a_score_outside_0_to_1_is_only_a_score(tmp_path):
    assert table(tmp_path, "y,score\n1,7.5\n0,-3\n").is_scored
    assert not table(tmp_path, "y,score\n1,0.5\n0,0.3\n").is_scored


def test_a_column_named_as_score_is_only_a_score(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y,risk\n1,0.5\n0,0.3\n", encoding="utf-8")
    found = read_predictions(path, ColumnSettings(score="risk"))
    assert found.is_scored
    assert found.logits[:, 0].tolist() == [0.5, 0.3]
