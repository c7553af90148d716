import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from effmed.errors import DataError
from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.calibrators import Affine
from effmed.evaluate.predictions import read_predictions
from effmed.evaluate.report import Metric, Report, make_report
from effmed.recipe import ColumnSettings, ReportSettings
from tests.evaluate import make

FAST = ReportSettings(bootstrap_replicates=100)
VECTORS = Path(__file__).parent / "vectors"


@pytest.fixture(scope="module")
def report():
    return make_report(make.binary(), make.context(), FAST)


@pytest.fixture(scope="module")
def report_of_three():
    return make_report(make.several(), make.context(3), FAST)


def metric(report, name, class_name="opacity", stage="calibrated"):
    (found,) = [m for m in report.metrics if (m.name, m.class_name, m.stage) == (name, class_name, stage)]
    return found


def rows(report, name):
    table = report.tables[name]
    return pd.DataFrame(table.rows, columns=table.columns)


def report_on(folder, text, **changes):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    predictions = read_predictions(path, ColumnSettings())
    n_outputs = predictions.logits.shape[1]
    values = {"calibrator": make.identity(n_outputs), "operating_points": ()} | changes
    return make_report(predictions, make.context(n_outputs, **values), FAST)


# ---------------------------------------------------------------- the model


def test_json_names_follow_the_documented_interface(report):
    plain = json.loads(report.model_dump_json(by_alias=True))
    assert list(plain) == ["version", "run", "data", "metrics", "tables"]
    documented = "name class level stage subgroup value low high method n n_events n_patients status reason"
    assert set(documented.split()) <= set(plain["metrics"][0])
    assert plain["version"] == 1


def test_report_survives_a_json_round_trip(report):
    assert Report.model_validate_json(report.model_dump_json(by_alias=True)) == report


def test_unknown_field_is_refused(report):
    with pytest.raises(ValidationError):
        Metric(**report.metrics[0].model_dump(), surprise=1)


def test_same_table_gives_the_same_report(report):
    assert make_report(make.binary(), make.context(), FAST) == report


def test_report_holds_no_patient_and_names_images_in_the_list_of_errors_alone(report):
    assert "PAT-" not in report.model_dump_json(by_alias=True)
    assert "secret/" in json.dumps(report.tables["worst_false_negatives"].rows)
    silent = make_report(make.binary(), make.context(), FAST.model_copy(update={"n_worst": 0}))
    assert "secret" not in silent.model_dump_json(by_alias=True)


# ---------------------------------------------------------------- numbers


