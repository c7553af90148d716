"""Rows are matched by image; what is not about the same images is refused, and what is left out is counted."""

import numpy as np
import pytest

from effmed.errors import DataError
from effmed.evaluate.comparison.pairing import Judged, make_pair
from effmed.evaluate.predictions import Predictions, read_predictions
from effmed.recipe import ColumnSettings
from tests.evaluate.comparison.make import several, some, table, two

NAMES = ("A", "B")


def shuffled(predictions, seed=0):
    return Predictions(predictions.frame.sample(frac=1, random_state=seed).reset_index(drop=True), predictions.classes)


def with_column(predictions, name, values):
    return Predictions(predictions.frame.assign(**{name: values}), predictions.classes)


def test_the_order_of_rows_does_not_matter():
    first, second = two()
    plain, mixed = make_pair(first, second, NAMES), make_pair(first, shuffled(second), NAMES)
    assert np.array_equal(plain.second.probability, mixed.second.probability)
    assert np.array_equal(plain.truth, mixed.truth)
    assert not np.array_equal(shuffled(second).probability, second.probability)


def test_frames_of_one_file_are_images_of_their_own():
    truth, one, other, _ = some(10)
    ids = {"image": "all.dcm", "frame": np.arange(10)}
    first = table(truth, one, **ids | {"image": ["all.dcm"] * 10})
    second = table(truth, other, **ids | {"image": ["all.dcm"] * 10})
    assert np.array_equal(make_pair(first, shuffled(second), NAMES).second.probability[:, 1], other)


def test_different_images_are_refused_with_the_first_ten_and_the_total():
    truth, one, other, _ = some(20)
    second = table(truth, other, image=[f"other {row}" for row in range(20)])
    with pytest.raises(DataError, match=r"20 images stand in A alone: image 0, .*image 9 … \(20 in all\)"):
        make_pair(table(truth, one), second, NAMES)


@pytest.mark.parametrize("shorter", [0, 1])
def test_an_image_that_only_one_table_has_is_refused(shorter):
    truth, one, other, _ = some(20)
    keep = [20, 20]
    keep[shorter] = 19
    tables = [table(truth[:n], each[:n]) for n, each in zip(keep, (one, other), strict=True)]
    with pytest.raises(DataError, match=rf"1 images stand in {NAMES[1 - shorter]} alone: image 19"):
        make_pair(*tables, NAMES)


def test_an_image_that_occurs_twice_is_refused():
    truth, one, other, _ = some(4)
    twice = table(truth, other, image=["image 0", "image 1", "image 0", "image 3"])
    with pytest.raises(DataError, match=r"more than once in B: image 0$"):
        make_pair(table(truth, one), twice, NAMES)


def test_a_row_without_an_image_is_refused():
    truth, one, other, _ = some(4)
    with pytest.raises(DataError, match="1 rows of B do not say which image"):
        make_pair(table(truth, one), table(truth, other, image=["image 0", "", "image 2", "image 3"]), NAMES)


def test_another_truth_is_refused():
    truth, one, other, _ = some(10)
    changed = truth.copy()
    changed[3] = 1 - changed[3]
    with pytest.raises(DataError, match="1 images have another truth in A than in B: image 3"):
        make_pair(table(truth, one), shuffled(table(changed, other)), NAMES)


def test_another_patient_is_refused():
    truth, one, other, patient = some(10)
    first, second = table(truth, one, patient=patient), table(truth, other, patient=[*patient[:9], "P0"])
    with pytest.raises(DataError, match="1 images have another patient in A than in B: image 9"):
        make_pair(first, second, NAMES)


@pytest.mark.parametrize("gap", [0, 1])
def test_patients_that_one_table_does_not_know_are_the_other_s(gap):
    truth, one, other, patient = some(10, images=2)
    given = [patient, patient]
    given[gap] = None
    tables = [table(truth, each, patient=who) for each, who in zip((one, other), given, strict=True)]
    pair = make_pair(*tables, NAMES)
    assert pair.patients.tolist() == patient
    assert pair.warnings == (
        f"{NAMES[gap]} does not say the patients of 10 images: those of {NAMES[1 - gap]} were taken.",
    )


def test_without_patients_images_are_independent():
    truth, one, other, _ = some(10)
    assert make_pair(table(truth, one), table(truth, other), NAMES).patients is None


def test_an_image_without_a_patient_among_others_is_refused():
    truth, one, other, patient = some(10)
    with pytest.raises(DataError, match="no patient is given for 1 images: image 4"):
        make_pair(*(table(truth, each, patient=[*patient[:4], None, *patient[5:]]) for each in (one, other)), NAMES)


def test_other_classes_are_refused():
    truth, one, other, _ = some(10)
    with pytest.raises(DataError, match="classes of A are clear, opacity, those of B are clear, nodule"):
        make_pair(table(truth, one), table(truth, other, classes=("clear", "nodule")), NAMES)


