"""Which rows are joined before they become predictions; the scoring itself is tests/test_end_to_end.py."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from effmed.apply.predict import join_images, with_labels
from effmed.data.records import Manifest
from effmed.evaluate.predictions import Scores
from tests.learn.make import plan

ROWS = pd.DataFrame({"image": ["a", "a", "b"], "frame": [0, 1, 0]})


def joined(root, **changes):
    scores = Scores(ROWS, np.array([[1.0], [2.0], [3.0]]), {})
    return join_images(scores, Manifest(Path(root), ROWS), plan(**changes)).logits.ravel().tolist()


def test_frames_are_joined_by_the_plans_rule_where_it_takes_all_of_them():
    assert joined("data", frames="all") == [1.5, 3]
    assert joined("data", frames="all", frame_rule="max") == [2, 3]


@pytest.mark.parametrize("frames", ["error", "first", "middle"])
def test_nothing_is_joined_where_a_file_is_one_image(frames):
    assert joined("data", frames=frames) == [1, 2, 3]


def test_images_of_an_npz_file_are_not_frames_of_one_another():
    assert joined("pneumonia.npz", frames="all") == [1, 2, 3]


def test_rows_have_a_column_for_each_label_of_the_plan_and_for_no_other():
    rows = pd.DataFrame({"image": ["a"], "label": ["x"], "label_x": ["1"], "label_other": ["1"]})
    many = with_labels(rows, plan(task="multilabel", classes=("y", "x")))
    assert [name for name in many if name.startswith("label")] == ["label_y", "label_x"]
    assert many["label_y"].isna().all()
    assert with_labels(rows, plan()) is rows