def test_every_binary_metric_is_there(report):
    both = ["citl", "slope", "brier", "scaled_brier", "log_loss", "observed_expected", "smece", "ece", "ici", "e90"]
    ranking = ["auroc", "average_precision", "partial_auroc"]
    rates = ["sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "net_benefit"]
    for name in both:
        assert metric(report, name, stage="raw").value is not None
    for name in [*both, *ranking, *rates]:
        assert metric(report, name).value is not None
    assert {m.name for m in report.metrics if m.class_name is None} == {"accuracy", "balanced_accuracy"}


def test_calibration_before_and_after_differ_and_ranking_is_given_once(report):
    assert metric(report, "citl", stage="raw").value != metric(report, "citl").value
    assert not [m for m in report.metrics if m.name == "auroc" and m.stage == "raw"]


def test_metrics_are_those_of_the_functions_on_the_same_arrays(report):
    table = make.binary()
    truth, patients = table.truth, table.patients
    logits, p = 0.7 * table.logits[:, 0] + 0.2, table.probability[:, 1]
    called = p >= make.point().threshold
    assert metric(report, "auroc").value == discrimination.auroc(truth, logits, patients).value
    assert metric(report, "slope").low == calibration.slope(truth, logits, patients).low
    assert metric(report, "slope", stage="raw").value == calibration.slope(truth, table.logits[:, 0], patients).value
    assert metric(report, "smece").null_high == calibration.smece(truth, p, patients).null_high
    assert metric(report, "sensitivity").high == decisions.sensitivity(truth, called, patients).high
    (benefit,) = decisions.net_benefit(truth, p, (0.4,), patients)
    assert metric(report, "net_benefit").value == benefit.value


def test_reference_numbers_of_an_imbalanced_table_are_reached(tmp_path):
    expected = json.loads((VECTORS / "expected.json").read_text())["r"]["n500_imb"]
    table = pd.read_csv(VECTORS / "n500_imb.csv").rename(columns={"p_a": "p"})
    found = report_on(tmp_path, table[["y", "p"]].to_csv(index=False))
    auroc, brier = metric(found, "auroc", "1"), metric(found, "brier", "1")
    assert auroc.value == pytest.approx(expected["auc_a"]["auc_pROC"], abs=1e-10)
    assert [auroc.low, auroc.high] == pytest.approx(expected["auc_a"]["ci95_delong_logit_t_minmn_df"], abs=1e-10)
    assert metric(found, "slope", "1").value == pytest.approx(0.5584080687, abs=1e-8)
    assert metric(found, "citl", "1").value == pytest.approx(-1.2016615340, abs=1e-8)
    assert metric(found, "scaled_brier", "1").value == pytest.approx(-0.2647365883, abs=1e-10)
    assert metric(found, "smece", "1").value == pytest.approx(0.0868922, abs=1e-3)
    assert brier.value > 0


def test_reference_numbers_of_four_classes_are_reached(tmp_path):
    expected = json.loads((VECTORS / "expected.json").read_text())["r"]["multiclass"]
    table = pd.read_csv(VECTORS / "multiclass.csv").query("split == 'test'")
    z = np.exp(table[[f"logit_{k}" for k in range(4)]].to_numpy())
    columns = {f"probability_{k}": z[:, k] / z.sum(axis=1) for k in range(4)}
    found = report_on(tmp_path, pd.DataFrame({"truth": table["y"].astype(str), **columns}).to_csv(index=False))
    assert metric(found, "hand_till_auroc", None).value == pytest.approx(expected["hand_till_pROC"], abs=1e-10)
    for number, one in enumerate(expected["ovr"]):
        assert metric(found, "auroc", str(number)).value == pytest.approx(one["auc_pROC"], abs=1e-10)


def test_several_classes_have_averages_and_rates_of_each(report_of_three):
    for name in ("macro_auroc", "micro_auroc", "hand_till_auroc", "accuracy", "balanced_accuracy", "brier", "log_loss"):
        assert metric(report_of_three, name, None).value is not None
    for name in ("auroc", "average_precision", "citl", "slope", "smece", "sensitivity", "ppv"):
        for class_name in "abc":
            assert metric(report_of_three, name, class_name).value is not None


def test_log_odds_of_a_class_are_those_of_its_probability(report_of_three):
    table = make.several()
    p = table.probability[:, 0]
    expected = calibration.citl((table.truth == 0).astype(int), np.log(p / (1 - p)), table.patients)
    assert metric(report_of_three, "citl", "a").value == pytest.approx(expected.value, abs=1e-10)


def test_two_classes_as_columns_equal_the_positive_column_alone(tmp_path):
    values = [(1, 0.9), (0, 0.4), (1, 0.3), (0, 0.2), (1, 0.7), (0, 0.6)]
    alone = report_on(tmp_path, "y,p\n" + "".join(f"{y},{p}\n" for y, p in values))
    lines = "".join(f"{y},{1 - p:.1f},{p}\n" for y, p in values)
    columns = report_on(tmp_path, "y,probability_0,probability_1\n" + lines)
    assert metric(columns, "auroc", "1") == metric(alone, "auroc", "1")


def test_unit_is_the_patient_where_patients_are_known(report):
    assert {m.unit for m in report.metrics} == {"patient"}
    alone = make_report(make.binary(patient=None), make.context(), FAST)
    assert {m.unit for m in alone.metrics} == {"image"}


def test_uncalibrated_table_has_the_same_numbers_at_both_stages(tmp_path):
    found = report_on(tmp_path, "y,p\n1,0.9\n0,0.4\n1,0.3\n0,0.2\n")
    assert metric(found, "brier", "1", "raw").value == metric(found, "brier", "1").value


def test_exact_logits_are_used_where_a_table_was_rounded(report):
    table = make.binary()
    table.frame["probability_opacity"] = table.frame["probability_opacity"].round(7)
    table.frame["probability_clear"] = 1 - table.frame["probability_opacity"]
    assert metric(make_report(table, make.context(), FAST), "slope") == metric(report, "slope")


def test_own_table_without_its_calibrator_is_judged_by_its_probabilities(report):
    context = make.context(calibrator=make.identity(), operating_points=())
    found = make_report(make.binary(), context, FAST)
    assert metric(found, "slope").value == pytest.approx(metric(report, "slope").value, abs=1e-9)
    assert metric(found, "slope", stage="raw") == metric(report, "slope", stage="raw")


def test_probabilities_of_another_calibrator_are_refused():
    with pytest.raises(DataError, match="calibrator"):
        make_report(
            make.binary(), make.context(calibrator=make.calibrator(maps=(Affine(scale=(3.0,), bias=(0.0,)),))), FAST
        )


# ---------------------------------------------------------------- decisions


def test_decisions_are_those_of_the_operating_point(report):
    table = make.binary()
    called = table.probability[:, 1] >= 0.4
    confusion = rows(report, "confusion").set_index("truth")
    assert confusion.loc["opacity", "decided opacity"] == (called & (table.truth == 1)).sum()
    assert confusion.loc["clear", "decided opacity"] == (called & (table.truth == 0)).sum()


def test_operating_point_of_the_first_class_is_understood():
    context = make.context(operating_points=(make.point("clear", 0.6),))
    found = make_report(make.binary(), context, FAST)
    called = make.binary().probability[:, 0] < 0.6
    assert metric(found, "sensitivity").value == called[make.binary().truth == 1].mean()


def test_table_decisions_are_judged_where_no_operating_point_is_given():
    found = make_report(make.binary(), make.context(operating_points=()), FAST)
    assert metric(found, "sensitivity").value is not None
    assert any("table's own" in text for text in found.data.warnings)


def test_without_decisions_no_rate_is_reported():
    found = make_report(make.binary(point=None), make.context(operating_points=()), FAST)
    assert "sensitivity" not in {m.name for m in found.metrics}
    assert "confusion" not in found.tables
    assert any("No operating point" in text for text in found.data.warnings)


def test_operating_point_of_a_class_that_is_absent_is_refused():
    with pytest.raises(DataError, match="'fracture'"):
        make_report(make.binary(), make.context(operating_points=(make.point("fracture"),)), FAST)


def test_threshold_above_one_has_no_net_benefit():
    found = make_report(make.binary(), make.context(operating_points=(make.point(threshold=1.0),)), FAST)
    assert "net_benefit" not in {m.name for m in found.metrics}
    assert metric(found, "sensitivity").value == 0


# ---------------------------------------------------------------- tables


def test_flow_counts_every_image_once():
    labels = [None if row == 5 else "opacity" if row % 3 == 0 else "clear" for row in range(40)]
    table = make.binary(n=40, failures={1: ("bad", "look"), 5: ("bad", "look"), 7: ("bad", "look")}, label=labels)
    table.frame.loc[7, "status"] = "refused"
    labelless = make.binary(n=40, label=labels)
    flow = rows(make_report(table, make.context(), FAST), "flow").set_index("step")["images"]
    assert flow.tolist() == [40, 2, 2, 1, 0, 37]
    assert flow["unreadable: bad"] == 2
    other = rows(make_report(labelless, make.context(), FAST), "flow").set_index("step")["images"]
    assert other.tolist() == [40, 0, 0, 1, 39]


def test_counts_in_the_data_agree_with_the_flow(report):
    data = report.data
    assert (data.n_images, data.n_patients, data.n_evaluated, data.n_patients_evaluated) == (60, 30, 60, 30)
    assert data.images_per_class == {"clear": 40, "opacity": 20}


def test_histogram_counts_every_image_once(report):
    assert rows(report, "histogram")["images"].sum() == 60


def test_roc_curve_ends_in_both_corners_and_matches_the_auroc(report):
    roc = rows(report, "roc_curve")
    assert roc.iloc[[0, -1]][["false_positive_rate", "sensitivity"]].to_numpy().tolist() == [[0, 0], [1, 1]]
    area = np.trapezoid(roc["sensitivity"], roc["false_positive_rate"])
    assert area == pytest.approx(metric(report, "auroc").value, abs=1e-12)


def test_long_curves_are_thinned_without_moving_them():
    found = make_report(make.binary(n=3000), make.context(), FAST)
    roc = rows(found, "roc_curve")
    assert len(roc) <= 401
    area = np.trapezoid(roc["sensitivity"], roc["false_positive_rate"])
    assert area == pytest.approx(metric(found, "auroc").value, abs=2e-3)
    assert roc.iloc[-1]["sensitivity"] == 1


def test_thresholds_of_the_curves_are_probabilities(report):
    assert rows(report, "roc_curve")["threshold"].dropna().max() == make.binary().probability[:, 1].max()


def test_calibration_tables_show_both_stages(report):
    assert set(rows(report, "calibration_curve")["stage"]) == {"raw", "calibrated"}
    assert rows(report, "calibration_groups").groupby("stage")["images"].sum().tolist() == [60, 60]


def test_decision_curve_is_that_of_the_function(report):
    table = make.binary()
    (expected,) = decisions.net_benefit(table.truth, table.probability[:, 1], (0.2,), table.patients)
    curve = rows(report, "decision_curve").set_index("threshold")
    assert curve.loc[0.2, "net_benefit"] == expected.value


def test_auroc_intervals_offer_the_outermost_limits_of_few_images(report):
    intervals = rows(report, "auroc_intervals")
    assert intervals["interval"].str.contains("reported|Wald|outermost").all()
    assert len(intervals) == 3
    assert intervals["low"].iloc[2] == intervals["low"].iloc[[0, 2]].min()


# ---------------------------------------------------------------- what is missing, in words


HARD_TABLES = {
    "one image": "y,p\n1,0.5\n",
    "one class": "y,p\n1,0.5\n1,0.7\n1,0.9\n",
    "two images": "y,p\n1,0.6\n0,0.4\n",
    "constant": "y,p\n" + "1,0.6\n0,0.6\n" * 5,
    "zeros and ones": "y,p,patient\n" + "1,1,a\n0,0,b\n1,0,c\n0,1,d\n0,0.5,e\n" * 2,
    "perfect": "y,p\n" + "".join(f"1,0.9{i}\n0,0.1{i}\n" for i in range(9)),
    "one patient": "y,p,patient\n" + "".join(f"{i % 2},{0.9 - i / 20},x\n" for i in range(9)),
    "three classes, one absent": "y,probability_a,probability_b,probability_c\n" + "a,0.5,0.2,0.3\nb,0.1,0.8,0.1\n" * 4,
    "three classes, one image": "y,probability_a,probability_b,probability_c\na,0.5,0.2,0.3\n",
    "three classes, impossible": "y,probability_a,probability_b,probability_c\n" + "a,1,0,0\nb,0,1,0\nc,.5,.5,0\n" * 4,
}


@pytest.mark.parametrize("name", HARD_TABLES)
def test_hard_tables_give_a_report_without_a_single_nan(tmp_path, name):
    found = report_on(tmp_path, HARD_TABLES[name])
    json.dumps(found.model_dump(mode="json", by_alias=True), allow_nan=False)
    for each in found.metrics:
        assert each.value is None or math.isfinite(each.value)
        assert (each.value is None) == (each.status == "not_estimable")
        assert each.value is not None or each.reason


def test_absent_class_is_said_in_summary_and_warnings(tmp_path):
    found = report_on(tmp_path, HARD_TABLES["one class"])
    assert "could not be estimated" in found.data.summary
    assert any("No image of class '0'" in text for text in found.data.warnings)
    assert metric(found, "auroc", "1").value is None


def test_missing_interval_is_said_in_the_summary(tmp_path):
    assert "without an interval" in report_on(tmp_path, HARD_TABLES["two images"]).data.summary


def test_reasons_call_classes_by_their_names(tmp_path):
    found = report_on(tmp_path, HARD_TABLES["three classes, one absent"])
    assert metric(found, "hand_till_auroc", None).reason == "no image of class c"


def test_infinite_log_loss_is_not_estimable(tmp_path):
    found = report_on(tmp_path, HARD_TABLES["three classes, impossible"])
    assert metric(found, "log_loss", None).status == "not_estimable"
    fine = report_on(tmp_path, "y,probability_a,probability_b,probability_c\na,1,0,0\nb,0,0.5,0.5\nc,0.5,0,0.5\n")
    assert metric(fine, "log_loss", None).value == pytest.approx(2 / 3 * math.log(2))


def test_summary_names_value_interval_images_and_patients(report):
    auroc = metric(report, "auroc")
    assert report.data.summary == (
        f"AUROC for 'opacity' {auroc.value:.2f} (95 % interval {auroc.low:.2f} to {auroc.high:.2f}) "
        "on 60 images of 30 patients, 20 of them 'opacity' (test)."
    )


def test_summary_of_several_classes_is_the_macro_average(report_of_three):
    assert report_of_three.data.summary.startswith("Macro-averaged AUROC 0.")


def test_few_events_are_warned_of(report):
    assert any(
        "imprecise (Snell 2021)" in text and "20 images of class 'opacity'" in text for text in report.data.warnings
    )


def test_a_class_without_images_leaves_the_other_one_many():
    found = make_report(make.binary(n=330, label=["opacity"] * 330), make.context(), FAST)
    assert any("No image of class 'clear'" in text for text in found.data.warnings)
    assert not any("Few events" in text for text in found.data.warnings)


def test_many_events_are_not_warned_of():
    found = make_report(make.binary(n=330), make.context(), FAST)
    assert found.data.warnings == []


def test_high_auroc_of_few_images_is_warned_of(tmp_path):
    found = report_on(tmp_path, HARD_TABLES["perfect"])
    assert any("Few cases" in text and "'1'" in text for text in found.data.warnings)


def test_images_without_patients_are_warned_of():
    found = make_report(make.binary(n=330, patient=None), make.context(), FAST)
    assert (
        "No patients are given: images treated as independent, so intervals may be too narrow." in found.data.warnings
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calibrator": make.calibrator(reason="no vector: 7 images")}, "less than wished: no vector: 7 images"),
        ({"split": "val"}, "calibrator was fitted on these images (val)"),
        ({"split": "val"}, "operating point was chosen on these images (val)"),
        ({"operating_points": (make.point(exploratory=True),)}, "Exploratory"),
    ],
)
def test_doubtful_origin_is_warned_of(changes, words):
    found = make_report(make.binary(), make.context(**changes), FAST)
    assert any(words in text for text in found.data.warnings)


def test_missing_calibration_is_warned_of_with_its_reason():
    found = make_report(
        make.binary(calibrator=make.identity), make.context(calibrator=make.identity(reason="3 events")), FAST
    )
    assert "No calibration was fitted: 3 events." in found.data.warnings


def test_images_left_out_are_warned_of():
    found = make_report(make.binary(failures={0: ("bad", "look")}), make.context(), FAST)
    assert any("1 of 60 images left out" in text for text in found.data.warnings)


def test_truth_that_is_absent_altogether_is_an_error_with_a_remedy():
    with pytest.raises(DataError, match="60 rows") as caught:
        make_report(make.binary(label=[None] * 60), make.context(), FAST)
    assert "columns.truth" in caught.value.hint


def test_patients_known_only_in_part_are_an_error():
    with pytest.raises(DataError, match="no patient is given for row 1"):
        make_report(make.binary(n=3, patient=["x", None, "y"]), make.context(), FAST)
