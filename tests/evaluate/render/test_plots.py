"""The plots of subgroups and referral, and what they leave to the tables."""

from xml.etree import ElementTree

import pytest

from effmed.evaluate.render.plots import make_plots
from effmed.evaluate.render.plots.decisions import decision_curve, risk_coverage
from effmed.evaluate.render.plots.drawing import PANEL_INCHES
from effmed.evaluate.render.plots.groups import MAX_GROUPS, forest
from effmed.evaluate.render.plots.ranking import roc
from effmed.evaluate.report import Table, make_report
from tests.evaluate import make as tables_of
from tests.evaluate.render import make


@pytest.fixture(scope="module")
def two():
    return make.two()


@pytest.fixture(scope="module")
def three():
    return make.three()


def texts(plot):
    return [text for text in ElementTree.fromstring(plot.svg).itertext() if text.strip()]  # noqa: S314  our own


def test_two_classes_with_everything_have_these_plots(two):
    wanted = ["roc", "precision-recall", "calibration-1", "histogram-1", "decision-curve", "subgroups", "risk-coverage"]
    assert [plot.name for plot in make_plots(two)] == wanted


def test_several_classes_have_a_forest_each_and_no_decision_curve(three):
    names = [plot.name for plot in make_plots(three)]
    assert [name for name in names if name.startswith("subgroups")] == ["subgroups-1", "subgroups-2", "subgroups-3"]
    assert not [name for name in names if name.startswith("decision")]


def test_a_forest_names_every_group_and_what_is_suppressed(two):
    plot = forest(two, "opacity", 1)
    found = texts(plot)
    assert {"sex", "age", "site", "tiny (3 of 7)", "AUROC", "sensitivity", "specificity"} <= set(found)
    assert found.count("suppressed") == 3
    assert (plot.section, plot.is_wide) == ("subgroups", True)


def test_a_forest_of_too_many_groups_says_how_many_are_in_the_tables_only(two):
    table = two.tables["subgroups"]
    place = table.columns.index("value")
    row = next(each for each in table.rows if each[table.columns.index("metric")] == "auroc")
    more = [[*row[:place], f"group {number}", *row[place + 1 :]] for number in range(MAX_GROUPS + 5)]
    tables = {**two.tables, "subgroups": Table(columns=table.columns, rows=more)}
    plot = forest(two.model_copy(update={"tables": tables}), "opacity", 1)
    assert "5 further subgroups are in the tables only" in plot.caption
    assert len([text for text in texts(plot) if text.startswith("group ")]) == MAX_GROUPS


def test_without_subgroups_there_is_no_forest():
    report = make_report(tables_of.binary(30), tables_of.context(), make.FEW_DRAWS)
    assert forest(report, "opacity", 1) is None


def test_the_referral_rule_is_a_dot_with_the_reported_shares(two):
    plot = risk_coverage(two)
    values = {m.name: m.value for m in two.metrics if m.subgroup is None and m.class_name is None}
    said = f"{values['decided_fraction']:.1%} decided, {values['decided_error_fraction']:.1%} of them wrong"
    assert said in plot.caption
    assert "referral rule" in texts(plot)


def test_without_a_rule_the_curve_stands_alone():
    plot = risk_coverage(make_report(tables_of.binary(60), tables_of.context(), make.FEW_DRAWS))
    assert "referral rule" not in texts(plot)
    assert "The dot" not in plot.caption


def test_a_curve_that_leaps_at_its_beginning_is_cut_off_and_says_so(two):
    table = two.tables["risk_coverage"]
    leaping = Table(columns=table.columns, rows=[[1.0, 0.0025, 1.0], *table.rows[1:]])
    plot = risk_coverage(two.model_copy(update={"tables": {**two.tables, "risk_coverage": leaping}}))
    assert "the line is cut off" in plot.caption
    assert "the line is cut off" not in risk_coverage(two).caption


def test_a_decision_curve_keeps_the_range_that_was_asked_for():
    report = make_report(tables_of.binary(60), tables_of.context(), make.settings(decision_range=(0.1, 0.3)))
    found = texts(decision_curve(report, "opacity", 1))
    assert {"0.100", "0.300"} <= set(found)
    assert "0.350" not in found


def test_curves_of_three_classes_have_room_for_their_legend(two, three):
    """The legend stands beside them: in the space of one panel they would shrink to a stamp."""
    assert roc(three).is_wide
    assert not roc(two).is_wide
    width = float(ElementTree.fromstring(roc(three).svg).get("width").removesuffix("pt"))  # noqa: S314  our own
    assert width > 72 * PANEL_INCHES
