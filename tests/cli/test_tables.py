"""What ``effmed inspect`` prints: all of it on one screen, nothing dropped without a word."""

import pytest

from effmed.cli.output import Output
from effmed.cli.tables import N_IMAGES, N_UNREADABLE, N_VALUES, inspection_tables, recalibration_tables
from effmed.workflows.values import Inspection, Recalibrated


def tally(value, n, **per_class):
    return {"value": value, "n_images": n, "per_class": per_class}


def inspection(**changes):
    splits = [{"split": "all", "n_images": 30, "n_patients": None, "n_studies": 4, "per_class": {"a": 10, "b": 20}}]
    views = [tally(f"view {k}", 5, a=1, b=4) for k in range(6)]
    values = {
        "n_images": 30,
        "n_patients": None,
        "n_studies": 4,
        "classes": {"a": 10, "b": 20},
        "overview": {"splits": splits, "tables": {"body_part": views}},
        "unreadable": [],
        "findings": [],
        "fingerprint": {},
        "reasons": {},
        "sheet": None,
    }
    return Inspection(**{**values, **changes})


@pytest.fixture
def printed(capsys):
    def printed(found):
        Output().result({}, inspection_tables(found))
        return capsys.readouterr().out

    return printed


def test_splits_and_attributes_have_a_column_per_class(printed):
    lines = printed(inspection()).splitlines()
    assert lines[0].split() == ["split", "images", "patients", "studies", "a", "b"]
    assert lines[1].split() == ["all", "30", "–", "4", "10", "20"]
    assert lines[3].split() == ["body", "part", "view", "0", "5", "1", "4"]


def test_further_values_are_summed(printed):
    text = printed(inspection())
    assert f"view {N_VALUES - 1}" in text
    assert f"view {N_VALUES} " not in text
    (rest,) = [line.split() for line in text.splitlines() if "other values" in line]
    assert rest == ["2", "other", "values", "10", "2", "8"]


def test_unreadable_files_come_with_the_remedy_and_the_rest_is_counted(printed):
    items = [{"path": f"{k}.dcm", "reason": "no codec", "hint": "pip install it"} for k in range(N_UNREADABLE + 3)]
    text = printed(inspection(unreadable=items))
    assert f"unreadable ({N_UNREADABLE + 3} in all):" in text
    assert "0.dcm: no codec (pip install it)" in text
    assert f"{N_UNREADABLE}.dcm" not in text
    assert "… 3 more" in text


def test_findings_name_some_of_their_images(printed):
    finding = {
        "kind": "shortcut",
        "severity": "warning",
        "images": [f"{k}.png" for k in range(9)],
        "n_images": 9,
        "text": "what",
        "hint": "do",
    }
    text = printed(inspection(findings=[finding]))
    assert "warning: shortcut: what\n  do\n  0.png, 1.png, 2.png, 3.png …\n" in text
    assert f"{N_IMAGES}.png" not in text
    assert "nothing suspicious" not in text


def test_no_finding_is_said(printed):
    assert printed(inspection()).endswith("audit: nothing suspicious found\n")


def recalibrated(**changes):
    values = {
        "out": "clinic",
        "update": "slope",
        "site": "clinic",
        "n": 90,
        "n_events": 30,
        "calibrator": "platt: scale 0.7, bias 0.2; then scale 1.2, bias -1",
        "prevalence": {"healthy": 2 / 3, "sick": 1 / 3},
        "threshold_before": 0.4,
        "threshold_after": 0.25,
        "metrics": [],
        "notes": ["expect less"],
    }
    return Recalibrated(**{**values, **changes})


def estimate(value, low=None, high=None, reason=""):
    return {"value": value, "low": low, "high": high, "reason": reason}


def test_a_recalibration_shows_every_measure_before_and_after(capsys):
    citl = {
        "name": "citl",
        "class": "sick",
        "before": estimate(0.5, 0.1, 0.9),
        "after": estimate(None, reason="no image of it"),
    }
    Output().result({}, recalibration_tables(recalibrated(metrics=[citl])))
    text = capsys.readouterr().out
    for part in (
        "bundle clinic",
        "then scale 1.2, bias -1",
        "healthy 0.667, sick 0.333",
        "threshold 0.4000 before, 0.2500 after",
        "citl sick",
        "0.500 (0.100 to 0.900)",
        "not estimable: no image of it",
        "expect less",
    ):
        assert part in text


def test_what_a_recalibration_does_not_have_is_not_shown(capsys):
    made = recalibrated(prevalence={}, threshold_before=None, threshold_after=None)
    Output().result({}, recalibration_tables(made))
    text = capsys.readouterr().out
    assert "threshold" not in text
    assert "before" not in text
    assert "prevalence" not in text
