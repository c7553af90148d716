"""What a report answers, item by item: only what it holds, and as it holds it."""

import pytest

from effmed.evaluate.render.answers import ANSWERS
from effmed.evaluate.report import Table, make_report
from effmed.evaluate.report.model import Subgroup
from tests.evaluate import make
from tests.evaluate.test_render import FEW_DRAWS

NO_ERRORS = FEW_DRAWS.model_copy(update={"n_worst": 0})  # listed

ROW = Table(columns=["x"], rows=[[1]])


@pytest.fixture(scope="module")
def report():
    return make_report(make.binary(60, failures={4: ("broken", "mend it")}), make.run_context(), NO_ERRORS)


@pytest.fixture(scope="module")
def three():
    return make_report(make.several(45), make.run_context(3), NO_ERRORS)


@pytest.fixture(scope="module")
def bare():
    """Another program's probabilities: no patient, no decision, nothing about the network."""
    table = make.binary(40, point=None, calibrator=make.identity, patient=None)
    context = make.context(calibrator=make.identity(), operating_points=(), facts={}, split="table")
    return make_report(table, context, NO_ERRORS)


def changed(report, *, tables=None, metrics=None, **data):
    changes = {"data": report.data.model_copy(update=data), "tables": report.tables | (tables or {})}
    return report.model_copy(update=changes | ({"metrics": metrics} if metrics is not None else {}))


def text(report, key):
    return ANSWERS[key](report).text


def with_facts(report, **facts):
    return changed(report, facts=report.data.facts | facts)


def by_group(report, column="sex", values=("f", "m"), **changes):
    """The report with the AUROC of each value of a column."""
    (auroc,) = [each for each in report.metrics if each.name == "auroc" and each.subgroup is None]
    groups = [
        auroc.model_copy(update={"subgroup": Subgroup(column=column, value=value), **changes}) for value in values
    ]
    return changed(report, metrics=[*report.metrics, *groups])


NEEDS_THE_NETWORK = (
    *("poor_input", "partitions", "disjoint", "internal", "quality", "model", "preprocessing", "building"),
    *("initialisation", "selection", "software", "ensemble", "specification", "predictions", "imbalance", "updating"),
)
NEEDS_DECISIONS = ("thresholds", "rates", "crosstab")
NEEDS_MORE_TABLES = (
    *("characteristics", "prevalence", "heterogeneity", "subgroups", "errors", "fairness", "variability", "external"),
)
ALWAYS = (
    *("sizes", "flow", "missing", "indeterminate", "kept_outputs", "measures", "intervals", "accuracy"),
    *("performance", "limits"),
)


@pytest.mark.parametrize("key", [*NEEDS_THE_NETWORK, *NEEDS_DECISIONS, *NEEDS_MORE_TABLES, "updated"])
def test_what_a_bare_table_lacks_is_not_answered(key, bare):
    assert ANSWERS[key](bare) is None


@pytest.mark.parametrize("key", ALWAYS)
def test_what_a_bare_table_holds_is_answered(key, bare):
    assert ANSWERS[key](bare) is not None


@pytest.mark.parametrize("key", [*NEEDS_THE_NETWORK, *NEEDS_DECISIONS, *ALWAYS, "updated"])
def test_a_run_answers_what_its_report_holds(key, report):
    assert ANSWERS[key](report) is not None


def test_the_lists_of_this_test_name_every_answer():
    assert {*NEEDS_THE_NETWORK, *NEEDS_DECISIONS, *NEEDS_MORE_TABLES, *ALWAYS, "updated"} == set(ANSWERS)


# ---------------------------------------------------------------- images and patients


def test_sizes_are_those_of_the_report(report):
    assert text(report, "sizes") == (
        "Evaluated: 59 images of 30 patients (clear 39, opacity 20). Training images: 400. Validation images: 100. "
        "Threshold chosen on 120 images, 40 of class opacity. Calibrator fitted on 120 images."
    )


def test_of_many_classes_the_commonest_are_counted(report):
    many = changed(report, images_per_class={f"c{number}": number for number in range(1, 11)})
    assert "(c10 10, c9 9, c8 8, c7 7, c6 6, c5 5, c4 4, c3 3, and 2 further classes)" in text(many, "sizes")


def test_the_flow_names_each_step_with_its_images(report):
    said = text(report, "flow")
    assert said.startswith("Images: in the table 60; left out: unreadable 1; ")
    assert "evaluated 59, of 30 patients." in said


