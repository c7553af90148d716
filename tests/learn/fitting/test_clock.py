import pytest
import torch

from effmed.learn.fitting import clock, fit, fit_steps, start_training
from effmed.learn.fitting.clock import Clock, Pace
from effmed.learn.machine.team import ALONE, Team
from effmed.learn.network import build_network
from effmed.recipe import AugmentSettings
from tests.learn import make


class Ticking:
    """A clock that goes on by so many seconds each time somebody looks."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def perf_counter(self):
        self.now += self.seconds
        return self.now


def started(plan):
    torch.manual_seed(plan.seed)
    return start_training(build_network(plan), plan)


def test_the_first_step_counts_for_no_rate_unless_it_is_the_only_one():
    pace = Pace()
    assert pace.images_per_s == pace.waiting_fraction == 0
    pace.stepped(32, 10.0, 1.0)
    assert pace.images_per_s == pytest.approx(3.2)
    pace.stepped(32, 2.0, 0.5)
    pace.stepped(16, 1.0, 0.0)
    assert pace.images_per_s == pytest.approx(16.0)
    assert pace.waiting_fraction == pytest.approx(1.5 / 13)
    assert pace.n_images == 80


def test_without_a_budget_the_steps_alone_count(monkeypatch):
    monkeypatch.setattr(clock, "time", Ticking(1000.0))
    state = started(make.plan())
    assert Clock(state, make.plan(), ALONE).fraction(0.25, Pace()) == 0.25


def test_of_a_budget_what_follows_is_kept(monkeypatch):
    """10 minutes, 100 s for val: 2 validations, test of the same size, and the report must still fit."""
    ticking = Ticking(0.0)
    monkeypatch.setattr(clock, "time", ticking)
    plan = make.plan(time_budget_min=10.0, n_val=12, n_test=12)
    state = started(plan)
    watched = Clock(state, plan, ALONE)
    watched.validated(100.0)
    usable_s = 600 - 3 * 100 - clock.REPORT_S  # val once more as a step towards the end, then val and test
    ticking.now = usable_s / 2
    assert watched.fraction(0.1, Pace()) == pytest.approx(0.5)
    assert watched.fraction(0.7, Pace()) == pytest.approx(0.7)  # the steps are ahead of the time
    ticking.now = usable_s
    assert watched.fraction(0.1, Pace()) == 1.0
    assert state.used_s == pytest.approx(usable_s)


def test_before_the_first_validation_its_time_is_told_from_the_steps(monkeypatch):
    monkeypatch.setattr(clock, "time", Ticking(0.0))
    plan = make.plan(time_budget_min=10.0, n_val=300, n_test=0)
    pace = Pace()
    pace.stepped(10, 1.0, 0.0)  # 10 images per second in training are 30 in validation
    assert Clock(started(plan), plan, ALONE)._kept_s(pace) == pytest.approx(2 * 10 + clock.REPORT_S)


def test_a_training_that_would_not_be_done_goes_through_the_whole_schedule_in_fewer_steps(monkeypatch):
    monkeypatch.setattr(clock, "time", Ticking(2.0))
    plan = make.plan(epochs=50, patience=50, time_budget_min=2.0, n_val=12, n_test=12)
    state = started(plan)
    rates = []
    for _ in fit_steps(state, make.images(24), make.images(12, seed=1), plan):
        rates.append(float(state.optimiser.param_groups[0]["lr"]))
    assert state.is_over
    assert 1 < state.epoch < 50
    assert 0.9 * plan.learning_rate < max(rates) <= plan.learning_rate
    assert rates[-1] < 0.02 * plan.learning_rate
    assert state.used_s < 120
    assert list(fit(state, make.images(24), make.images(12, seed=1), plan)) == []  # nor is it continued


def test_a_budget_that_is_used_up_already_allows_one_step(monkeypatch):
    monkeypatch.setattr(clock, "time", Ticking(1000.0))
    plan = make.plan(time_budget_min=1.0)
    state = started(plan)
    (epoch,) = fit(state, make.images(24), make.images(12, seed=1), plan)
    assert epoch.n_images == 8
    assert state.is_over


def test_time_that_ends_with_an_epoch_begins_no_other(monkeypatch):
    ticking = Ticking(0.0)
    monkeypatch.setattr(clock, "time", ticking)
    plan = make.plan(epochs=5, time_budget_min=10.0)
    state, seen = started(plan), []
    for epoch in fit(state, make.images(24), make.images(12, seed=1), plan):
        seen.append((epoch.number, epoch.n_images))
        ticking.now += 400.0 * len(seen)
    assert seen == [(1, 24), (2, 24)]
    assert state.is_over
    assert (state.epoch, state.losses) == (2, [])


def test_what_was_used_before_the_first_step_is_not_part_of_the_schedule(monkeypatch):
    ticking = Ticking(0.0)
    monkeypatch.setattr(clock, "time", ticking)
    plan = make.plan(time_budget_min=10.0, n_val=12, n_test=12)
    state = started(plan)
    state.used_s = 300.0  # of decoding
    watched = Clock(state, plan, ALONE)
    assert watched.fraction(0.0, Pace()) == 0.0
    ticking.now = (300 - clock.REPORT_S) / 2
    assert watched.fraction(0.0, Pace()) == pytest.approx(0.5)


def kept(monkeypatch, team=ALONE, scoring_s=0.0, **changes):
    monkeypatch.setattr(clock, "time", Ticking(0.0))
    plan = make.plan(time_budget_min=10.0, n_val=12, n_test=12, **changes)
    state = started(plan)
    state.scoring_s = scoring_s
    watched = Clock(state, plan, team)
    watched.validated(10.0)
    return watched._kept_s(Pace()) - clock.REPORT_S


def test_views_processes_and_the_backbone_are_counted_in_what_follows(monkeypatch):
    assert kept(monkeypatch) == pytest.approx(10 + 20)
    assert kept(monkeypatch, augment=AugmentSettings(test_views=4)) == pytest.approx(10 + 4 * 20)
    assert kept(monkeypatch, team=Team(0, 3)) == pytest.approx(10 + 3 * 20)  # the first scores alone
    assert kept(monkeypatch, scoring_s=50.0) == pytest.approx(10 + 2 * 50)  # stored features validate in no time
