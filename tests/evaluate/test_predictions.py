import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effmed.data.records import ATTRIBUTES as MANIFEST_ATTRIBUTES
from effmed.errors import DataError, MachineError
from effmed.evaluate.decisions import Decisions
from effmed.evaluate.predictions import (
    ATTRIBUTES,
    Predictions,
    is_own_table,
    make_predictions,
    read_predictions,
    write_predictions,
)
from effmed.recipe import ColumnSettings
from tests.evaluate import make

AUTO = ColumnSettings()


def written(folder, text):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- made


def test_columns_stand_in_the_documented_order():
    table = make.binary(n=3, sex=["F", "M", "F"]).frame
    identity = ["image", "frame", "patient", "study", "truth"]
    numbers = ["logit_opacity", "probability_clear", "probability_opacity"]
    outcome = ["predicted_class", "decision", "status", "reason", "input_warning"]
    assert list(table.columns) == [*identity, *numbers, *outcome, "sex"]


def test_the_fold_of_an_image_stands_last_and_survives_the_disk(tmp_path):
    made = make.binary(n=3, sex=["F", "M", "F"], fold=["1", "2", "1"])
    assert list(made.frame.columns)[-2:] == ["sex", "fold"]
    write_predictions(made, tmp_path / "t.parquet")
    again = read_predictions(tmp_path / "t.parquet", AUTO)
    assert again.frame["fold"].tolist() == ["1", "2", "1"]
    assert again.digest() == made.digest()
    assert "fold" not in make.binary(n=3, fold=None).frame


def test_several_classes_have_a_logit_each():
    table = make.several(n=3)
    assert [name for name in table.frame if name.startswith("logit_")] == ["logit_a", "logit_b", "logit_c"]
    assert table.logits.shape == (3, 3)


def test_attributes_are_those_of_the_manifest():
    assert ATTRIBUTES == MANIFEST_ATTRIBUTES


def test_probabilities_are_calibrated_and_logits_are_not():
    logits = np.array([[0.5], [-1.0]], dtype=np.float32)
    table = make.binary(n=2, logits=logits)
    assert np.array_equal(table.logits, logits.astype(np.float64))
    assert np.allclose(table.probability[:, 1], 1 / (1 + np.exp(-(0.7 * logits[:, 0].astype(float) + 0.2))))


def test_decision_is_positive_at_the_threshold_itself():
    table = make.binary(
        n=2, logits=np.array([[0.0], [-1e-9]]), calibrator=make.identity, point=lambda: make.point(threshold=0.5)
    )
    assert table.frame["decision"].tolist() == ["opacity", "clear"]


def test_predicted_class_ignores_the_threshold():
    table = make.binary(n=1, logits=np.array([[1.0]]), point=lambda: make.point(threshold=0.99))
    assert (table.frame["predicted_class"][0], table.frame["decision"][0]) == ("opacity", "clear")


def test_without_operating_point_two_classes_are_not_decided():
    assert set(make.binary(point=None).frame["decision"]) == {""}


def test_several_classes_are_decided_by_the_largest_probability():
    table = make.several()
    assert table.frame["decision"].tolist() == [table.classes[i] for i in table.probability.argmax(axis=1)]


def test_operating_point_of_the_other_class_is_respected():
    table = make.binary(n=1, logits=np.array([[0.0]]), calibrator=make.identity, point=lambda: make.point("clear", 0.5))
    assert table.frame["decision"][0] == "clear"


def test_operating_point_of_an_unknown_class_is_refused():
    with pytest.raises(DataError, match="'fracture'"):
        make.binary(point=lambda: make.point("fracture"))


def test_unreadable_image_stays_as_a_row_with_its_reason():
    table = make.binary(n=3, failures={1: ("truncated file", "copy it again")})
    row = table.frame.iloc[1]
    assert row["status"] == "unreadable"
    assert row["reason"] == "truncated file (copy it again)"
    assert row[["predicted_class", "decision"]].tolist() == ["", ""]
    assert np.isnan(table.logits[1]).all()
    assert np.isnan(table.probability[1]).all()


def test_readable_rows_are_those_whose_status_is_ok():
    table = make.binary(n=5, failures={0: ("gone", "look"), 3: ("gone", "look")})
    assert table.readable.frame["image"].tolist() == ["secret/1.dcm", "secret/2.dcm", "secret/4.dcm"]


