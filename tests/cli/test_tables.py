"""What ``effmed inspect`` prints: all of it on one screen, nothing dropped without a word."""

import pytest

from effmed.cli.output import Output
from effmed.cli.tables import N_IMAGES, N_UNREADABLE, N_VALUES, inspection_tables
from effmed.workflows.values import Inspection


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