def test_of_two_classes_the_order_matters_because_it_says_which_is_positive():
    truth, one, other, _ = some(10)
    turned = table(1 - truth, 1 - other, classes=("opacity", "clear"))
    with pytest.raises(DataError, match="those of B are opacity, clear"):
        make_pair(table(truth, one), turned, NAMES)


def test_of_more_classes_the_order_of_columns_does_not_matter():
    first, second = several()
    turned = Predictions(second.frame, ("c", "a", "b"))
    plain, other = make_pair(first, second, NAMES), make_pair(first, turned, NAMES)
    assert np.array_equal(plain.second.probability, other.second.probability)
    assert other.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        (((2, 5), (2, 5)), "2 images unreadable or of unknown truth in both tables are left out."),
        (((2,), ()), "1 image readable in only one of the two tables is left out."),
        (((), (2, 5)), "2 images readable in only one of the two tables are left out."),
    ],
)
def test_unreadable_images_are_left_out_of_both_tables_and_counted(failed, says):
    truth, one, other, _ = some(10)
    status = [["unreadable" if row in rows else "ok" for row in range(10)] for rows in failed]
    tables = [table(truth, each, status=kind) for each, kind in zip((one, other), status, strict=True)]
    pair = make_pair(*tables, NAMES)
    gone = set(failed[0]) | set(failed[1])
    assert pair.warnings == (says,)
    assert pair.n_left_out == len(gone)
    assert np.array_equal(pair.first.probability[:, 1], np.delete(one, sorted(gone)))


def test_truths_that_one_table_does_not_know_are_left_out_and_counted():
    truth, one, other, _ = some(10)
    pair = make_pair(table(truth, one), table([None, *truth[1:]], other), NAMES)
    assert pair.warnings == ("1 image whose truth only one of the two tables knows is left out.",)
    assert pair.truth.size == 9


def test_nothing_in_common_is_refused():
    truth, one, other, _ = some(10)
    first, second = table(truth, one, status="unreadable"), table(truth, other)
    with pytest.raises(DataError, match="no image is readable and of known truth in both A and B"):
        make_pair(first, second, NAMES)


@pytest.mark.parametrize("named", [(), (0,), (1,)])
def test_tables_without_images_are_matched_by_row_with_a_warning(tmp_path, named):
    truth, one, other, _ = some(10)
    tables = []
    for number, values in enumerate((one, other)):
        ids = "id,y,p\n" if number in named else "y,p\n"
        lines = [f"{row}," * (number in named) + f"{truth[row]},{values[row]}\n" for row in range(10)]
        (tmp_path / f"{number}.csv").write_text(ids + "".join(lines))
        tables.append(read_predictions(tmp_path / f"{number}.csv", ColumnSettings()))
    (says,) = make_pair(*tables, NAMES).warnings
    assert says.startswith("Images were matched by row: A and B names none.")


def test_rows_whose_truths_disagree_are_not_matched_by_number():
    truth, one, other, _ = some(10)
    numbers = {"image": [str(row) for row in range(10)]}
    unknown = [None if row == 7 else int(number) for row, number in enumerate(truth)]
    with pytest.raises(DataError, match="1 images have another truth in A than in B: 7"):
        make_pair(table(truth, one, **numbers), table(unknown, other, **numbers), NAMES)


def test_empty_tables_are_refused():
    empty = table([], np.zeros(0))
    with pytest.raises(DataError, match="no image is readable"):
        make_pair(empty, empty, NAMES)
    with pytest.raises(DataError, match="10 images stand in B alone"):
        make_pair(empty, table(*some(10)[:2]), NAMES)


def test_a_decision_that_is_no_class_is_no_decision():
    first, second = two(10)
    pair = make_pair(first, with_column(second, "decision", ["refer", *["opacity"] * 9]), NAMES)
    assert pair.second.called.tolist() == [-1] + [1] * 9


def test_ranks_keep_apart_what_rounds_to_one_and_tie_what_is_equal():
    rest = np.array([0.5, 0.5, 1e-17, 1e-18, 0.0, 1.0])
    judged = Judged("A", np.column_stack([rest, 1 - rest]), np.zeros(6, dtype=np.int64))
    assert judged.ranks(1).tolist() == [1, 1, 2, 3, 4, 0]
    assert judged.ranks(0).tolist() == [3, 3, 2, 1, 0, 4]


def test_ranks_tie_equal_probabilities_whatever_the_other_classes_have():
    probability = np.array([[0.25, 0.5, 0.25], [0.25, 0.3, 0.45], [0.75, 0.1, 0.15], [0.75, 0.05, 0.2]])
    assert Judged("A", probability, np.zeros(4, dtype=np.int64)).ranks(0).tolist() == [0, 0, 1, 1]
