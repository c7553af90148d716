"""What TensorBoard and MLflow are told is read back with the real packages."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from effmed.errors import MachineError, RecipeError
from effmed.recipe import TrainSettings
from effmed.run import Run, append_line
from effmed.workflows.training.showing import trackers
from effmed.workflows.training.showing.trackers import check_tracker, mlflow_uri, open_store, run_name
from effmed.workflows.training.showing.tracking import Tracking
from tests.learn.make import plan
from tests.workflows.test_auditing import Listener
from tests.workflows.training.showing.test_telling import EPOCH

# MLflow's own server, without its web pages.
SERVER = """
import sys
from mlflow.server import app
from mlflow.server.handlers import initialize_backend_stores
from werkzeug.serving import make_server
initialize_backend_stores(sys.argv[2], default_artifact_root=sys.argv[3])
make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""
START_S = 120


def remember(run, number):
    """What a training does after every epoch, before it tells anybody."""
    append_line(run.history, json.dumps(asdict(replace(EPOCH, number=number))))


FACTS = {"variant": "b0", "loss": "cross-entropy"}


def settings(kind, uri=""):
    return TrainSettings(tracker=kind, tracker_uri=uri)


def run_in(tmp_path, name="xrays-b0-1"):
    run = Run(tmp_path / name)
    run.folder.mkdir(parents=True)
    return run


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def client(run, uri=""):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=mlflow_uri(uri, run))


def test_no_tracker_is_nothing_to_check():
    check_tracker(settings("none"))


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_package_is_refused_with_the_name_of_its_extra(kind, module, monkeypatch):
    check_tracker(settings(kind))
    find = trackers.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(MachineError, match="its package is not installed") as caught:
        check_tracker(settings(kind))
    assert caught.value.hint == f'pip install "effmed[{kind}]"'


def test_an_address_without_a_tracker_is_refused():
    with pytest.raises(RecipeError, match=r"none would not heed it") as caught:
        check_tracker(settings("none", "https://me:secret@host"))
    assert "secret" not in caught.value.problem


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(RecipeError, match="holds a password") as caught:
        check_tracker(settings("mlflow", "https://me:secret@host"))
    assert "secret" not in caught.value.problem + caught.value.hint


def test_one_network_of_an_ensemble_is_named_after_both(tmp_path):
    outer = run_in(tmp_path)
    inner = run_in(outer.folder, "fold-1")
    assert (run_name(outer), run_name(inner)) == ("xrays-b0-1", "fold-1")
    outer.recipe.write_text("")
    assert run_name(inner) == "xrays-b0-1-fold-1"


def test_an_address_stays_and_a_path_is_a_file(tmp_path):
    run = run_in(tmp_path)
    assert mlflow_uri("http://host:5000", run) == "http://host:5000"
    assert mlflow_uri(str(tmp_path / "all.db"), run) == f"sqlite:///{tmp_path / 'all.db'}"
    assert mlflow_uri("", run) == f"sqlite:///{run.folder / 'mlflow.db'}"


