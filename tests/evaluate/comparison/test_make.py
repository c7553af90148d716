"""A comparison as a whole: what it holds, what it warns of, and that no input ends in a traceback."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from effmed.errors import DataError
from effmed.evaluate.comparison import compare
from effmed.evaluate.predictions import Predictions, read_predictions
from effmed.recipe import ColumnSettings
from tests.evaluate import make as whole
from tests.evaluate.comparison.make import FEW_DRAWS, several, some, table, two

NAMES = ("A", "B")
BINARY = [
    "auroc",
    "average_precision",
    "brier",
    "log_loss",
    *["net_benefit"] * 3,
    "sensitivity",
    "specificity",
    "accuracy",
]


def compared(first, second):
    return compare(first, second, FEW_DRAWS, names=NAMES)


def test_two_classes_have_every_measure_once():
    found = compared(*two())
    assert [each.name for each in found.differences] == BINARY
    assert {each.status for each in found.differences} == {"ok"}


def test_more_classes_have_those_of_each_and_of_all():
    names = [(each.name, each.class_name) for each in compared(*several()).differences]
    by_class = {
        name: [(name, about) for about in "abc"] for name in ("auroc", "average_precision", "brier", "net_benefit")
    }
    assert names == [
        *[("macro_auroc", None), *by_class["auroc"], *by_class["average_precision"]],
        *[("brier", None), *by_class["brier"], ("log_loss", None), *by_class["net_benefit"] * 3, ("accuracy", None)],
    ]


def test_it_says_what_was_compared():
    first, second = two(images=2)
    found = compared(first, second)
    assert (found.version, found.names, found.classes) == (1, NAMES, ["clear", "opacity"])
    assert (found.n_images, found.n_patients, found.n_left_out) == (80, 40, 0)
    assert found.images_per_class == {"clear": 53, "opacity": 27}
    assert found.digests == (first.digest(), second.digest())
    assert (found.bootstrap_replicates, found.seed) == (100, 0)


def test_turned_around_every_difference_changes_its_sign():
    first, second = two(images=2)
    for one, other in zip(compared(first, second).differences, compared(second, first).differences, strict=True):
        assert (one.first, one.second) == (other.second, other.first)
        assert one.difference == pytest.approx(-other.difference, abs=1e-12)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
        assert one.p_value == other.p_value


def test_the_order_of_rows_changes_no_number():
    first, second = two(images=2)
    mixed = Predictions(second.frame.sample(frac=1, random_state=3).reset_index(drop=True), second.classes)
    assert compared(first, mixed).differences == compared(first, second).differences


def test_tables_of_this_package_are_compared_by_their_calibrated_probabilities():
    first, second = whole.binary(60), whole.binary(60, seed=1)
    found = {each.name: each for each in compared(first, second).differences}
    assert found["brier"].first == pytest.approx(np.mean((first.probability[:, 1] - first.truth) ** 2), abs=1e-12)
    assert found["sensitivity"].first == ((first.frame["decision"] == "opacity")[first.truth == 1]).mean()


@pytest.mark.parametrize("tables", [two(), two(images=2), several(), several(images=3)])
def test_identical_tables_differ_by_0_and_nothing_is_significant(tables):
    found = compared(tables[0], tables[0])
    assert {each.difference for each in found.differences} == {0}
    assert {each.p_value for each in found.differences} == {1, None}
    assert "Both tables give every image the same probabilities: is this the same network twice?" in found.warnings


def test_names_that_are_alike_are_told_apart():
    first, second = two()
    assert compare(first, second, FEW_DRAWS, names=("x", "x")).names == ("x (first)", "x (second)")


def test_few_cases_are_said_in_patients_where_they_are_known():
    assert compared(*two(images=3)).warnings == [
        "Few cases: 27 patients with images of class 'clear': intervals and p-values are rough, "
        "and a real difference is easily missed."
    ]
    truth, first, second, _ = some(600)
    assert (
        compared(*(table(truth, each, patient=[f"P{k}" for k in range(600)]) for each in (first, second))).warnings
        == []
    )


def test_unknown_patients_a_missing_class_and_a_blind_network_are_said():
    _, first, _, _ = some(60)
    found = compared(table([0] * 60, first), table([0] * 60, [0.3] * 60)).warnings
    assert found == [
        "B gives all images the same probabilities: it does not look at them.",
        "No patients are given: images treated as independent, so intervals may be too narrow.",
        "No image of class 'opacity' is among them: what depends on it is not estimable.",
    ]


def test_a_blind_network_is_compared_with_chance():
    truth, first, _, _ = some()
    found = {each.name: each for each in compared(table(truth, first), table(truth, [0.3] * 80)).differences}
    assert found["auroc"].second == 0.5
    assert found["auroc"].p_value < 0.01


def test_no_patient_and_no_image_is_named():
    first, second = two(images=2)
    text = compared(first, second).model_dump_json()
    assert "image 1" not in text
    assert "P1" not in text


def test_it_is_closed():
    dumped = compared(*two()).model_dump(by_alias=True)
    assert type(compared(*two())).model_validate(dumped) == compared(*two())
    with pytest.raises(ValueError, match="unknown"):
        type(compared(*two())).model_validate({**dumped, "unknown": 1})


PROBABILITIES = st.sampled_from([0.0, 1e-300, 0.1, 0.2, 0.5, 0.9, 1 - 1e-16, 1.0])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 12), n_classes=st.integers(2, 3))
def test_whatever_two_tables_hold_is_a_comparison_or_a_known_error(data, n, n_classes):
    classes = tuple("abc"[:n_classes])
    column = lambda kinds: data.draw(st.lists(kinds, min_size=n, max_size=n))  # noqa: E731  shorter than a function
    truth, patient = column(st.sampled_from([None, *range(n_classes)])), column(st.sampled_from([None, "P1", "P2"]))
    tables = []
    for _ in range(2):
        positive = np.array(column(PROBABILITIES))
        rest = np.zeros((n, n_classes - 2))
        probability = np.column_stack([1 - positive, rest, positive]) if n_classes > 2 else positive
        status, decision = column(st.sampled_from(["ok", "unreadable"])), column(st.sampled_from(["", "a", "b"]))
        tables.append(table(truth, probability, classes=classes, status=status, decision=decision, patient=patient))
    try:
        found = compared(*tables)
    except DataError:
        return
    numbers = pd.json_normalize([each.model_dump() for each in found.differences])
    for name in ("first", "second", "difference", "low", "high", "p_value"):
        assert np.isfinite(numbers[name].dropna().astype(float)).all()
    for each in found.differences:
        assert (each.difference is None) == (each.status == "not_estimable")
        assert each.low is not None or each.reason
        assert each.low is None or each.low <= each.high


def test_scores_that_are_no_probabilities_are_compared_by_their_ranking_alone(tmp_path):
    truth, first, second, _ = some(80)
    read = []
    for name, scores in (("A", 1000 * first), ("B", 1000 * second - 2000)):
        text = "".join(f"{y},{score!r}\n" for y, score in zip(truth, scores.tolist(), strict=True))
        (tmp_path / f"{name}.csv").write_text("truth,score\n" + text)
        read.append(read_predictions(tmp_path / f"{name}.csv", ColumnSettings()))
    found = compared(*read)
    assert [each.name for each in found.differences] == ["auroc", "average_precision"]
    assert found.differences[0].first == pytest.approx(roc_auc_score(truth, first), abs=1e-12)
    assert found.differences[0].second == pytest.approx(roc_auc_score(truth, second), abs=1e-12)
    assert "These are scores, not probabilities: only how they rank images is compared." in found.warnings
    mixed = compared(table(truth, first, classes=("0", "1"), image=[str(row) for row in range(80)]), read[1])
    assert [each.name for each in mixed.differences] == ["auroc", "average_precision"]


def test_labels_that_do_not_exclude_each_other_are_refused_as_such(tmp_path):
    (tmp_path / "A.csv").write_text("truth_a,probability_a,truth_b,probability_b\n1,0.8,1,0.7\n0,0.2,1,0.6\n")
    several_labels = read_predictions(tmp_path / "A.csv", ColumnSettings())
    with pytest.raises(DataError, match=r"the labels of A .* do not exclude each other"):
        compared(several_labels, several_labels)
