"""What ``effmed evaluate --predictions`` does with a table that any program wrote."""

import json

import pytest

from effmed import workflows
from effmed.errors import DataError, RecipeError
from effmed.evaluate.render import render_html
from effmed.workflows.catalogue import find_recipe

ROWS = "id,truth,score,patient,site\n" + "".join(
    f"i{k},{k % 3 == 0:d},{0.2 + 0.5 * (k % 3 == 0) + (k * 7 % 10) / 40},p{k // 2},{'ab'[k % 2]}\n" for k in range(60)
)
STATED = ("decision.rule=threshold", "decision.value=0.5")


def evaluated(folder, text, *settings):
    path = folder / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return workflows.evaluate_table(path, find_recipe(None, ["report.bootstrap_replicates=100", *settings]))


def names(report):
    return {metric.name for metric in report.metrics}


def test_a_stated_threshold_decides(tmp_path):
    report = evaluated(tmp_path, ROWS, *STATED)
    (point,) = report.data.operating_points
    assert (point.class_name, point.threshold, point.n, point.chosen_on) == ("1", 0.5, 0, "")
    assert {"sensitivity", "specificity", "ppv", "npv", "lr_positive", "net_benefit"} <= names(report)
    page = render_html(report)
    assert "The threshold was stated, not chosen on data." in page
    assert "was stated and not chosen on data." in page  # in the checklist


def test_without_a_threshold_nothing_is_decided(tmp_path):
    assert "sensitivity" not in names(evaluated(tmp_path, ROWS))


def test_every_label_gets_the_stated_threshold(tmp_path):
    text = "y_a,p_a,y_b,p_b\n" + "".join(f"{k % 2},0.{k % 9}1,{k % 3 == 0:d},0.{k % 7}2\n" for k in range(40))
    report = evaluated(tmp_path, text, *STATED)
    assert [point.class_name for point in report.data.operating_points] == ["a", "b"]
    assert "stated" in render_html(report)


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (ROWS, ["decision.rule=youden"], "no val split"),
        (ROWS, [*STATED, "decision.miss_fraction=0.2"], "no val split"),
        ("y,score\n1,5\n0,-3\n", STATED, "threshold of a probability"),
        ("y,probability_a,probability_b,probability_c\na,.5,.3,.2\nb,.1,.6,.3\n", STATED, "threshold of a probability"),
    ],
)
def test_a_rule_that_a_table_cannot_serve_is_refused(tmp_path, text, settings, words):
    with pytest.raises(RecipeError, match=words):
        evaluated(tmp_path, text, *settings)


def test_any_column_is_a_subgroup_and_an_unknown_one_is_refused(tmp_path):
    text = ROWS.replace("site", "ward")
    report = evaluated(tmp_path, text, "report.subgroups=[ward]")
    assert {metric.subgroup.value for metric in report.metrics if metric.subgroup} == {"a", "b"}
    with pytest.raises(DataError, match="no column 'wart'"):
        evaluated(tmp_path, text, "report.subgroups=[wart]")


def test_the_result_is_plain_json(tmp_path):
    report = evaluated(tmp_path, ROWS, *STATED)
    json.dumps(report.model_dump(mode="json", by_alias=True), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (ROWS, ["train.epochs=3", "data.patient_column=site"], "data.patient_column, train.epochs: the evaluation"),
        (ROWS, ["data.level_rule=max"], "data.level_rule: a table of which every row"),
        (ROWS, ["report.blank=zeros"], "report.blank: a table whose classes exclude"),
        (ROWS, ["columns.score=score", "report.subgroups=[site]"], "report.subgroups: the evaluation of scores"),
        (ROWS, ["columns.score=score", "report.prevalence=[0.1]"], "report.prevalence: the evaluation of scores"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(tmp_path, text, settings, words):
    with pytest.raises(RecipeError, match=words):
        evaluated(tmp_path, text, *settings)


@pytest.mark.parametrize("name", ["patient", "image", "truth"])
def test_patients_images_and_truths_are_no_subgroups(tmp_path, name):
    with pytest.raises(RecipeError, match="a report neither lists patients"):
        evaluated(tmp_path, ROWS, f"report.subgroups=[{name}]")


def test_a_subgroup_that_nobody_has_is_said(tmp_path):
    text = ROWS.replace("site\n", "age\n", 1)  # ages "a" and "b"
    warnings = evaluated(tmp_path, text, "report.subgroups=[age]").data.warnings
    assert "No evaluated image has a value that can be read in 'age': no subgroups of it." in warnings
    assert not [text for text in evaluated(tmp_path, ROWS, "report.subgroups=[site]").data.warnings if "site" in text]


def test_noisy_or_is_refused_for_what_it_is(tmp_path):
    noisy = ["data.level=patient", "data.level_rule=noisy-or"]
    with pytest.raises(RecipeError, match="for probabilities, not for mere scores"):
        evaluated(tmp_path, ROWS, *noisy, "columns.score=score")
    text = "patient,truth,probability_a,probability_b,probability_c\np,a,.5,.3,.2\np,a,.1,.6,.3\n"
    with pytest.raises(RecipeError, match="not for 3 that exclude each other"):
        evaluated(tmp_path, text, *noisy)


def test_a_table_without_the_level_is_told_how_to_name_its_column(tmp_path):
    with pytest.raises(DataError) as caught:
        evaluated(tmp_path, ROWS, "data.level=study")
    assert "call the column 'study'" in caught.value.hint


def test_images_that_occur_twice_are_said(tmp_path):
    rows = ROWS.splitlines(keepends=True)
    twice = evaluated(tmp_path, "".join([*rows, *rows[1:4]])).data.warnings
    assert "3 rows repeat the image of another row, and each row counts." in twice
    assert not [text for text in evaluated(tmp_path, ROWS).data.warnings if "repeat" in text]