@pytest.mark.parametrize("key", ["missing", "indeterminate"])
def test_what_was_left_out_is_counted_by_reason(key, report):
    other = changed(report, n_refused=3, n_without_truth=7)
    assert "(1 unreadable, 3 refused, 7 of unknown truth)" in text(other, key)


@pytest.mark.parametrize("key", ["missing", "indeterminate"])
def test_labels_read_by_a_policy_are_not_called_left_out(key, report):
    said = text(changed(report, tables={"policies": ROW}), key)
    assert "uncertain and blank labels were read as stated" in said
    assert "guessed" not in said
    assert "truth were left out" not in said


def test_partitions_have_their_images_and_patients(report):
    assert text(report, "partitions") == (
        "Trained on 400 images, tuned on 100, evaluated on 59 images of 30 patients (test). "
        "Patients of the run: train 200, val 50, test 30."
    )


def test_a_runs_test_split_shares_no_patient(report):
    assert text(report, "disjoint") == "By patient id: none is in two splits of the run (train 200, val 50, test 30)."


@pytest.mark.parametrize("patients", ["train 0, val 0, test 0", "train 200, val 50, test 0", ""])
def test_without_known_patients_nobody_can_tell_whether_some_are_shared(patients, report):
    assert ANSWERS["disjoint"](with_facts(report, patients=patients)) is None


def test_evaluated_images_without_patients_cannot_be_told_apart_by_patient(report):
    assert ANSWERS["disjoint"](changed(report, n_patients_evaluated=None)) is None


@pytest.mark.parametrize(("known", "said"), [("0", "By patient id: 0 of"), ("3", "By patient id: 3 of")])
def test_of_external_images_the_known_patients_are_counted(known, said, report):
    key = "patients with ids of the training or validation patients"
    other = changed(report, split="external: b", facts=report.data.facts | {key: known})
    assert text(other, "disjoint").startswith(said)


@pytest.mark.parametrize("facts", [{}, {"patients with ids of the training or validation patients": "cannot be told"}])
def test_external_images_that_cannot_be_compared_are_left_to_the_author(facts, report):
    assert ANSWERS["disjoint"](changed(report, split="external: b", facts=report.data.facts | facts)) is None


def test_a_test_is_internal_or_external(report):
    other = changed(report, split="external: Clinic B")
    assert ANSWERS["external"](report) is None
    assert ANSWERS["internal"](other) is None
    assert "(external: Clinic B): 59 images" in text(other, "external")


def test_characteristics_need_table_and_groups(report):
    table = {"subgroups": ROW}
    assert ANSWERS["characteristics"](changed(report, tables=table)) is None
    assert ANSWERS["characteristics"](by_group(report)) is None
    assert "by sex" in text(changed(by_group(report), tables=table), "characteristics")


def test_prevalence_is_answered_where_another_was_considered(report):
    said = text(changed(report, tables={"prior_shift": ROW}), "prevalence")
    assert said.startswith("Prevalence here: clear 66.1%, opacity 33.9%.")


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [("quality", "audit of the data", "2 findings."), ("preprocessing", "preprocessing", "letterboxed"),
     ("initialisation", "starting weights", "none"), ("selection", "best epoch", "3 of at most 9"),
     ("software", "software", "torch 9"), ("model", "network", "b7 {x}")],
)  # fmt: skip
def test_facts_are_given_as_they_are(key, name, value, report):
    said = text(with_facts(report, **{name: value}), key)
    assert said.startswith(f"{name[0].upper()}{name[1:]}: {value.rstrip('.')}.")
    assert ".." not in said
    assert ANSWERS[key](changed(report, facts={})) is None


def test_several_views_are_told_with_the_preprocessing(report):
    assert "Views: mean of 3." in text(with_facts(report, views="mean of 3"), "preprocessing")
    assert "Views" not in text(report, "preprocessing")


def test_several_networks_are_told_with_what_sets_them_apart(report):
    several = with_facts(report, ensemble="mean of the logits of 3 networks", **{"weights SHA-256": "fedcba987654321"})
    assert text(several, "ensemble").startswith("Ensemble: mean of the logits of 3 networks. ")
    assert "tuned on 100 (mean of the logits of 3 networks), evaluated" in text(several, "partitions")
    assert text(report, "ensemble").startswith("No ensemble")


@pytest.mark.parametrize("key", ["ensemble", "specification", "predictions"])
def test_weights_are_known_by_their_fingerprint(key, report):
    assert "fedcba987654…" in text(with_facts(report, **{"weights SHA-256": "fedcba987654321"}), key)


