"""What a report holds beside the numbers of all images: labels, subgroups, sets, referral, prevalence, errors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from effmed.errors import DataError, RecipeError
from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.predictions import read_predictions
from effmed.evaluate.render import render_html
from effmed.evaluate.render.parts.groups import coverage_by_group
from effmed.evaluate.report import make_report
from effmed.evaluate.report.model import FlowStep
from effmed.recipe import ColumnSettings, ReportSettings
from tests.evaluate import make

FAST = ReportSettings(bootstrap_replicates=100)
VECTORS = Path(__file__).parent / "vectors"
R = json.loads((VECTORS / "expected.json").read_text())["r"]


def settings(**changes):
    return FAST.model_copy(update=changes)


def find(report, name, class_name="opacity", subgroup=None, stage="calibrated"):
    wanted = (name, class_name, subgroup, stage)
    (found,) = [
        each
        for each in report.metrics
        if (each.name, each.class_name, each.subgroup and (each.subgroup.column, each.subgroup.value), each.stage)
        == wanted
    ]
    return found


def rows(report, name):
    table = report.tables[name]
    return pd.DataFrame(table.rows, columns=table.columns)


def read(folder, table, also=()):
    path = folder / "table.csv"
    table.to_csv(path, index=False)
    return read_predictions(path, ColumnSettings(), also)


def judged(predictions, wanted=FAST, **changes):
    n_outputs = predictions.logits.shape[1]
    values = {"calibrator": make.identity(n_outputs), "operating_points": (), "split": "table"} | changes
    return make_report(predictions, make.context(n_outputs, **values), wanted)


# ---------------------------------------------------------------- several labels


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return read(tmp_path_factory.mktemp("labels"), pd.read_csv(VECTORS / "multilabel.csv"))


def points(*names, threshold=0.4):
    return tuple(make.point(name, threshold) for name in names)


@pytest.fixture(scope="module")
def of_findings(findings):
    return judged(findings, operating_points=points(*findings.classes))


@pytest.mark.parametrize("policy", ["ignore", "zeros", "ones"])
@pytest.mark.parametrize("label", ["atelectasis", "edema", "effusion", "fracture"])
def test_reference_numbers_of_labels_are_reached_under_every_policy(of_findings, policy, label):
    expected = R["multilabel"][policy][label]
    table = rows(of_findings, "policies").set_index(["class", "uncertain"]).loc[(label, policy)]
    assert table["auroc"] == pytest.approx(expected["auc_pROC"], abs=1e-10)


@pytest.mark.parametrize("policy", ["ignore", "zeros", "ones"])
def test_the_declared_policy_is_that_of_the_numbers(findings, policy):
    report = judged(findings, settings(uncertain=policy))
    assert find(report, "auroc", "edema").value == pytest.approx(
        R["multilabel"][policy]["edema"]["auc_pROC"], abs=1e-10
    )
    assert find(report, "macro_auroc", None).value == pytest.approx(R["multilabel"][policy]["macro_auc"], abs=1e-10)
    declared = rows(report, "policies").query("policy == 'declared'")
    assert set(declared["uncertain"]) == {policy}
    assert report.data.policies == {"uncertain": policy, "blank": "ignore"}


def test_each_label_counts_the_images_for_which_it_is_known(of_findings, findings):
    classes = rows(of_findings, "classes").set_index("class")
    table = pd.read_csv(VECTORS / "multilabel.csv")
    for name in findings.classes:
        column = table[f"y_{name}"]
        assert classes.loc[name, ["images", "known", "uncertain", "blank"]].tolist() == [
            (column == 1).sum(),
            column.isin([0, 1]).sum(),
            (column == -1).sum(),
            column.isna().sum(),
        ]
        assert find(of_findings, "brier", name).n == column.isin([0, 1]).sum()


def test_each_label_has_the_whole_core_set_and_its_own_threshold(of_findings, findings):
    core = ["auroc", "average_precision", "partial_auroc", "prevalence", "citl", "slope", "observed_expected", "brier"]
    core += ["scaled_brier", "log_loss", "miscalibration", "discrimination_part", "uncertainty", "smece", "ece", "ici"]
    core += ["e90", "sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "net_benefit"]
    for name in findings.classes:
        for metric in core:
            assert find(of_findings, metric, name).status == "ok", metric
    table = pd.read_csv(VECTORS / "multilabel.csv")
    present = table["y_edema"] == 1
    expected = (table.loc[present, "p_edema"] >= 0.4).mean()
    assert find(of_findings, "sensitivity", "edema").value == pytest.approx(expected)


def test_labels_without_a_threshold_have_no_rates_and_the_report_names_them(findings):
    report = judged(findings, operating_points=points("edema"))
    assert {each.class_name for each in report.metrics if each.name == "sensitivity"} == {"edema"}
    text = next(text for text in report.data.warnings if "Not every label has an operating point" in text)
    assert all(name in text for name in findings.classes if name != "edema")
    none = judged(findings, operating_points=())
    assert "sensitivity" not in {each.name for each in none.metrics}
    assert any("No label has an operating point" in text for text in none.data.warnings)


def test_a_label_with_few_events_is_left_out_of_the_average_by_name(tmp_path):
    table = pd.read_csv(VECTORS / "multilabel.csv")
    table["y_fracture"] = np.where(np.arange(len(table)) < 4, 1.0, 0.0)
    report = judged(read(tmp_path, table))
    assert "left out for want of images: class fracture" in find(report, "macro_auroc", None).reason


def test_few_images_without_a_label_are_called_so(tmp_path):
    truth = (np.arange(300) >= 20).astype(int)
    table = pd.DataFrame({"y_a": truth, "p_a": np.linspace(0.1, 0.9, 300), "y_b": np.arange(300) % 2, "p_b": 0.5})
    warnings = judged(read(tmp_path, table)).data.warnings
    assert any(text.startswith("Few events: 20 images without 'a'") for text in warnings)


def test_a_label_that_nobody_has_is_a_reason_and_no_crash(tmp_path):
    table = pd.read_csv(VECTORS / "multilabel.csv")
    table["y_fracture"] = np.nan
    report = judged(read(tmp_path, table))
    assert find(report, "auroc", "fracture").status == "not_estimable"
    assert find(report, "auroc", "edema").status == "ok"
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


# ---------------------------------------------------------------- scores


def test_mere_scores_are_ranked_and_nothing_else(tmp_path):
    table = pd.read_csv(VECTORS / "n500_imb.csv")[["y", "p_a"]].assign(score=lambda t: t["p_a"] * 10)
    report = judged(read(tmp_path, table[["y", "score"]]))
    assert find(report, "auroc", "1").value == pytest.approx(R["n500_imb"]["auc_a"]["auc_pROC"], abs=1e-10)
    assert {each.name for each in report.metrics} == {"prevalence", "auroc", "average_precision", "partial_auroc"}
    assert "calibration_curve" not in report.tables
    assert report.data.warnings[-2] == "These are scores, not probabilities: only how they rank images is judged."


def test_thresholds_of_scores_are_scores(tmp_path):
    table = pd.read_csv(VECTORS / "n500_imb.csv")[["y", "p_a"]].assign(score=lambda t: 100 + t["p_a"] * 40)
    report = judged(read(tmp_path, table[["y", "score"]]))
    for name in ("roc_curve", "pr_curve"):
        assert set(rows(report, name)["threshold"].dropna()) <= set(table["score"])


@pytest.mark.parametrize(
    "changes", [{"subgroups": ("sex",)}, {"prevalence": (0.1,)}, {"prevalence_estimate": "em"}], ids=str
)
def test_settings_that_need_probabilities_are_refused_of_scores(tmp_path, changes):
    table = pd.DataFrame({"y": [0, 1] * 20, "score": np.arange(40.0), "sex": "F"})
    with pytest.raises(RecipeError, match=f"report.{next(iter(changes))} has no meaning for scores"):
        judged(read(tmp_path, table), settings(**changes))


# ---------------------------------------------------------------- subgroups


@pytest.fixture(scope="module")
def of_groups():
    n = 240
    sites = np.array(["north", "south", "tiny"])[np.where(np.arange(n) < 8, 2, np.arange(n) // 2 % 2)]
    table = make.binary(n=n, site=sites, age=np.arange(n) // 2 % 90, sex="F")
    return make_report(table, make.context(), FAST), table


def test_subgroups_have_the_numbers_of_their_images_alone(of_groups):
    report, table = of_groups
    north = table.frame["site"] == "north"
    alone = discrimination.auroc(table.truth[north], table.logits[north, 0] * 0.7 + 0.2, table.patients[north])
    found = find(report, "auroc", subgroup=("site", "north"))
    assert (found.value, found.low, found.n_patients) == pytest.approx((alone.value, alone.low, alone.n_patients))


def test_small_subgroups_are_suppressed(of_groups):
    report, _ = of_groups
    found = find(report, "auroc", subgroup=("site", "tiny"))
    assert (found.status, found.value) == ("suppressed", None)
    assert "fewer than 10" in found.reason


def test_images_whose_attribute_is_not_known_are_said_to_be_in_no_subgroup():
    table = make.binary(n=120, sex=["F"] * 50 + ["M"] * 50 + [None] * 20)
    warnings = make_report(table, make.context(), FAST).data.warnings
    assert "Subgroups by 'sex' leave out 20 images whose value is not known." in warnings
    asked = make_report(make.binary(age=["adult"] * 60), make.context(), settings(subgroups=("age",)))
    assert "Subgroups by 'age' leave out 60 images whose value is not known." in asked.data.warnings


@pytest.mark.parametrize("name", ["patient", "image", "study"])
def test_patients_and_images_are_no_subgroups(name):
    with pytest.raises(DataError, match=f"names '{name}', which is no attribute"):
        make_report(make.binary(), make.context(), settings(subgroups=(name,)))


def test_ages_come_in_bands_and_a_column_of_one_value_is_no_subgroup(of_groups):
    report, _ = of_groups
    values = {(each.subgroup.column, each.subgroup.value) for each in report.metrics if each.subgroup}
    assert ("age", "18 to 39") in values
    assert "sex" not in {column for column, _ in values}


def test_differences_stand_beside_each_subgroup_and_heterogeneity_below(of_groups):
    report, _ = of_groups
    table = rows(report, "subgroups").set_index(["column", "value", "metric"])
    north, south = table.loc[("site", "north", "auroc")], table.loc[("site", "south", "auroc")]
    assert 0 <= north["p_holm"] <= 1
    assert north["images"] + south["images"] == 232
    spread = rows(report, "heterogeneity").set_index("column").loc["site"]
    assert (spread["groups"], spread["left_out"]) == (2, "tiny")
    assert spread["lowest_auroc"] == min(north["estimate"], south["estimate"])


def test_any_column_can_be_asked_for_and_an_absent_one_is_refused(tmp_path):
    table = pd.read_csv(VECTORS / "clustered.csv").rename(columns={"p_a": "p", "site": "device"})
    predictions = read(tmp_path, table[["patient", "image", "y", "p", "device"]], also=("device",))
    report = judged(predictions, settings(subgroups=("device",)))
    assert find(report, "auroc", "1", subgroup=("device", "S1")).status == "ok"
    with pytest.raises(DataError, match="names 'devise'"):
        judged(predictions, settings(subgroups=("devise",)))


# ---------------------------------------------------------------- sets, referral


@pytest.fixture(scope="module")
def certain():
    val, test = make.binary(n=300, seed=1), make.binary(n=300, seed=2, site=np.array(["a", "b"])[np.arange(300) % 2])
    chosen = decisions.choose_decisions(
        val.probability, val.truth, val.patients, make.decision(), classes=val.classes, chosen_on="val"
    )
    context = make.context(operating_points=chosen.points, sets=chosen.sets, referral=chosen.referral)
    return make_report(test, context, FAST), test, chosen


def test_sets_are_those_of_the_rule_by_class_and_by_subgroup(certain):
    report, table, chosen = certain
    sets = decisions.prediction_sets(chosen.sets, table.probability)
    held = sets[np.arange(300), table.truth]
    assert find(report, "set_coverage", None).value == held.mean()
    assert find(report, "set_coverage", "opacity").value == held[table.truth == 1].mean()
    assert find(report, "set_coverage", None, ("site", "a")).value == held[::2].mean()
    assert find(report, "set_size", None).value == pytest.approx(sets.sum(axis=1).mean())
    assert rows(report, "prediction_sets")["images"].sum() == 300
    assert find(report, "set_coverage", "opacity").value > 0.8


def test_the_coverage_of_a_small_subgroup_is_suppressed_and_not_left_out(certain):
    _, table, chosen = certain
    few = replace(table, frame=table.frame.assign(site=["tiny"] * 8 + ["large"] * 292))
    report = make_report(few, make.context(operating_points=chosen.points, sets=chosen.sets), FAST)
    found = find(report, "set_coverage", None, ("site", "tiny"))
    assert (found.status, found.value, found.n, found.n_events, found.n_patients) == ("suppressed", None, 8, 0, 4)
    assert "fewer than 10 patients" in found.reason
    (row,) = [row for row in coverage_by_group(report).rows if row[0].value == "tiny"]
    assert row[1].value == "suppressed"


def test_sets_are_set_by_one_image_per_patient(certain):
    *_, chosen = certain
    assert sum(chosen.sets.n_per_class) == 150
    assert chosen.referral.n == 300


def test_referral_decides_the_certain_images_with_the_error_aimed_at(certain):
    report, table, chosen = certain
    called = (table.probability[:, 1] >= chosen.points[0].threshold).astype(int)
    certainty = table.probability[np.arange(300), called]
    decided = certainty >= chosen.referral.certainty
    assert find(report, "decided_fraction", None).value == decided.mean()
    wrong = find(report, "decided_error_fraction", None)
    assert wrong.value == (called != table.truth)[decided].mean()
    assert wrong.low < 0.15


def test_risk_falls_to_that_of_all_images_at_full_coverage(certain):
    report, table, chosen = certain
    curve = rows(report, "risk_coverage")
    called = (table.probability[:, 1] >= chosen.points[0].threshold).astype(int)
    assert curve["decided_fraction"].iloc[-1] == 1
    assert curve["error_fraction"].iloc[-1] == pytest.approx((called != table.truth).mean())
    assert curve["decided_fraction"].is_monotonic_increasing


def test_where_no_certainty_is_good_enough_everything_is_referred():
    referral = decisions.choose_referral(
        np.array([0, 1, 0]), np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7]), max_error_fraction=0.1
    )
    assert (referral.certainty, referral.decided_fraction) == (None, 0.0)
    report = make_report(make.binary(), make.context(referral=referral), FAST)
    assert find(report, "decided_fraction", None).value == 0
    assert find(report, "decided_error_fraction", None).status == "not_estimable"


# ---------------------------------------------------------------- prevalence


def test_predictive_values_at_a_stated_prevalence_are_those_of_the_function():
    table = make.binary()
    report = make_report(table, make.context(), settings(prevalence=(0.05,)))
    called = table.probability[:, 1] >= 0.4
    expected = decisions.ppv_at_prevalence(table.truth, called, 0.05, table.patients)
    assert find(report, "ppv_at_prevalence").value == expected.value
    assert find(report, "npv_at_prevalence").high is not None
    benefit = rows(report, "net_benefit").set_index("threshold")
    (at,) = decisions.net_benefit(table.truth, table.probability[:, 1], (0.1,), table.patients, prevalence=0.05)
    assert benefit.loc[0.1, "at_stated_prevalence"] == at.value


@pytest.mark.parametrize("stated", [(0.1, 0.9), (0.2, 0.3)])
def test_a_prevalence_that_does_not_fit_the_classes_is_refused(stated):
    with pytest.raises(RecipeError, match=r"report.prevalence = \["):
        make_report(make.binary(), make.context(), settings(prevalence=stated))
    with pytest.raises(RecipeError, match=r"report.prevalence = \["):
        make_report(make.several(), make.context(3), settings(prevalence=stated))


def as_is():
    """Takes probabilities as they are, calibrated where half of the images are positive."""
    return make.identity(prevalence=(0.5, 0.5))


def shifted(seed):
    """Calibrated predictions on val (half positive) and on images of which a tenth is positive."""
    rng = np.random.default_rng(seed)
    found = []
    for share in (0.5, 0.1):
        truth = rng.random(4000) < share
        logits = rng.normal(np.where(truth, 1.5, -1.5), np.sqrt(3))[:, None]  # log odds of two normals, exactly
        labels = np.where(truth, "opacity", "clear")
        found.append(make.binary(n=4000, logits=logits, label=labels, calibrator=as_is))
    return found


@pytest.mark.parametrize("method", ["em", "bbse"])
def test_the_prevalence_is_found_without_truths_and_repairs_calibration(method):
    val, test = shifted(3)
    context = make.context(calibrator=make.identity(prevalence=(0.5, 0.5)), val=val)
    table = rows(make_report(test, context, settings(prevalence_estimate=method)), "prior_shift")
    before, after = table.iloc[0], table.iloc[1]
    assert after["low"] < 0.1 < after["high"]
    assert after["high"] - after["low"] < 0.06
    assert abs(np.log(after["observed_expected"])) < 0.15 < abs(np.log(before["observed_expected"]))
    assert after["brier"] < before["brier"]
    assert after["log_loss"] < before["log_loss"]
    assert "assumes" in after["assumption"]


def test_bbse_takes_the_calibrator_of_the_report_for_val_as_well():
    val, test = shifted(3)
    known = make.identity(prevalence=(0.5, 0.5))
    wanted = settings(prevalence_estimate="bbse")
    expected = rows(make_report(test, make.context(calibrator=known, val=val), wanted), "prior_shift")
    frame = val.frame.assign(probability_clear=0.5, probability_opacity=0.5)  # of another calibrator than the report's
    other = make.context(calibrator=known, val=replace(val, frame=frame))
    assert rows(make_report(test, other, wanted), "prior_shift").equals(expected)


def test_an_impossible_prevalence_is_refused_in_words():
    val, _ = shifted(3)
    logits = np.random.default_rng(0).normal(-2.5, 1, 300)[:, None]
    test = make.binary(n=300, logits=logits, calibrator=as_is)
    with pytest.raises(DataError, match=r"bbse estimates the impossible prevalence clear 1\.\d+, opacity -0"):
        make_report(test, make.context(calibrator=as_is(), val=val), settings(prevalence_estimate="bbse"))


def test_an_estimate_without_what_it_needs_is_refused():
    with pytest.raises(DataError, match="calibrated for is not known"):
        judged(make.binary(point=None), settings(prevalence_estimate="em"))
    with pytest.raises(DataError, match="BBSE needs"):
        make_report(make.binary(), make.context(), settings(prevalence_estimate="bbse"))


# ---------------------------------------------------------------- errors, flow, grades


def test_the_worst_errors_are_named_with_the_most_certain_first():
    table = make.binary(n=300)
    report = make_report(table, make.context(), settings(n_worst=3))
    p, truth = table.probability[:, 1], table.truth
    missed = np.flatnonzero((truth == 1) & (p < 0.4))
    expected = table.frame["image"].iloc[missed[np.argsort(p[missed])][:3]].tolist()
    assert rows(report, "worst_false_negatives")["image"].tolist() == expected
    false = np.flatnonzero((truth == 0) & (p >= 0.4))
    found = rows(report, "worst_false_positives")
    assert found["probability"].tolist() == sorted(p[false], reverse=True)[:3]
    assert set(found["truth"]) == {"clear"}


def test_the_flow_begins_before_the_table():
    before = (FlowStep("in the data", 400, 200), FlowStep("training", 340, 170))
    flow = rows(make_report(make.binary(), make.context(flow=before), FAST), "flow")
    assert flow["step"].tolist()[:3] == ["in the data", "training", "in the table"]


def test_the_level_stands_at_every_metric():
    report = make_report(make.binary(), make.context(level="patient", level_rule="max"), FAST)
    assert {each.level for each in report.metrics} == {"patient"}
    assert (report.data.level, report.data.level_rule) == ("patient", "max")


def test_grades_have_a_weighted_kappa_and_a_mean_error(tmp_path):
    table = pd.read_csv(VECTORS / "multiclass.csv").query("split == 'test'")
    z = np.exp(table[[f"logit_{k}" for k in range(4)]].to_numpy())
    columns = {f"probability_{k}": z[:, k] / z.sum(axis=1) for k in range(4)}
    report = judged(read(tmp_path, pd.DataFrame({"truth": table["y"].astype(str), **columns})))
    expected = json.loads((VECTORS / "expected.json").read_text())["py"]["multiclass"]["argmax"]["kappa_quadratic"]
    assert find(report, "kappa_quadratic", None).value == pytest.approx(expected, abs=1e-10)
    off = np.abs(table["y"].to_numpy() - z.argmax(axis=1)).mean()
    assert find(report, "mae", None).value == pytest.approx(off)
    named = make_report(make.several(), make.context(3), FAST)
    assert "kappa_quadratic" not in {each.name for each in named.metrics}


def test_the_parts_of_the_brier_score_add_up(of_groups):
    report, _ = of_groups
    parts = [find(report, name).value for name in ("miscalibration", "discrimination_part", "uncertainty")]
    assert parts[0] - parts[1] + parts[2] == pytest.approx(find(report, "brier").value, abs=1e-12)


def test_net_benefit_is_given_at_the_stated_thresholds_with_its_gain_over_treating_all():
    table = make.binary()
    report = make_report(table, make.context(), settings(net_benefit_at=(0.25,), decision_range=(0.1, 0.3)))
    row = rows(report, "net_benefit").iloc[0]
    assert (row["threshold"], len(rows(report, "net_benefit"))) == (0.25, 1)
    assert row["gain_over_all"] == pytest.approx(row["net_benefit"] - row["treat_all"])
    assert row["gain_low"] < row["gain_over_all"] < row["gain_high"]
    assert rows(report, "decision_curve")["threshold"].agg(["min", "max"]).tolist() == [0.1, 0.3]
    assert calibration.brier(table.truth, table.probability[:, 1]).value == find(report, "brier").value


# ---------------------------------------------------------------- digits of the table


def test_a_probability_at_a_threshold_is_on_the_side_where_the_table_has_it(tmp_path):
    values = np.round(np.arange(1, 100) / 100, 2)
    table = pd.DataFrame({"y": (np.arange(99) % 3 == 0).astype(int), "p": values})
    report = judged(read(tmp_path, table), settings(net_benefit_at=tuple(values.tolist())))
    (expected,) = decisions.net_benefit(table["y"].to_numpy(), values, (0.35,))
    found = rows(report, "net_benefit").set_index("threshold")["net_benefit"]
    assert found[0.35] == expected.value
    for threshold, value in found.items():
        (one,) = decisions.net_benefit(table["y"].to_numpy(), values, (threshold,))
        assert value == one.value


def test_ties_of_a_table_of_several_classes_stay_ties(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.integers(1, 9, 200) / 10
    second = np.round((1 - first) * rng.integers(1, 9, 200) / 10, 3)
    columns = {"probability_a": first, "probability_b": second, "probability_c": 1 - first - second}
    table = pd.DataFrame({"truth": rng.choice(list("abc"), 200), **columns})
    report = judged(read(tmp_path, table))
    expected = discrimination.auroc((table["truth"] == "a").to_numpy(int), first)
    assert find(report, "auroc", "a").value == expected.value


# ---------------------------------------------------------------- warnings by what simulation found


def cautioned(truth, logits, words):
    table = make.binary(n=len(truth), logits=logits[:, None], label=np.where(truth, "opacity", "clear"), patient=None)
    return any(words in text for text in make_report(table, make.context(), FAST).data.warnings)


def test_a_slope_that_is_not_1_is_a_warning_about_the_calibration_in_the_large():
    rng = np.random.default_rng(0)
    true = rng.normal(-1, 1.5, 2000)
    truth = rng.random(2000) < 1 / (1 + np.exp(-true))
    shown = "calibration in the large is somewhat too narrow"
    assert cautioned(truth, 2 * true, shown)
    assert not cautioned(truth, (true - 0.2) / 0.7, shown)  # what the builder's calibrator undoes


def test_an_auroc_near_1_is_warned_of_even_with_a_hundred_images_of_the_rarer_class():
    rng = np.random.default_rng(1)
    truth = np.arange(500) < 100
    assert cautioned(truth, rng.normal(np.where(truth, 3.0, -1.0)), "Few cases")
    assert not cautioned(truth, rng.normal(np.where(truth, 0.6, -0.6)), "Few cases")


def test_a_class_of_three_patients_is_warned_of():
    label = np.where(np.arange(60) < 6, "opacity", "clear")
    report = make_report(make.binary(label=label), make.context(), FAST)
    assert any("fewer than 5 patients (3 of 'opacity')" in text for text in report.data.warnings)
    assert not any("Few patients" in text for text in make_report(make.binary(), make.context(), FAST).data.warnings)


def test_where_blanks_count_as_absent_an_image_without_any_label_is_evaluated(tmp_path):
    text = "y_a,p_a,y_b,p_b\n" + "1,0.9,0,0.2\n,0.3,,0.4\n0,0.2,1,0.8\n" * 12
    path = tmp_path / "t.csv"
    path.write_text(text)
    table = read_predictions(path, ColumnSettings())
    assert judged(table).data.n_evaluated == 24
    counted = judged(table, settings(blank="zeros"))
    assert (counted.data.n_evaluated, find(counted, "auroc", "a").n) == (36, 36)
    assert rows(counted, "flow").set_index("step")["images"]["left out: truth not known"] == 0


def test_a_threshold_that_was_stated_at_training_is_not_said_to_be_chosen():
    fixed = make.point(rule="threshold = 0.4")
    page = render_html(make_report(make.binary(), make.context(operating_points=(fixed,)), FAST))
    assert "The threshold was stated, not chosen on data; on val it has sensitivity 0.900" in page
    same = make_report(make.binary(), make.context(operating_points=(fixed,), split="val"), FAST)
    assert not any("operating point was chosen on these images" in text for text in same.data.warnings)


def test_fewer_than_twenty_images_of_a_class_are_warned_of_whatever_the_auroc():
    label = np.where(np.arange(120) % 10 == 0, "opacity", "clear")
    report = make_report(make.binary(n=120, label=label), make.context(), FAST)
    assert find(report, "auroc").value < 0.9
    assert any("Few cases: the AUROC for 'opacity'" in text for text in report.data.warnings)
