"""Patients come from one source at a time, or the command stops."""

import pandas as pd
import pytest

from effmed.data.scan.patients import find_patients
from effmed.errors import DataError, RecipeError
from effmed.recipe import DataSettings


def frame(images, patients):
    return pd.DataFrame({"image": images, "frame": 0, "patient": patients}).astype({"patient": "string"})


def found(images, patients, column=None, *, required=True, **settings):
    return find_patients(frame(images, patients), column, DataSettings(**settings), required=required)


def test_the_label_table_comes_first():
    patients = found(["a_1.png", "b_1.png"], ["p", "q"], "pid", patient_pattern="^([^_]+)_", one_image_per_patient=True)
    assert list(patients.ids) == ["p", "q"]
    assert patients.reason == "patients from column 'pid' of the label table"


def test_the_headers_come_second():
    patients = found(["a_1.dcm", "b_1.dcm"], ["p", "q"], patient_pattern="^([^_]+)_")
    assert list(patients.ids) == ["p", "q"]
    assert "DICOM headers" in patients.reason


def test_the_pattern_comes_third():
    patients = found(["x/a_1.png", "x/b_1.png", "y/a_2.png"], [None] * 3, patient_pattern="/([^_]+)_")
    assert list(patients.ids) == ["a", "b", "a"]
    assert "pattern /([^_]+)_ in the path" in patients.reason


def test_the_pattern_is_used_for_all_images_where_headers_know_some_only():
    patients = found(["a_1.png", "a_2.dcm"], [None, "P-17"], patient_pattern="^([^_]+)_")
    assert list(patients.ids) == ["a", "a"]


def test_the_users_word_comes_last_and_leaves_known_patients_together():
    patients = found(["a.dcm", "b.dcm", "c.png"], ["p", "p", None], one_image_per_patient=True)
    assert list(patients.ids) == ["p", "p", "c.png"]
    assert "set by the recipe" in patients.reason


def test_one_id_for_all_images_tells_nobody_apart():
    with pytest.raises(DataError, match="all 2 images have the same PatientID") as caught:
        found(["a.dcm", "b.dcm"], ["ANON", "ANON"])
    assert "data.patient_pattern" in caught.value.hint


def test_one_id_for_all_images_gives_way_to_the_users_word():
    assert found(["a.dcm", "b.dcm"], ["ANON"] * 2, one_image_per_patient=True).ids.nunique() == 2


def test_missing_patients_are_refused_with_every_remedy():
    with pytest.raises(DataError, match=r"1 of 2 images have no patient: b.png") as caught:
        found(["a.png", "b.png"], ["p", None])
    for remedy in ("patient_id", "data.patient_pattern=", "data.one_image_per_patient=true"):
        assert remedy in caught.value.hint


def test_empty_cells_of_the_patient_column_are_refused():
    with pytest.raises(
        DataError, match=r"column 'pid' of the label table names no patient for 1 images: b.png"
    ) as caught:
        found(["a.png", "b.png"], ["p", None], "pid", one_image_per_patient=True)
    assert "--set data.patient_column=NAME" in caught.value.hint


@pytest.mark.parametrize("image", ["nothing.png", "_.png"])
def test_a_pattern_that_finds_no_patient_is_refused(image):
    with pytest.raises(DataError, match="finds no patient in 1 paths: ") as caught:
        found(["a_1.png", image], [None, None], patient_pattern="^([^_]*)_")
    assert "widen the pattern" in caught.value.hint


@pytest.mark.parametrize(("pattern", "why"), [("(", "not a regular expression"), ("^[^_]+", "has no group")])
def test_a_pattern_that_cannot_work_is_a_mistake_in_the_recipe(pattern, why):
    with pytest.raises(RecipeError, match=why) as caught:
        found(["a_1.png"], [None], patient_pattern=pattern)
    assert "'^([^_/]+)_'" in caught.value.hint


@pytest.mark.parametrize(
    ("patients", "column", "pattern", "ids"),
    [
        (["p", None], None, "", ["p", ""]),
        ([None, None], None, "", ["", ""]),
        (["p", None], "pid", "", ["p", ""]),
        ([None, None], None, "^(a)", ["a", ""]),
        (["p", "p"], None, "", ["p", "p"]),
    ],
)
def test_patients_that_are_not_needed_are_never_missed(patients, column, pattern, ids):
    known = found(["a_1.png", "b_1.png"], patients, column, required=False, patient_pattern=pattern)
    assert known.ids.fillna("").tolist() == ids