def test_missing_logits_without_a_failure_are_refused():
    with pytest.raises(DataError, match="row 1"):
        make.binary(n=3, logits=np.array([[0.0], [np.nan], [1.0]]))


def test_another_number_of_logits_is_refused():
    with pytest.raises(DataError, match="2 rows of logits for 3 images"):
        make.binary(n=3, logits=np.zeros((2, 1)))


def test_label_that_is_no_class_is_refused():
    with pytest.raises(DataError, match="'fracture'") as caught:
        make.binary(n=2, label=["clear", "fracture"])
    assert "clear, opacity" in caught.value.hint


def test_truth_is_the_class_number_and_minus_one_where_unknown():
    table = make.binary(n=3, label=["opacity", None, "clear"])
    assert table.truth.tolist() == [1, -1, 0]
    assert len(table.labelled) == 2


def test_table_without_labels_has_no_truth():
    made = make_predictions(
        make.frame(["clear"]).drop(columns=["label", "patient"]),
        ("clear", "opacity"),
        np.zeros((1, 1)),
        calibrator=make.calibrator(),
        decisions=Decisions(),
        failures={},
    )
    assert len(made.labelled) == 0
    assert made.patients is None


def test_patients_are_the_column_where_any_is_known():
    assert make.binary(n=4).patients.tolist() == ["PAT-0", "PAT-0", "PAT-1", "PAT-1"]


def test_file_name_that_is_no_utf8_is_written_out(tmp_path):
    names = pd.Series(["caf\udce9.png"], dtype=object)
    table = make.binary(n=1, image=names)
    write_predictions(table, tmp_path / "p.parquet")
    assert table.frame["image"][0] == "caf\\udce9.png"


def test_age_that_is_no_number_is_unknown():
    assert np.isnan(make.binary(n=2, age=["40", "old"]).frame["age"][1])


def test_age_as_dicom_writes_it_is_years():
    ages = make.binary(n=5, age=["045Y", "006M", "730D", "45", "45Y"]).frame["age"]
    assert ages[:4].tolist() == pytest.approx([45, 0.5, 1.9986, 45], abs=1e-3)
    assert np.isnan(ages[4])


# ---------------------------------------------------------------- written and read back


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_round_trip_is_identity(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    table = make.binary(
        n=4, failures={2: ("bad", "look")}, label=["opacity", None, "clear", "clear"], age=[40.5, None, 3, 4], sex="F"
    )
    write_predictions(table, path)
    again = read_predictions(path, AUTO)
    pd.testing.assert_frame_equal(again.frame, table.frame)
    assert again.classes == table.classes
    assert again.digest() == table.digest()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1),
        min_size=2,
        max_size=3,
        unique=True,
    ),
    st.lists(st.floats(-700, 700, width=32), min_size=1, max_size=5),
)
def test_any_class_name_and_logit_survives_a_csv_round_trip(tmp_path_factory, classes, values):
    path = tmp_path_factory.mktemp("p") / "p.csv"
    n_outputs = 1 if len(classes) == 2 else len(classes)
    table = make_predictions(
        make.frame([classes[0]] * len(values)),
        tuple(classes),
        np.tile(np.array(values, dtype=np.float32)[:, None], n_outputs),
        calibrator=make.calibrator(n_outputs),
        decisions=Decisions(),
        failures={},
    )
    write_predictions(table, path)
    pd.testing.assert_frame_equal(read_predictions(path, AUTO).frame, table.frame)


def test_class_named_na_is_not_taken_for_missing(tmp_path):
    table = make_predictions(
        make.frame(["NA", "7"], patient=["007", "NA"]),
        ("7", "NA"),
        np.zeros((2, 1)),
        calibrator=make.calibrator(),
        decisions=Decisions(),
        failures={},
    )
    write_predictions(table, tmp_path / "p.csv")
    again = read_predictions(tmp_path / "p.csv", AUTO)
    assert again.truth.tolist() == [1, 0]
    assert again.patients.tolist() == ["007", "NA"]


def test_digest_changes_with_a_probability():
    table = make.binary(n=2)
    changed = table.frame.assign(probability_opacity=[0.1, 0.2])
    assert Predictions(changed, table.classes).digest() != table.digest()


