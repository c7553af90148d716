"""What a training tells while it runs: numbers of every step, a line per epoch, the time that is left of all."""

from dataclasses import replace

import pytest

from effmed.learn.fitting import Epoch, Step
from effmed.workflows.training.showing.telling import TASK, Teller, duration_text, epoch_line, score_text, step_note
from tests.learn.make import plan
from tests.workflows.test_auditing import Listener

EPOCH = Epoch(
    number=2,
    train_loss=0.41234,
    val_loss=0.52345,
    val_score=0.87351,
    val_low=0.8121,
    val_high=0.9219,
    is_best=True,
    learning_rate=2e-4,
    duration_s=12.4,
    images_per_s=212.4,
    loader_wait_fraction=0.031,
    memory_mb=1234.0,
    n_images=2400,
)
STEP = Step(
    epoch=2, step=3, n_steps=10, loss=0.5, images_per_s=1234.5, loader_wait_fraction=0.0, memory_mb=850.0
)  # fmt: skip


class Remembering(Listener):
    def progress(self, task, done, total, note=""):
        self.progressed.append((task, done, total, note))


def test_the_line_of_an_epoch_holds_every_number():
    assert epoch_line(EPOCH, 20, "val auroc 0.8735 (0.812 to 0.922)", 223.2) == (
        "epoch 2/20: loss 0.4123, val loss 0.5234, val auroc 0.8735 (0.812 to 0.922), best so far; "
        "212 images/s, loader wait 3%, 1.2 GB; 12 s, at most 4 min left"
    )


def test_after_the_last_epoch_no_time_is_left():
    assert epoch_line(replace(EPOCH, is_best=False), 2, "v", 0.0).endswith(
        "v; 212 images/s, loader wait 3%, 1.2 GB; 12 s"
    )


def test_the_numbers_of_a_step_go_with_the_metric_of_the_epoch_before():
    told = step_note(STEP, 20, "val auroc 0.9")
    assert told == "epoch 2 of 20, loss 0.5000, val auroc 0.9, 1,234 images/s, loader wait 0%, 850 MB"
    assert "val" not in step_note(STEP, 20, "")


def test_no_speed_is_told_before_one_is_known():
    assert "images/s" not in step_note(replace(STEP, images_per_s=0.0), 20, "")


def test_the_log_loss_has_its_usual_sign_and_no_interval():
    assert score_text(replace(EPOCH, val_score=-0.6931, val_low=None, val_high=None)) == "0.6931"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7100, "118 min"), (11100, "3 h 05 min")],
)
def test_durations_are_told_in_units_that_fit(seconds, text):
    assert duration_text(seconds) == text


def test_progress_and_time_are_those_of_the_whole_training():
    seconds, talk = iter([0.0, 30.0]), Remembering()
    teller = Teller(plan(epochs=5), n_done=1, talk=talk, clock=lambda: next(seconds))
    teller.stepped(STEP)
    teller.ended(EPOCH, 0.0)
    teller.stepped(replace(STEP, epoch=5, step=10))
    teller.over()
    assert [each[:3] for each in talk.progressed] == [(TASK, 13, 50), (TASK, 49, 50), (TASK, 50, 50)]
    assert talk.said[0].endswith("12 s, at most 90 s left")  # three more epochs at 30 s
    assert "val auroc 0.8735 (0.812 to 0.922)" in talk.progressed[1][3]
    assert "val" not in talk.progressed[0][3]


@pytest.mark.parametrize(("used_s", "left"), [(10.0, 50), (25.0, 35), (70.0, 0)])
def test_no_more_time_is_left_than_the_budget_has(used_s, left):
    seconds, talk = iter([0.0, 20.0]), Remembering()
    teller = Teller(plan(epochs=9, time_budget_min=1.0), n_done=1, talk=talk, clock=lambda: next(seconds))
    teller.ended(EPOCH, used_s)  # seven more at 20 s are planned
    assert talk.said[0].endswith(f"at most {left} s left")
