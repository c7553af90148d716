"""A training and its tracker: what is told, and that no tracker ends a training."""

import re
from dataclasses import replace

import numpy as np
import pytest

from effmed import workflows
from effmed.errors import MachineError
from effmed.run import Run
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.training.showing import trackers, tracking
from effmed.workflows.training.showing.tracking import Tracking, epoch_numbers, parameters
from effmed.workflows.values import Training
from tests.learn.make import plan
from tests.workflows import make
from tests.workflows.test_auditing import Listener
from tests.workflows.training.showing.test_telling import EPOCH
from tests.workflows.training.showing.test_trackers import client, events, remember

SMALL = ("model.weights=none", "model.image_size=32", "train.epochs=2", "train.threads=1", "train.batch_size=8")


class Flaky:
    """A tracker that fails at some calls of ``log``."""

    def __init__(self, failing):
        self.failing, self.n_calls, self.told, self.begun, self.closed = failing, 0, [], [], []

    def n_told(self):
        return len(self.told)

    def begin(self, facts):
        self.begun.append(facts)

    def log(self, numbers, step):
        self.n_calls += 1
        if self.n_calls in self.failing:
            raise ConnectionError("server away\nat some address")
        self.told.append((step, numbers))

    def close(self, *, is_final):
        self.closed.append(is_final)


def tracked(tmp_path, store, monkeypatch, kind="tensorboard"):
    run, talk = Run(tmp_path), Listener()
    run.recipe.write_text(f"train: {{tracker: {kind}}}\n")
    monkeypatch.setattr(tracking, "open_store", lambda *_: store)
    return Tracking(run, plan(), 0, talk), talk


def test_the_numbers_of_an_epoch_are_those_of_the_history():
    assert epoch_numbers(EPOCH, "auroc") == {
        "train_loss": 0.41234, "val_loss": 0.52345, "val_score": 0.87351, "val_low": 0.8121, "val_high": 0.9219,
        "learning_rate": 2e-4, "duration_s": 12.4, "images_per_s": 212.4, "loader_wait_fraction": 0.031,
        "memory_mb": 1234.0, "n_images": 2400.0,
    }  # fmt: skip


def test_what_is_no_number_is_not_told_and_log_loss_has_its_usual_sign():
    found = epoch_numbers(
        replace(EPOCH, val_score=-0.7, val_low=None, val_high=None, train_loss=float("nan")), "log_loss"
    )
    assert found["val_score"] == 0.7
    assert {"val_low", "val_high", "train_loss"} & set(found) == set()


def test_a_tracker_that_fails_is_warned_of_once_and_gets_what_it_missed(tmp_path, monkeypatch):
    store = Flaky(failing={2, 3})
    told, talk = tracked(tmp_path, store, monkeypatch)
    for number in (1, 2, 3, 4):
        remember(told.run, number)
        told.tell()
    told.close(is_final=True)
    assert [step for step, _ in store.told] == [1, 2, 3, 4]
    assert talk.warned == ["tensorboard failed, training goes on and tries again after every epoch: server away"]
    assert talk.said == ["tensorboard takes numbers again; none is missing"]
    assert (len(store.begun), store.closed) == (3, [True])  # opened again after each failure


def test_a_run_that_misses_numbers_is_not_finished(tmp_path, monkeypatch):
    store = Flaky(failing={2})
    told, _ = tracked(tmp_path, store, monkeypatch)
    for number in (1, 2):
        remember(told.run, number)
    told.tell()
    told.close(is_final=True)
    assert store.closed == []
    remember(told.run, 3)
    told.tell()
    told.close(is_final=True)
    assert store.closed == [True]
    assert [step for step, _ in store.told] == [1, 2, 3]


def test_what_was_missed_in_the_last_epochs_is_sent_with_the_results(tmp_path, monkeypatch):
    store = Flaky(failing={2})
    told, talk = tracked(tmp_path, store, monkeypatch)
    for number in (1, 2):
        remember(told.run, number)
        told.tell()
    tracking.track_results(told.run, plan(), None, 1, talk)
    assert [step for step, _ in store.told] == [1, 2, 1]
    assert store.told[-1][1] == {"best_epoch": 1.0}
    assert store.closed == [True]


def test_without_a_tracker_nothing_is_opened(tmp_path, monkeypatch):
    told, talk = tracked(tmp_path, None, monkeypatch, kind="none")
    remember(told.run, 1)
    told.tell()
    told.close(is_final=True)
    assert (talk.said, talk.warned) == ([], [])


def test_a_bug_is_not_taken_for_a_tracker_that_fails(tmp_path, monkeypatch):
    store = Flaky(failing=set())
    store.log = None
    told, _ = tracked(tmp_path, store, monkeypatch)
    remember(told.run, 1)
    with pytest.raises(TypeError):
        told.tell()


def training(data, folder, *settings):
    recipe = find_recipe(None, [*SMALL, "data.one_image_per_patient=true", *settings])
    return Training("timm:test_efficientnet", data, None, recipe, folder)


def test_a_training_leaves_its_curves_and_results_in_tensorboard(tmp_path):
    data = make.squares(tmp_path / "data", 60)
    workflows.train(training(data, tmp_path / "run", "train.tracker=tensorboard"))
    found = events(tmp_path / "run" / "tensorboard")
    names = set(found.Tags()["scalars"])
    assert {"train_loss", "val_loss", "val_score", "val_low", "images_per_s", "best_epoch", "test/auroc/sick"} <= names
    assert [each.step for each in found.Scalars("train_loss")] == [1, 2]
    report = workflows.evaluate(tmp_path / "run", find_recipe(None, []), data=None, labels=None)
    (auroc,) = [m.value for m in report.metrics if m.name == "auroc" and m.stage == "calibrated" and not m.subgroup]
    assert np.isclose(found.Scalars("test/auroc/sick")[0].value, auroc, atol=1e-6)
    written = b"".join(path.read_bytes() for path in (tmp_path / "run" / "tensorboard").iterdir())
    assert not re.search(rb"p0\d\d", written)  # the names of images, which are those of patients
    assert str(tmp_path).encode() not in written


def test_the_plan_is_told_by_name_without_the_place_of_the_weights():
    found = parameters(plan(weights="file /home/somebody/w.pth"))
    assert (found["learning_rate"], found["batch_size"], found["image_size"]) == ("0.003", "8", "32 × 32 px")
    assert found["weights"] == "file"
    assert "/home" not in "".join(found.values())


def test_every_network_of_an_ensemble_has_its_run_in_mlflow_and_the_whole_has_the_results(tmp_path, capfd):
    data, place = make.squares(tmp_path / "data", 60), tmp_path / "all.db"
    settings = ("train.tracker=mlflow", f"train.tracker_uri={place}", "train.seeds=2")
    workflows.train(training(data, tmp_path / "run", *settings))
    assert capfd.readouterr() == ("", "")  # of MLflow's own
    found = client(Run(tmp_path / "run"), str(place))
    runs = found.search_runs([found.get_experiment_by_name("effmed").experiment_id])
    tested = {each.info.run_name: "test/auroc/sick" in each.data.metrics for each in runs}
    assert tested == {"run": True, "run-seed-0": False, "run-seed-1": False}
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert {each.data.params["learning_rate"] for each in runs} == {"0.001"}


def test_a_missing_package_ends_a_training_before_an_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="tracker = mlflow, but its package is not installed"):
        workflows.train(training(tmp_path / "nowhere", tmp_path / "run", "train.tracker=mlflow"))