def test_failed_writing_leaves_nothing(tmp_path):
    (tmp_path / "p.csv").mkdir()
    with pytest.raises(MachineError):
        write_predictions(make.binary(n=2), tmp_path / "p.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_own_table_with_a_hole_in_its_logits_is_refused(tmp_path):
    table = make.binary(n=2).frame
    table.loc[1, "logit_opacity"] = np.nan
    table.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(DataError, match="row 1"):
        read_predictions(tmp_path / "p.csv", AUTO)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_a_table_of_this_package_is_known(tmp_path, name):
    write_predictions(make.binary(n=2), tmp_path / name)
    assert is_own_table(tmp_path / name)
    assert not is_own_table(written(tmp_path, "y,p\n1,0.75\n"))


# ---------------------------------------------------------------- other programs' tables


def test_zero_one_table_is_read_with_logits_of_its_probabilities(tmp_path):
    table = read_predictions(written(tmp_path, "y,p\n1,0.75\n0,0.5\n,0.25\n"), AUTO)
    assert table.classes == ("0", "1")
    assert table.truth.tolist() == [1, 0, -1]
    assert np.allclose(table.logits[:, 0], [np.log(3), 0, -np.log(3)])
    assert table.frame["image"].tolist() == ["0", "1", "2"]


def test_certain_probabilities_have_infinite_logits(tmp_path):
    assert read_predictions(written(tmp_path, "y,p\n1,1\n0,0\n"), AUTO).logits[:, 0].tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("text", ["True,0.9\nFalse,0.1", "1.0,0.9\n0.0,0.1", "1,0.9\n0,0.1"])
def test_every_spelling_of_zero_and_one_is_understood(tmp_path, text):
    assert read_predictions(written(tmp_path, f"truth,p\n{text}\n"), AUTO).truth.tolist() == [1, 0]


def test_parquet_with_numbers_and_booleans_is_understood(tmp_path):
    table = pd.DataFrame({"label": [True, False], "probability": [0.9, 0.1], "patient_id": [7, 8]})
    table.to_parquet(tmp_path / "p.parquet")
    read = read_predictions(tmp_path / "p.parquet", AUTO)
    assert read.truth.tolist() == [1, 0]
    assert read.patients.tolist() == ["7", "8"]


def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfy,p\n1,0.75\n0,0.5\n")
    assert read_predictions(path, AUTO).truth.tolist() == [1, 0]


def test_probability_column_names_the_positive_class(tmp_path):
    table = read_predictions(written(tmp_path, "label,probability_opacity\nopacity,0.9\nclear,0.2\n"), AUTO)
    assert table.classes == ("clear", "opacity")


def test_zero_one_truth_takes_the_name_of_the_probability_column(tmp_path):
    table = read_predictions(written(tmp_path, "label,probability_opacity\n1,0.9\n0,0.2\n"), AUTO)
    assert table.classes == ("not opacity", "opacity")
    assert table.truth.tolist() == [1, 0]


def test_positive_class_alone_still_has_a_negative(tmp_path):
    table = read_predictions(written(tmp_path, "label,probability_opacity\nopacity,0.9\n"), AUTO)
    assert table.classes == ("not opacity", "opacity")


def test_one_column_per_class_is_read_in_order(tmp_path):
    text = "file,truth,probability_a,probability_b,probability_c,sex\nx.png,b,0.2,0.5,0.3,F\n"
    table = read_predictions(written(tmp_path, text), AUTO)
    assert table.classes == ("a", "b", "c")
    assert np.allclose(np.exp(table.logits), table.probability)
    assert table.frame[["image", "sex", "decision"]].iloc[0].tolist() == ["x.png", "F", "b"]


def test_columns_can_be_named(tmp_path):
    text = "who,risk,outcome\nanna,0.9,1\nbert,0.2,0\n"
    columns = ColumnSettings(truth="outcome", probability="risk", patient="who")
    table = read_predictions(written(tmp_path, text), columns)
    assert table.patients.tolist() == ["anna", "bert"]
    assert table.truth.tolist() == [1, 0]


def test_status_of_another_table_excuses_empty_probabilities(tmp_path):
    table = read_predictions(written(tmp_path, "y,p,status\n1,0.9,ok\n0,,broken\n"), AUTO)
    assert table.frame["status"].tolist() == ["ok", "unreadable"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y,p\n1,0.9\n0,nan\n", "row 1"),
        ("y,p\n1,0.9\n0,\n", "row 1"),
        ("y,p\n1,0.9\n0,1.5\n", "outside 0 to 1 in row 1"),
        ("y,p\n1,0.9\n0,high\n", "'high'"),
        ("y,p\n1,0.9\n0,inf\n", "not finite in row 1"),
        ("y,p\n1,0.9\n-1,0.3\n", "which class is positive"),
        ("y,p\nclear,0.9\nopacity,0.3\n", "which class is positive"),
        ("y,value\n1,0.9\n", "no column with probabilities"),
        ("y,probability_x\na,0.9\nb,0.3\n", "which class is positive"),
        ("truth,probability_a,probability_b\na,0.5,0.6\n", "do not add up to 1 in row 0"),
        ("truth,probability_a,probability_b,probability_c\nd,0.5,0.3,0.2\n", "'d'"),
        ("", "cannot be read"),
    ],
)
def test_table_that_cannot_be_judged_is_refused_with_the_rows(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_predictions(written(tmp_path, text), AUTO)


def test_unknown_column_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match="'outcom'") as caught:
        read_predictions(written(tmp_path, "outcome,p\n1,0.5\n"), ColumnSettings(truth="outcom"))
    assert "'outcome'" in caught.value.hint


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "table.xlsx"])
def test_file_that_is_no_table_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=name):
        read_predictions(tmp_path / name, AUTO)


