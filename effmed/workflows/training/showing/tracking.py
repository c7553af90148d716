"""A training tells its tracker; where that fails, the training goes on and what was missed is sent later."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import yaml

from effmed.learn.fitting import Epoch
from effmed.recipe import make_recipe
from effmed.workflows.training.showing.page import plan_facts
from effmed.workflows.training.showing.trackers import check_tracker, failures_of, open_store
from effmed.workflows.training.stopping import postponing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.report import Report
    from effmed.learn.plan import Plan
    from effmed.recipe import TrainSettings
    from effmed.run import Run
    from effmed.workflows.talk import Talk
    from effmed.workflows.training.showing.trackers import Store

NOT_CURVES = ("number", "is_best")


class Tracking:
    """What is still to be told to a tracker; without one it does nothing."""

    def __init__(self, run: Run, plan: Plan, n_done: int, talk: Talk) -> None:
        """Remember where to; nothing is opened yet.

        Args:
            run: Its recipe names the tracker. The plan does not: it goes into the bundle, where no place shall stand.
            plan: What was decided.
            n_done: Epochs that are done already, and were told.
            talk: Is warned, once, where the tracker fails.

        Raises:
            MachineError: The tracker's package is not installed.
        """
        self.run = run
        self.plan = plan
        self.n_done = n_done
        self.talk = talk
        self.settings = tracker_of(run)
        check_tracker(self.settings)  # again: a run may be continued on another machine
        self.store: Store | None = None
        self.n_told = 0
        self.has_failed = False

    def tell(self, results: Mapping[str, float] | None = None, best_epoch: int = 0) -> None:
        """Tell the epochs of the history that are not told yet, then what the best one gave, where that is known."""
        if self.settings.tracker == "none":
            return
        try:
            self._send(results, best_epoch)
        except failures_of(self.settings.tracker) as error:
            self._warn(error)
            return
        if self.has_failed:
            self.has_failed = False
            self.talk.say(f"{self.settings.tracker} takes numbers again; none is missing")

    def close(self, *, is_final: bool) -> None:
        """Let the tracker go; ``is_final`` where no more numbers will come."""
        if self.store is None:
            return
        try:
            self.store.close(is_final=is_final and not self.has_failed)
        except failures_of(self.settings.tracker) as error:
            self._warn(error)

    def _send(self, results: Mapping[str, float] | None, best_epoch: int) -> None:
        if self.store is None:
            store = open_store(self.settings, self.run, self.n_done)
            store.begin(parameters(self.plan))
            self.store, self.n_told = store, store.n_told()
        for epoch in read_history(self.run)[self.n_told :]:
            self.store.log(epoch_numbers(epoch, self.plan.metric), epoch.number)
            self.n_told = epoch.number
        if results is not None:
            self.store.log(results, best_epoch)

    def _warn(self, error: Exception) -> None:
        self.store = None  # a writer that has failed once writes no more
        if not self.has_failed:
            kind, said = self.settings.tracker, str(error).split("\n")[0]
            self.talk.warn(f"{kind} failed, training goes on and tries again after every epoch: {said}")
        self.has_failed = True


def parameters(plan: Plan) -> dict[str, str]:
    """Return every number and word of a plan by name; of the weights their kind alone: their place may be a folder."""
    plain = {name: str(value) for name, value in plan if isinstance(value, (str, int, float))}
    return plain | {"image_size": plan.preprocessing.size_text, "weights": plan_facts(plan)["starts from"]}


def tracker_of(run: Run) -> TrainSettings:
    """Return the settings of a run's own recipe; the defaults where it has none."""
    if not run.recipe.is_file():
        return make_recipe({}).train
    return make_recipe(yaml.safe_load(run.recipe.read_text(encoding="utf-8"))).train


def read_history(run: Run) -> list[Epoch]:
    """Return the epochs that a run has done; none of an ensemble as a whole."""
    lines = run.history.read_text(encoding="utf-8").splitlines() if run.history.is_file() else []
    return [Epoch(**json.loads(line)) for line in lines]


def epoch_numbers(epoch: Epoch, metric: str) -> dict[str, float]:
    """Return the curves of an epoch; log loss in its usual sign, and nothing that is no number."""
    found = {name: value for name, value in asdict(epoch).items() if name not in NOT_CURVES}
    if metric == "log_loss":
        found["val_score"] = -epoch.val_score
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def track_results(run: Run, plan: Plan, report: Report | None, best_epoch: int, talk: Talk) -> None:
    """Tell the calibrated metrics of the test split, and that the run is finished.

    Args:
        run: Where the tracker's settings stand.
        plan: What was decided.
        report: On test; None of one network of an ensemble, which is tested as a whole.
        best_epoch: Whose weights were kept.
        talk: Is warned where the tracker fails.
    """
    tracking = Tracking(run, plan, 0, talk)
    with postponing():  # MLflow takes any error for one of its server
        tracking.tell(
            {"best_epoch": float(best_epoch)} | ({} if report is None else result_numbers(report)), best_epoch
        )
        tracking.close(is_final=True)


def result_numbers(report: Report) -> dict[str, float]:
    """Return the calibrated metrics of all images with their limits, by name and class."""
    found: dict[str, float | None] = {}
    for each in report.metrics:
        if each.stage == "calibrated" and each.subgroup is None:
            name = "/".join(filter(None, ("test", each.name, each.class_name)))
            found |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
