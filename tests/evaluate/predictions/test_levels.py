"""Frames of a file, images of a study or patient become one row: by a rule, and never by some of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effmed.errors import DataError, RecipeError
from effmed.evaluate.discrimination import auroc
from effmed.evaluate.predictions import Scores, join_predictions, join_scores, read_predictions
from effmed.evaluate.predictions.labels import ABSENT, BLANK, PRESENT, UNCERTAIN
from effmed.recipe import ColumnSettings

FAILED = ("is cut off", "copy it again")


def scores(images, logits, failures=None, **columns):
    """Rows in the order of ``images``; the frames of each count from 0 unless said otherwise."""
    rows = pd.DataFrame({"image": pd.array(images, dtype="string")})
    rows["frame"] = rows.groupby("image").cumcount()
    values = np.asarray(logits, dtype=np.float32)
    return Scores(rows.assign(**columns), values if values.ndim == 2 else values[:, np.newaxis], failures or {})


def test_the_mean_is_over_the_frames_of_each_output():
    joined = join_scores(scores(["a", "a", "b"], [[1, 10], [2, 40], [7, -1]]), "image", "mean")
    assert joined.rows["image"].tolist() == ["a", "b"]
    assert joined.logits.tolist() == [[1.5, 25], [7, -1]]
    assert joined.failures == {}


def test_the_maximum_is_taken_of_each_output():
    assert join_scores(scores(["a", "a", "b"], [[-3, 10], [-2, 4], [7, -1]]), "image", "max").logits.tolist() == [
        [-2, 10],
        [7, -1],
    ]


def test_a_file_is_the_row_of_its_first_frame_as_frame_0():
    made = scores(["b", "a", "b", "a"], [1, 2, 3, 4], frame=[2, 1, 1, 0], window=["b2", "a1", "b1", "a0"])
    joined = join_scores(made, "image", "mean")
    assert joined.rows["image"].tolist() == ["b", "a"]
    assert joined.rows["frame"].tolist() == [0, 0]
    assert joined.rows["window"].tolist() == ["b1", "a0"]
    assert joined.logits.tolist() == [[2], [3]]


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_a_file_with_a_failed_frame_has_failed_and_the_reason_names_the_frame(rule):
    made = scores(["a", "b", "a", "a"], [1, 2, 100, 4], {2: FAILED, 3: ("other", "hint")})
    joined = join_scores(made, "image", rule)
    assert joined.failures == {0: ("frame 1 (the first is 0): is cut off", "copy it again")}
    assert np.isnan(joined.logits[0]).all()
    assert joined.logits[1].tolist() == [2]


def test_a_failed_file_of_one_frame_keeps_its_reason():
    assert join_scores(scores(["a", "b"], [1, np.nan], {1: FAILED}), "image", "mean").failures == {1: FAILED}


def test_what_is_joined_stays_as_it_was():
    made = scores(["a", "a"], [1, 2], {0: FAILED})
    made = Scores(made.rows, made.logits.astype(np.float64), made.failures)
    join_scores(made, "image", "mean")
    assert made.logits.tolist() == [[1], [2]]
    assert made.rows["frame"].tolist() == [0, 1]


def test_a_patient_has_an_attribute_on_which_its_images_agree_and_no_other():
    made = scores(
        ["a", "b", "c", "d"],
        [1, 2, 3, 4],
        patient=["P", "Q", "P", "Q"],
        view=["PA", "PA", "LAT", "PA"],
        sex=["F", None, "F", "M"],
        age=[40.0, 50.0, 41.0, 50.0],
    )
    rows = join_scores(made, "patient", "mean").rows
    assert rows["view"].isna().tolist() == [True, False]
    assert rows["sex"].tolist() == ["F", "M"]
    assert rows["age"].isna().tolist() == [True, False]


def test_nothing_stays_nothing():
    joined = join_scores(scores([], np.empty((0, 3))), "image", "mean")
    assert (len(joined.rows), len(joined.logits), joined.failures) == (0, 0, {})


@pytest.mark.parametrize("column", ["label", "patient", "split"])
def test_frames_of_one_file_with_different_truths_are_refused(column):
    with pytest.raises(DataError, match=f"more than one {column}: b"):
        join_scores(scores(["a", "b", "b"], [1, 2, 3], **{column: ["x", "x", "y"]}), "image", "mean")
    with pytest.raises(DataError, match=f"more than one {column}: b"):
        join_scores(scores(["a", "b", "b"], [1, 2, 3], **{column: ["x", "x", None]}), "image", "mean")
    join_scores(scores(["a", "b", "b"], [1, 2, 3], **{column: ["x", "y", "y"]}), "image", "mean")


def test_logits_of_other_images_are_refused():
    made = scores(["a", "a"], [1, 2])
    with pytest.raises(DataError, match="3 rows of logits for 2 images"):
        join_scores(Scores(made.rows, np.zeros((3, 1)), {}), "image", "mean")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-50, 50, width=32)), min_size=1), st.randoms())
def test_each_file_is_what_numpy_says_of_its_frames_in_any_order(pairs, chance):
    images, values = zip(*pairs, strict=True)
    made = scores(images, values)
    order = list(range(len(images)))
    chance.shuffle(order)
    for rule, of in (("mean", np.mean), ("max", np.max)):
        shuffled = Scores(made.rows.iloc[order], made.logits[order], {})
        for joined in (join_scores(made, "image", rule), join_scores(shuffled, "image", rule)):
            found = dict(zip(joined.rows["image"], joined.logits[:, 0], strict=True))
            groups = {name: [v for image, v in pairs if image == name] for name in images}
            assert found == {name: pytest.approx(of(np.float64(group))) for name, group in groups.items()}


# ---------------------------------------------------------------- studies and patients


def patients(names, logits, labels=None, failures=None, **columns):
    images = [f"i{row}" for row in range(len(names))]
    return scores(images, logits, failures, patient=names, label=labels or ["clear"] * len(names), **columns)


@pytest.mark.parametrize("rule", ["mean", "max", "noisy-or"])
def test_a_patient_is_what_numpy_says_of_its_images(rule):
    z = np.array([0.3, -2.0, 4.0, 1.0])
    p = 1 / (1 + np.exp(-z))
    either = 1 - (1 - p[[0, 2]]).prod()
    expected = {"mean": z[[0, 2]].mean(), "max": 4.0, "noisy-or": np.log(either / (1 - either))}[rule]
    joined = join_scores(patients(["x", "y", "x", "z"], z), "patient", rule, positive="sick")
    assert joined.rows["patient"].tolist() == ["x", "y", "z"]
    assert joined.logits[:, 0].tolist() == pytest.approx([expected, -2.0, 1.0], rel=1e-5)


def test_noisy_or_of_certain_images_stays_finite():
    joined = join_scores(patients(["x", "x"], [800.0, -800.0]), "patient", "noisy-or", positive="sick")
    assert joined.logits[0, 0] == pytest.approx(800.0)


def test_a_patient_is_positive_as_soon_as_one_image_is():
    made = patients(["x", "x", "y", "y", "z", "z"], np.zeros(6), ["clear", "sick", "clear", "clear", "clear", None])
    labels = join_scores(made, "patient", "max", positive="sick").rows["label"]
    assert [None if pd.isna(each) else each for each in labels] == ["sick", "clear", None]


def test_images_of_several_classes_must_agree_within_a_patient():
    made = patients(["x", "x"], np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(DataError, match="images of one patient have more than one label: x"):
        join_scores(made, "patient", "mean")


def test_noisy_or_of_exclusive_classes_is_refused():
    with pytest.raises(RecipeError, match="noisy-or is for two classes, not for 3"):
        join_scores(patients(["x", "x"], np.zeros((2, 3)), ["a", "a"]), "patient", "noisy-or")


def test_a_patient_with_a_failed_image_has_failed_and_the_image_is_named():
    made = patients(["x", "x", "y"], [1, 2, 3], failures={1: FAILED})
    joined = join_scores(made, "patient", "mean", positive="sick")
    assert joined.failures == {0: ("i1: is cut off", "copy it again")}
    assert np.isnan(joined.logits[0, 0])


def test_an_image_of_an_unknown_patient_stays_alone():
    joined = join_scores(patients(["x", None, None, "x"], [1, 2, 3, 5]), "patient", "mean", positive="sick")
    assert joined.logits[:, 0].tolist() == [3, 2, 3]


def test_without_any_patient_there_is_no_level_of_patients():
    with pytest.raises(DataError, match="no image has a patient") as caught:
        join_scores(patients([None, None], [1, 2]), "patient", "mean", positive="sick")
    assert "data.patient_column" in caught.value.hint


def read(folder, text):
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_predictions(path, ColumnSettings())


CLUSTERED = Path(__file__).parent.parent / "vectors" / "clustered.csv"
LEVELS = json.loads((CLUSTERED.parent / "expected.json").read_text())["r"]["clustered"]["patient_level"]


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_reference_aurocs_of_patients_are_reached(tmp_path, rule):
    table = pd.read_csv(CLUSTERED).rename(columns={"p_a": "p"})[["patient", "image", "y", "p"]]
    joined = join_predictions(read(tmp_path, table.to_csv(index=False)), "patient", rule)
    expected = LEVELS[f"score_{rule}"]
    found = auroc(joined.truth, joined.probability[:, 1])
    assert (found.n_events, found.n) == (140, 220)
    assert found.value == pytest.approx(expected["auc_pROC"], abs=1e-10)
    assert [found.low, found.high] == pytest.approx(expected["ci95_delong_logit_t_minmn_df"], abs=1e-10)


def test_noisy_or_of_a_table_is_one_minus_the_product(tmp_path):
    joined = join_predictions(read(tmp_path, "y,p,patient\n0,0.5,x\n1,0.2,x\n0,1,y\n"), "patient", "noisy-or")
    assert joined.probability[:, 1].tolist() == pytest.approx([0.6, 1.0])
    assert joined.frame["truth"].tolist() == ["1", "0"]
    assert np.isposinf(joined.logits[1, 0])


def test_labels_of_a_patient_are_present_before_uncertain_before_blank_before_absent(tmp_path):
    text = "patient,y_a,p_a,y_b,p_b\nx,1,0.9,0,0.1\nx,-1,0.2,,0.4\ny,-1,0.2,0,0.4\ny,,0.3,0,0.2\n"
    joined = join_predictions(read(tmp_path, text), "patient", "max")
    assert joined.labels.tolist() == [[PRESENT, BLANK], [UNCERTAIN, ABSENT]]
    assert joined.probability.tolist() == [[0.9, 0.4], [0.3, 0.4]]


def test_three_classes_of_a_patient_add_up_to_one(tmp_path):
    text = "patient,y,probability_a,probability_b,probability_c\nx,a,0.5,0.3,0.2\nx,a,0.1,0.3,0.6\n"
    joined = join_predictions(read(tmp_path, text), "patient", "max")
    assert joined.probability[0].tolist() == pytest.approx(np.array([0.5, 0.3, 0.6]) / 1.4)
    assert joined.frame["decision"].tolist() == ["c"]


def test_a_patient_with_an_unreadable_row_is_unreadable(tmp_path):
    joined = join_predictions(
        read(tmp_path, "patient,y,p,status\nx,1,0.5,ok\nx,1,,bad\ny,0,0.2,ok\n"), "patient", "max"
    )
    assert joined.frame["status"].tolist() == ["unreadable", "ok"]
    assert len(joined.readable) == 1


def test_the_level_of_images_changes_nothing(tmp_path):
    table = read(tmp_path, "y,p,patient\n0,0.5,x\n1,0.2,x\n")
    assert join_predictions(table, "image", "max") is table


def test_a_patient_of_a_table_belongs_to_no_subgroup_of_some_of_its_images(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "image,patient,truth,probability,view,ward\na,P,0,.1,PA,1\nb,P,1,.9,LAT,1\nc,Q,0,.2,PA,2\nd,Q,0,.3,PA,3\n"
    )
    frame = join_predictions(read_predictions(path, ColumnSettings(), ("ward",)), "patient", "mean").frame
    assert frame["view"].isna().tolist() == [True, False]
    assert frame["ward"].isna().tolist() == [False, True]


def test_noisy_or_of_mere_scores_is_refused_in_these_words(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("image,patient,truth,points\na,P,0,10\nb,P,1,90\n")
    table = read_predictions(path, ColumnSettings(score="points"))
    with pytest.raises(RecipeError, match="noisy-or is for probabilities, not for mere scores"):
        join_predictions(table, "patient", "noisy-or")


def test_a_unit_has_every_label_that_one_of_its_images_has():
    labels = {"label_a": pd.array(["0", "1", "0", None], dtype="string"), "label_b": pd.array(["0", "-1", None, None])}
    made = scores(["w", "x", "y", "z"], np.arange(8.0).reshape(4, 2), patient=["p", "p", "q", "q"], **labels)
    joined = join_scores(made, "patient", "max")
    assert joined.rows["label_a"].fillna("?").tolist() == ["1", "?"]
    assert joined.rows["label_b"].fillna("?").tolist() == ["-1", "?"]
    assert joined.logits.tolist() == [[2, 3], [6, 7]]
    assert np.isfinite(join_scores(made, "patient", "noisy-or").logits).all()