def test_parquet_that_is_none_is_refused(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "p.parquet", AUTO)


def test_lines_that_are_longer_than_the_header_shift_no_column(tmp_path):
    with pytest.raises(DataError, match="Expected 4 fields in line 2, saw 5") as caught:
        read_predictions(written(tmp_path, "truth,p,y,probability\n9,1,0.5,0,0.25\n9,0,0.5,1,0.75\n"), AUTO)
    assert "\n" not in caught.value.problem


def test_a_column_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="more than one column 'probability_a'"):
        read_predictions(written(tmp_path, "y,probability_a,probability_a\na,0.4,0.6\n"), AUTO)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_another_separator_is_recognised(tmp_path, mark):
    with pytest.raises(DataError, match="no column with probabilities, only 'truth") as caught:
        read_predictions(written(tmp_path, "truth,p\n1,0.75\n".replace(",", mark)), AUTO)
    assert "commas" in caught.value.hint


def test_an_ending_in_capitals_is_an_ending(tmp_path):
    path = written(tmp_path, "truth,p\n1,0.75\n").rename(tmp_path / "P.CSV")
    assert read_predictions(path, AUTO).truth.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("truth,p\n1,0.8\n", ColumnSettings(probability="truth"), "both the truth and the probability"),
        ("a,b\n1,0.8\n", ColumnSettings(truth="a", score="a"), "both the truth and the probability"),
        ("truth,p,status\n1,0.8,final\n", AUTO, "no row of column 'status' is ok, unreadable, refused, but final"),
        ("y_a,p_a,p_b\n1,0.8,0.3\n", AUTO, "there is no truth of 'p_b'"),
        ("y_a,p_a,y_b,p_b\n1,0.8,0,0.3\n", ColumnSettings(probability="p_a"), "are not for the labels a, b"),
        ("y_a,p_a,y_b,p_b\n1,0.8,0,0.3\n", ColumnSettings(score="p_a"), "are not for the labels a, b"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(tmp_path, text, columns, words):
    with pytest.raises(DataError, match=words):
        read_predictions(written(tmp_path, text), columns)


LABELS = "truth_a,probability_a,truth_b,probability_b\n1,0.8,0,0.3\n"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"truth_a": None}, "lack truth_a"),
        ({"truth_b": None}, "lack truth_b"),
        ({"frame": ""}, "no number of a frame in row 0"),
        ({"frame": "0.5"}, "no number of a frame in row 0"),
        ({"status": "done"}, "no row of column 'status'"),
    ],
)
def test_an_own_table_that_was_changed_is_refused(tmp_path, changed, words):
    write_predictions(read_predictions(written(tmp_path, LABELS), AUTO), tmp_path / "own.csv")
    table = pd.read_csv(tmp_path / "own.csv", dtype=str, keep_default_na=False)
    for name, value in changed.items():
        table = table.drop(columns=name) if value is None else table.assign(**{name: value})
    table.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(DataError, match=words):
        read_predictions(tmp_path / "own.csv", AUTO)
