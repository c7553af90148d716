"""The audit stops a training whose numbers would be wrong, unless the recipe allows what it found."""

import json
import shutil

import pandas as pd
import pytest

from effmed import workflows
from effmed.data.audit import Finding
from effmed.errors import DataError, RecipeError
from effmed.recipe import AuditSettings
from effmed.run import Run
from effmed.workflows.auditing import audit_record, blocking, check_audit
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training
from tests.workflows import make

SMALL = ("model.weights=none", "model.image_size=32", "train.epochs=1", "train.threads=1", "train.batch_size=8")


class Listener:
    """A ``Talk`` that remembers what it was told."""

    def __init__(self):
        self.said, self.warned, self.progressed = [], [], []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)

    def progress(self, task, done, total, note=""):
        self.progressed.append((task, done, total))


def finding(kind, severity):
    images = tuple(f"{k}.png" for k in range(6))
    return Finding(
        kind=kind, severity=severity, images=images, n_images=9, text=f"{kind} is there", hint=f"mend {kind}"
    )


FOUND = (finding("near-duplicates", "error"), finding("shortcut", "error"), finding("one-size-class", "warning"))


@pytest.fixture
def copied(tmp_path):
    """24 patients of two classes; the picture of one lies in the folder of another class as well."""
    root = make.patients(tmp_path / "data", 24)
    shutil.copy(root / "sick" / "p01.png", root / "healthy" / "p99.png")
    return root


def training(data, folder, *settings):
    recipe = find_recipe(None, [*SMALL, "data.patient_pattern=(p[0-9]+)", *settings])
    return Training("timm:test_efficientnet", data, None, recipe, folder)


def test_what_is_allowed_does_not_block():
    assert [each.kind for each in blocking(FOUND, AuditSettings())] == ["near-duplicates", "shortcut"]
    assert [each.kind for each in blocking(FOUND, AuditSettings(allow=("shortcut",)))] == ["near-duplicates"]


def test_every_finding_is_told_with_some_of_its_images_before_the_first_stops():
    listener = Listener()
    with pytest.raises(DataError, match="found near-duplicates: near-duplicates is there") as caught:
        check_audit(FOUND, AuditSettings(allow=("shortcut",)), listener)
    assert caught.value.hint.startswith("mend near-duplicates")
    assert caught.value.hint.endswith("--set audit.allow=[shortcut,near-duplicates]")
    assert listener.warned[2] == (
        "audit: warning: one-size-class: one-size-class is there (mend one-size-class): 0.png, 1.png, 2.png, 3.png …"
    )


def test_warnings_stop_nothing():
    listener = Listener()
    check_audit(FOUND[2:], AuditSettings(), listener)
    assert len(listener.warned) == 1


@pytest.mark.parametrize(
    ("findings", "allow", "summary"),
    [
        ((), (), "nothing found"),
        (FOUND[2:], (), "warning: one-size-class"),
        (
            FOUND[1:],
            ("shortcut", "near-duplicates"),
            "error: shortcut; warning: one-size-class (allowed by the recipe: shortcut)",
        ),
    ],
)
def test_a_run_says_in_one_line_what_was_found_and_allowed(findings, allow, summary):
    record = audit_record(findings, AuditSettings(allow=allow))
    assert record["summary"] == summary
    assert record["allowed"] == list(allow)
    assert [each["kind"] for each in record["findings"]] == [each.kind for each in findings]


def test_a_copy_under_another_label_stops_the_training_before_anything_is_written(copied, tmp_path):
    with pytest.raises(DataError, match="conflicting-labels") as caught:
        workflows.train(training(copied, tmp_path / "run"))
    assert "audit.allow=" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_what_the_recipe_allows_is_trained_on_and_reported(copied, tmp_path):
    kinds = "[conflicting-labels,identical-pixels,near-duplicates]"
    listener = Listener()
    workflows.train(training(copied, tmp_path / "run", f"audit.allow={kinds}"), listener)
    run = Run(tmp_path / "run")
    written = json.loads(run.audit.read_text())
    assert "error: conflicting-labels" in written["summary"]
    assert written["findings"][0]["severity"] == "error"
    assert any("audit: error: conflicting-labels" in text for text in listener.warned)
    report = json.loads(run.report.read_text())
    assert written["summary"] in json.dumps(report)
    assert pd.read_csv(run.manifest)["window_origin"].eq("full").all()
    assert json.loads(run.fingerprint.read_text())["window_origin"] == {"full": 25}


def test_a_divided_patient_cannot_be_allowed():
    with pytest.raises(RecipeError, match=r"audit\.allow"):
        find_recipe(None, ["audit.allow=[shared-patient]"])