def test_a_threshold_comes_with_rule_data_and_fingerprint(report):
    point = make.point(threshold=0.125, rule="specificity >= 0.8", n=77, n_events=11, digest="12ab" * 16)
    said = text(changed(report, operating_points=[point]), "thresholds")
    assert said == (
        "Called opacity at a probability of at least 0.125; rule: specificity >= 0.8, chosen on val (77 images, 11 of "
        "the class, SHA-256 12ab12ab12ab…); not chosen on the evaluated images."
    )


@pytest.mark.parametrize("changes", [{"exploratory": True}, {"chosen_on": "test"}])
def test_a_threshold_that_makes_the_most_of_data_is_exploratory(changes, report):
    said = text(changed(report, operating_points=[make.point(**changes)]), "thresholds")
    assert said.endswith("; exploratory.")


def test_several_classes_have_no_threshold_unless_one_was_given(three):
    assert "no threshold" in text(three, "thresholds")
    assert "0.400" in text(changed(three, operating_points=[make.point("a")]), "thresholds")


def test_weighted_classes_are_named_with_what_was_undone(report):
    weighted = make.calibrator(prior_shift=(1.25,))
    assert "(1.250) was subtracted" in text(changed(report, calibrator=weighted), "imbalance")
    assert "neither weighted nor drawn" in text(report, "imbalance")


def test_a_calibrator_fitted_to_the_evaluated_images_is_not_called_honest(report):
    assert text(report, "updating").endswith("Nothing was fitted to the evaluated images.")
    own = changed(report, calibrator=make.calibrator(fitted_on="test", n=59))
    assert text(own, "updating") == "Calibrated by platt, fitted on test (59 images, 40 of the rarest class)."


@pytest.mark.parametrize("update", ["slope", "em"])
def test_a_bundle_that_was_changed_at_the_evaluated_site_is_not_called_honest(update, report):
    was = {"recalibration 1": f"{update} on site clinic, 90 images, 30 of the rarest class, on 2026-01-01"}
    fitted_on = "val" if update == "em" else "site: clinic"
    calibrator = report.data.calibrator.model_copy(update={"fitted_on": fitted_on})
    points = [report.data.operating_points[0].model_copy(update={"chosen_on": "site: clinic"})]
    changes = {"facts": report.data.facts | was, "calibrator": calibrator, "operating_points": points}
    here = changed(report, split="external: clinic", **changes)
    assert "Nothing was fitted" not in text(here, "updating")
    assert text(here, "thresholds").endswith("exploratory.")
    elsewhere = changed(report, split="external: clinic 2", **changes)
    assert "Nothing was fitted" in text(elsewhere, "updating")
    assert text(elsewhere, "thresholds").endswith("not chosen on the evaluated images.")


def test_a_stated_threshold_was_chosen_on_no_images(report):
    stated = [report.data.operating_points[0].model_copy(update={"n": 0, "n_events": 0})]
    assert "Threshold" not in text(changed(report, operating_points=stated), "sizes")


def test_labels_are_no_classes_of_which_the_largest_is_called(three, report):
    assert ANSWERS["thresholds"](changed(three, task="multilabel")) is None
    assert text(report, "accuracy").startswith("Class opacity")
    assert "Class opacity" not in getattr(ANSWERS["accuracy"](changed(report, task="multilabel")), "text", "")


def test_a_run_without_calibrator_says_why(report):
    plain = changed(report, calibrator=make.identity(reason="3 events are too few"))
    assert text(plain, "updating").startswith("No calibrator was applied: 3 events are too few.")


# ---------------------------------------------------------------- results


def metric(report, name, class_name="opacity", stage="calibrated"):
    wanted = (name, class_name, stage)
    (found,) = [each for each in report.metrics if (each.name, each.class_name, each.stage) == wanted]
    return found


@pytest.mark.parametrize("key", ["accuracy", "performance"])
def test_the_main_value_has_its_interval(key, report):
    auroc = metric(report, "auroc")
    said = text(report, key)
    assert said.startswith(f"Class opacity: AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f});")


def test_several_classes_have_the_values_of_all_and_the_rates_of_each(three):
    macro, one = metric(three, "macro_auroc", None), metric(three, "specificity", "c")
    assert text(three, "accuracy").startswith(f"All classes: AUROC, macro average {macro.value:.3f}")
    assert (
        f"specificity {one.value:.3f} ({one.low:.3f} to {one.high:.3f})." in text(three, "rates").split("Class c: ")[1]
    )


