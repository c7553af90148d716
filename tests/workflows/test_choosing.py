"""What is chosen on val: of classes at once, of several labels for each, on what is known of it."""

import numpy as np
import pandas as pd
import pytest

from effmed.evaluate.calibrators import calibrate, fit_calibrator
from effmed.evaluate.decisions import choose_label_points
from effmed.evaluate.predictions import Scores, make_predictions
from effmed.learn.fitting.scores import undone
from effmed.learn.imbalance import undoing
from effmed.recipe import ReportSettings
from effmed.workflows.scoring.choosing import decide_again, decide_on_val, truth_of, undone_only, with_policies
from tests.learn.make import imbalance, plan

LABELS = ("a", "b")
CHANCE = np.random.default_rng(0)
REASONS = {"calibration.method": "fitted"}


def several(**changes):
    weighted = imbalance(4, n_logits=2, weights=(1.0, 1.0, 0.5, 2.0))
    return plan(task="multilabel", classes=LABELS, imbalance=weighted, reasons=REASONS, **changes)


def rows():
    cells = {"label_a": ["1", "0", "-1", None] * 50, "label_b": ["0", "1"] * 100}
    frame = pd.DataFrame({name: pd.array(each, dtype="string") for name, each in cells.items()})
    return frame.assign(image=[f"{k}.png" for k in range(200)], frame=0)


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_the_loss_did_is_undone_without_fitting_anything(exclusive):
    weighted = imbalance(weights=(0.5, 2.0), focus=(2.0, 2.0))
    made = plan(imbalance=weighted) if exclusive else several()
    found = undone_only(made, "because")
    logits = CHANCE.normal(size=(6, made.n_outputs))
    shift, maps = undoing(made.imbalance)
    assert (found.fitted_on, found.n, "because" in found.reason) == ("", 0, True)
    assert found.prior_shift == pytest.approx(shift)
    assert np.allclose(calibrate(found, logits), undone(logits, made.imbalance, exclusive=exclusive))
    assert len(found.maps) == len(maps) == exclusive


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({}, [1, 0, -1, -1]),
        ({"uncertain": "ones", "blank": "zeros"}, [1, 0, 1, 0]),
        ({"uncertain": "zeros"}, [1, 0, 0, -1]),
    ],
)
def test_uncertain_and_blank_labels_count_as_the_plan_says(policies, expected):
    assert truth_of(rows(), several(**policies))[:4, 0].tolist() == expected


def test_classes_have_their_numbers():
    assert truth_of(pd.DataFrame({"label": ["opacity", "clear"]}), plan()).tolist() == [1, 0]


def test_each_label_is_calibrated_after_its_own_shift():
    decided = several()
    truth = truth_of(rows(), decided)
    logits = CHANCE.normal(size=(200, 2)) + truth
    calibrator, chosen, missing = decide_on_val(Scores(rows(), logits, {}), decided)
    assert calibrator.prior_shift == (0.0, pytest.approx(np.log(4)))
    known = truth[:, 0] >= 0
    alone = fit_calibrator(logits[known, :1], truth[known, 0], method="auto", prior_shift=np.zeros(1))
    assert calibrate(calibrator, logits)[:, :1] == pytest.approx(calibrate(alone, logits[:, :1]))
    assert [point.class_name for point in chosen.points] == list(LABELS)
    assert (chosen.sets, chosen.referral, missing) == (None, None, ())


def test_other_rules_choose_on_the_same_images():
    decided = several()
    logits = CHANCE.normal(size=(200, 2))
    calibrator, chosen, _ = decide_on_val(Scores(rows(), logits, {}), decided)
    table = make_predictions(rows(), LABELS, logits, calibrator=calibrator, decisions=chosen, failures={})
    settings = decided.decision.model_copy(update={"value": 0.5})
    again, _ = decide_again(table, calibrator, decided, settings)
    truth = truth_of(rows(), decided)
    assert again.points == choose_label_points(table.probability, truth, settings, classes=LABELS)[0]
    assert decide_again(table, calibrator, decided, decided.decision)[0].points == chosen.points


def test_a_report_follows_the_policy_of_the_training_unless_told_otherwise():
    trained = several(uncertain="ones", blank="zeros")
    found = with_policies(ReportSettings(), trained, ())
    assert (found.uncertain, found.blank) == ("ones", "zeros")
    found = with_policies(ReportSettings(uncertain="zeros"), trained, {"uncertain"})
    assert (found.uncertain, found.blank) == ("zeros", "zeros")
    assert with_policies(ReportSettings(), plan(), ()) == ReportSettings()
