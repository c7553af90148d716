"""Frames of a file become one row: by the mean or the maximum, and never by some of the frames."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effmed.errors import DataError
from effmed.evaluate.predictions import Scores, join_frames

FAILED = ("is cut off", "copy it again")


def scores(images, logits, failures=None, **columns):
    """Rows in the order of ``images``; the frames of each count from 0 unless said otherwise."""
    rows = pd.DataFrame({"image": pd.array(images, dtype="string")})
    rows["frame"] = rows.groupby("image").cumcount()
    values = np.asarray(logits, dtype=np.float32)
    return Scores(rows.assign(**columns), values if values.ndim == 2 else values[:, np.newaxis], failures or {})


def test_the_mean_is_over_the_frames_of_each_output():
    joined = join_frames(scores(["a", "a", "b"], [[1, 10], [2, 40], [7, -1]]), "mean")
    assert joined.rows["image"].tolist() == ["a", "b"]
    assert joined.logits.tolist() == [[1.5, 25], [7, -1]]
    assert joined.failures == {}


def test_the_maximum_is_taken_of_each_output():
    assert join_frames(scores(["a", "a", "b"], [[-3, 10], [-2, 4], [7, -1]]), "max").logits.tolist() == [
        [-2, 10],
        [7, -1],
    ]


def test_a_file_is_the_row_of_its_first_frame_as_frame_0():
    made = scores(["b", "a", "b", "a"], [1, 2, 3, 4], frame=[2, 1, 1, 0], window=["b2", "a1", "b1", "a0"])
    joined = join_frames(made, "mean")
    assert joined.rows["image"].tolist() == ["b", "a"]
    assert joined.rows["frame"].tolist() == [0, 0]
    assert joined.rows["window"].tolist() == ["b1", "a0"]
    assert joined.logits.tolist() == [[2], [3]]


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_a_file_with_a_failed_frame_has_failed_and_the_reason_names_the_frame(rule):
    made = scores(["a", "b", "a", "a"], [1, 2, 100, 4], {2: FAILED, 3: ("other", "hint")})
    joined = join_frames(made, rule)
    assert joined.failures == {0: ("frame 1 (the first is 0): is cut off", "copy it again")}
    assert np.isnan(joined.logits[0]).all()
    assert joined.logits[1].tolist() == [2]


def test_a_failed_file_of_one_frame_keeps_its_reason():
    assert join_frames(scores(["a", "b"], [1, np.nan], {1: FAILED}), "mean").failures == {1: FAILED}


def test_what_is_joined_stays_as_it_was():
    made = scores(["a", "a"], [1, 2], {0: FAILED})
    made = Scores(made.rows, made.logits.astype(np.float64), made.failures)
    join_frames(made, "mean")
    assert made.logits.tolist() == [[1], [2]]
    assert made.rows["frame"].tolist() == [0, 1]


def test_nothing_stays_nothing():
    joined = join_frames(scores([], np.empty((0, 3))), "mean")
    assert (len(joined.rows), len(joined.logits), joined.failures) == (0, 0, {})


@pytest.mark.parametrize("column", ["label", "patient", "split"])
def test_frames_of_one_file_with_different_truths_are_refused(column):
    with pytest.raises(DataError, match=f"more than one {column}: b"):
        join_frames(scores(["a", "b", "b"], [1, 2, 3], **{column: ["x", "x", "y"]}), "mean")
    with pytest.raises(DataError, match=f"more than one {column}: b"):
        join_frames(scores(["a", "b", "b"], [1, 2, 3], **{column: ["x", "x", None]}), "mean")
    join_frames(scores(["a", "b", "b"], [1, 2, 3], **{column: ["x", "y", "y"]}), "mean")


def test_logits_of_other_images_are_refused():
    made = scores(["a", "a"], [1, 2])
    with pytest.raises(DataError, match="3 rows of logits for 2 images"):
        join_frames(Scores(made.rows, np.zeros((3, 1)), {}), "mean")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-50, 50, width=32)), min_size=1), st.randoms())
def test_each_file_is_what_numpy_says_of_its_frames_in_any_order(pairs, chance):
    images, values = zip(*pairs, strict=True)
    made = scores(images, values)
    order = list(range(len(images)))
    chance.shuffle(order)
    for rule, of in (("mean", np.mean), ("max", np.max)):
        shuffled = Scores(made.rows.iloc[order], made.logits[order], {})
        for joined in (join_frames(made, rule), join_frames(shuffled, rule)):
            found = dict(zip(joined.rows["image"], joined.logits[:, 0], strict=True))
            groups = {name: [v for image, v in pairs if image == name] for name in images}
            assert found == {name: pytest.approx(of(np.float64(group))) for name, group in groups.items()}
