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