def test_tensorboard_reads_numbers_and_plan_back(tmp_path):
    run = run_in(tmp_path)
    store = open_store(settings("tensorboard"), run, 0)
    store.begin(FACTS)
    store.log({"train_loss": 0.5, "val_score": 0.75}, 1)
    store.log({"train_loss": 0.25}, 2)
    assert [each.value for each in events(run.folder / "tensorboard").Scalars("train_loss")] == [0.5, 0.25]  # unclosed
    store.close(is_final=True)
    found = events(run.folder / "tensorboard")
    assert [(each.step, each.value) for each in found.Scalars("val_score")] == [(1, 0.75)]
    text = found.Tensors("plan/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| variant | b0 |" in text


def test_a_continued_training_replaces_what_its_checkpoint_does_not_hold(tmp_path):
    run = run_in(tmp_path)
    first = open_store(settings("tensorboard"), run, 0)
    for step in (1, 2, 3):
        first.log({"train_loss": float(step)}, step)
    first.close(is_final=False)
    second = open_store(settings("tensorboard"), run, 1)
    second.begin(FACTS)
    second.log({"train_loss": 20.0}, 2)
    second.close(is_final=True)
    found = events(run.folder / "tensorboard")
    assert [(each.step, each.value) for each in found.Scalars("train_loss")] == [(1, 1.0), (2, 20.0)]


def test_a_named_folder_gets_one_per_run(tmp_path):
    for name in ("a-b0-1", "a-b0-2"):
        store = open_store(settings("tensorboard", str(tmp_path / "all")), run_in(tmp_path, name), 0)
        store.log({"train_loss": 0.5}, 1)
        store.close(is_final=True)
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"a-b0-1", "a-b0-2"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A run with an MLflow file that was written, left, and continued, and the empty folder that this happened in."""
    run, elsewhere = run_in(tmp_path_factory.mktemp("mlflow")), tmp_path_factory.mktemp("elsewhere")
    with contextlib.chdir(elsewhere):
        open_store(settings("mlflow"), run, 0)  # which was cut off here
        first = open_store(settings("mlflow"), run, 0)
        first.begin(FACTS)
        first.log({"train_loss": 0.5}, 1)
        first.close(is_final=False)
        left = client(run).get_run(first.id).info.status
        second = open_store(settings("mlflow"), run, 1)
        assert second.n_told() == 1
        second.begin({"variant": "another"})
        second.log({"train_loss": 0.25, "test/auroc/a (b)": 0.9}, 2)
        second.close(is_final=True)
    return run, left, elsewhere


def test_mlflow_holds_no_epoch_before_the_first(tmp_path):
    assert open_store(settings("mlflow"), run_in(tmp_path), 0).n_told() == 0


@pytest.mark.slow
def test_a_file_that_is_no_database_of_mlflow_does_not_end_a_training(tmp_path):
    run, talk = run_in(tmp_path), Listener()
    (tmp_path / "all.db").write_text("this is no database" * 100)
    run.recipe.write_text(f"train: {{tracker: mlflow, tracker_uri: '{tmp_path / 'all.db'}'}}\n")
    remember(run, 1)
    Tracking(run, plan(epochs=4), 0, talk).tell()
    assert len(talk.warned) == 1
    assert talk.warned[0].startswith("mlflow failed, training goes on and tries again")


def test_mlflow_continues_the_same_run(filled):
    run, left, _ = filled
    found = client(run)
    (experiment,) = [each for each in found.search_experiments() if each.name == "effmed"]
    (entry,) = found.search_runs([experiment.experiment_id])
    assert (left, entry.info.status, entry.info.run_name) == ("RUNNING", "FINISHED", "xrays-b0-1")
    assert entry.data.params == FACTS
    points = found.get_metric_history(entry.info.run_id, "train_loss")
    assert [(each.step, each.value) for each in points] == [(1, 0.5), (2, 0.25)]
    assert entry.data.metrics["test/auroc/a _b_"] == 0.9


def test_mlflow_is_told_of_no_user_and_no_place_and_writes_in_the_run_folder_alone(filled):
    run, _, elsewhere = filled
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in run.folder.iterdir()} == {"mlflow.db", "tracker.json"}
    entry = client(run).get_run(json.loads((run.folder / "tracker.json").read_text())["mlflow_run_id"])
    assert set(entry.data.tags) == {"mlflow.runName"}


def test_mlflow_has_no_telemetry():
    """In a process of its own: MLflow's own word on whether telemetry is off, after effmed opened it."""
    probe = (
        "from effmed.workflows.training.showing.trackers import failures_of\n"
        "failures_of('mlflow')\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    clean = {k: v for k, v in os.environ.items() if k not in {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI"}}
    clean.pop("PYTEST_CURRENT_TEST", None)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.strip() == "True"


class Server:
    """MLflow's server on this machine; it can go away and come back."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        arguments = [str(self.port), f"sqlite:///{self.folder / 'server.db'}", str(self.folder / "artifacts")]
        command = [sys.executable, "-c", SERVER, *arguments]
        with (self.folder / "server.log").open("ab") as log:
            quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet, cwd=self.folder)
        deadline = time.monotonic() + START_S
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def answers(self):
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back_misses_nothing(server, tmp_path, capfd):
    run, talk = run_in(tmp_path), Listener()
    run.recipe.write_text(f"train: {{tracker: mlflow, tracker_uri: '{server.uri}'}}\n")
    tracking = Tracking(run, plan(epochs=4), 0, talk)
    remember(run, 1)
    tracking.tell()
    server.stop()
    for number in (2, 3):
        started = time.monotonic()
        remember(run, number)
        tracking.tell()
        assert time.monotonic() - started < 10
    server.start()
    remember(run, 4)
    tracking.tell()
    tracking.close(is_final=True)
    assert [each.partition(":")[0] for each in talk.warned] == [
        "mlflow failed, training goes on and tries again after every epoch"
    ]
    assert talk.said == ["mlflow takes numbers again; none is missing"]
    found = client(run, server.uri)
    made = json.loads((run.folder / "tracker.json").read_text())["mlflow_run_id"]
    assert [each.step for each in found.get_metric_history(made, "val_score")] == [1, 2, 3, 4]
    entry = found.get_run(made)
    assert (entry.info.status, entry.data.params["loss"]) == ("FINISHED", "binary cross-entropy")
    assert capfd.readouterr().out == ""