def test_without_any_interval_there_is_no_precision_to_report(report):
    bare = [each.model_copy(update={"low": None, "high": None}) for each in report.metrics]
    other = changed(report, metrics=bare)
    assert ANSWERS["accuracy"](other) is None
    assert ANSWERS["performance"](other) is None
    assert ANSWERS["rates"](other) is None


def test_the_counts_are_those_of_the_confusion_matrix(report):
    table = Table(columns=["truth", "decided clear", "decided opacity"], rows=[["clear", 11, 22], ["opacity", 3, 44]])
    said = text(changed(report, tables={"confusion": table}), "crosstab")
    assert said == (
        "Truth by decision: 55 of 80 images decided rightly "
        "(true positives 44, false positives 22, false negatives 3, true negatives 11)."
    )


def test_what_calibration_changed_stands_before_and_after(report):
    raw, after = metric(report, "brier", stage="raw"), metric(report, "brier")
    assert raw.value != after.value
    assert f"Brier score {raw.value:.3f} (" in text(report, "updated")
    assert f"before, {after.value:.3f} (" in text(report, "updated")


def test_measures_are_those_of_the_report(report, bare):
    assert "Decisions: sensitivity; specificity" in text(report, "measures")
    assert "Decisions" not in text(bare, "measures")
    assert "decision curve" in text(report, "measures")
    assert "decision curve" not in text(
        changed(report, tables={"decision_curve": Table(columns=[], rows=[])}), "measures"
    )


def test_intervals_name_methods_and_unit_once(report, bare):
    assert "Obuchowski; bootstrap of patients; " in text(report, "intervals")
    assert "Unit of inference: patients. Bootstrap: 100 replicates, seed 0." in text(report, "intervals")
    assert "images, taken as independent" in text(bare, "intervals")
    assert text(report, "intervals").count("Wilson") == 1
    assert "instead of an interval" not in text(report, "intervals")
    assert "Calibration errors: null band." in text(report, "intervals")


def test_subgroups_are_counted_and_named(report):
    grouped = by_group(by_group(report), "site", ("a", "b", "c"))
    assert text(grouped, "subgroups") == "Performance stands apart for 5 subgroups, by sex, site."
    assert text(grouped, "performance").endswith("Also by sex, site.")
    assert text(grouped, "variability") == "Performance was examined over the subgroup (sex, site)."


@pytest.mark.parametrize("key", ["subgroups", "fairness", "variability"])
def test_suppressed_subgroups_answer_nothing(key, report):
    hidden = by_group(report, value=None, low=None, high=None, status="suppressed", reason="few")
    assert ANSWERS[key](hidden) is None


def test_a_subgroup_does_not_stand_for_everyone(report):
    assert text(by_group(report, value=0.123, low=0.1, high=0.2), "accuracy") == text(report, "accuracy")


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "said"),
    [(1, 2, "1 false positive, 2 false negatives"), (3, 0, "3 false positives"), (0, 1, "1 false negative")],
)
def test_listed_errors_are_counted(n_positive, n_negative, said, report):
    tables = {"worst_false_positives": n_positive, "worst_false_negatives": n_negative}
    listed = changed(report, tables={name: Table(columns=["x"], rows=[[0]] * n) for name, n in tables.items()})
    assert text(listed, "errors") == f"The worst errors are listed: {said}."
    assert text(listed, "fairness") == f"The worst errors are listed: {said}."


def test_empty_lists_of_errors_answer_nothing(report):
    empty = Table(columns=["x"], rows=[])
    listed = changed(report, tables={"worst_false_positives": empty, "worst_false_negatives": empty})
    assert ANSWERS["errors"](listed) is None


@pytest.mark.parametrize(
    ("table", "anchor"),
    [
        ("heterogeneity", "subgroups"),
        ("policies", "images"),
        ("prior_shift", "decisions"),
    ],
)
def test_each_further_analysis_is_one_of_variability(table, anchor, report):
    assert ANSWERS["variability"](changed(report, tables={table: ROW})).anchor == anchor


def test_heterogeneity_is_answered_where_it_was_measured(report):
    assert ANSWERS["heterogeneity"](changed(report, tables={"heterogeneity": ROW})).anchor == "subgroups"


def test_limits_are_the_reports_own_warnings(report):
    assert text(changed(report, warnings=["Few events.", "No patients."]), "limits").endswith(
        "Few events. No patients."
    )
    assert ANSWERS["limits"](changed(report, warnings=[])) is None
