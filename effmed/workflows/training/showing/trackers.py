"""TensorBoard and MLflow: the numbers of a training, and no row or name of a patient, where a group collects them."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from effmed.errors import MachineError, RecipeError
from effmed.run import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.recipe import TrainSettings
    from effmed.run import Run

MODULES = {"tensorboard": "tensorboard", "mlflow": "mlflow.tracking"}
REFUSED = re.compile(r"[^\w\-. /]")  # by MLflow in names
EXPERIMENT = "effmed"
CURVE = "train_loss"  # which every epoch has
# MLflow would ask a server that is away for minutes, while the training waits.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
# Neither the network is told anything that nobody asked for, nor stdout, which is the command's result.
SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class Store(Protocol):
    """An open tracker."""

    def begin(self, facts: Mapping[str, str]) -> None:
        """Take what was decided, once per run."""

    def n_told(self) -> int:
        """Return the number of the last epoch that it holds."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Take the numbers of an epoch, and see them written."""

    def close(self, *, is_final: bool) -> None:
        """Let go; ``is_final`` where no more numbers will come."""


def check_tracker(settings: TrainSettings) -> None:
    """Refuse a tracker that cannot be used, before minutes of reading.

    Raises:
        MachineError: Its package is not installed.
        RecipeError: An address without a tracker, or a password in it, which files of the run would keep.
    """
    kind, uri = settings.tracker, settings.tracker_uri
    if kind == "none":
        if uri:
            problem = f"train.tracker_uri = {_shown(uri)}, but train.tracker = none would not heed it"
            raise RecipeError(problem, hint="set train.tracker to tensorboard or mlflow, or leave both out")
        return
    if urlsplit(uri).password:
        problem = "train.tracker_uri holds a password, which recipe.yaml would keep"
        raise RecipeError(problem, hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead")
    if find_spec(MODULES[kind].split(".")[0]) is None:
        problem = f"train.tracker = {kind}, but its package is not installed"
        raise MachineError(problem, hint=f'pip install "effmed[{kind}]"')


def failures_of(kind: str) -> tuple[type[Exception], ...]:
    """Return what a tracker raises where a disk or a server fails."""
    if kind == "tensorboard":
        return (OSError,)
    _quieten()
    refused: list[type[Exception]] = [importlib.import_module("mlflow.exceptions").MlflowException]
    if find_spec("sqlalchemy") is not None:  # a server needs none here
        refused.append(importlib.import_module("sqlalchemy.exc").SQLAlchemyError)
    return (OSError, *refused)  # requests' errors are OSErrors


def open_store(settings: TrainSettings, run: Run, n_done: int) -> Store:
    """Open a tracker for a run; one that is continued goes on where it was.

    Args:
        settings: Which, and where.
        run: Its folder is the place where none is named.
        n_done: Epochs that are done already; what TensorBoard has of later ones counts no more.
    """
    if settings.tracker == "tensorboard":
        return TensorBoardStore(settings.tracker_uri, run, n_done)
    return MlflowStore(settings.tracker_uri, run)


class TensorBoardStore:
    """Files of events in a folder."""

    def __init__(self, uri: str, run: Run, n_done: int) -> None:
        folder = Path(uri) / run_name(run) if uri else run.folder / "tensorboard"
        begun = folder.is_dir()
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self.is_new = not begun
        self.n_done = n_done if begun else 0
        self.writer = writer(str(folder), purge_step=n_done + 1 if begun else None)

    def begin(self, facts: Mapping[str, str]) -> None:
        """Write what was decided as a table."""
        if self.is_new:
            rows = "".join(f"| {name} | {text} |\n" for name, text in facts.items())
            self.writer.add_text("plan", f"| decision | value |\n|---|---|\n{rows}")
            self.writer.flush()

    def n_told(self) -> int:
        """Return the epochs that still count: later ones are purged."""
        return self.n_done

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Write a point of each curve."""
        for name, number in numbers.items():
            self.writer.add_scalar(name, number, step)
        self.writer.flush()

    def close(self, *, is_final: bool) -> None:
        """Close the file of this process; another may follow."""
        del is_final
        self.writer.close()


class MlflowStore:
    """A run in the experiment "effmed" of a server or of a SQLite file; its id stands in the run folder."""

    def __init__(self, uri: str, run: Run) -> None:
        _quieten()
        client = importlib.import_module("mlflow.tracking").MlflowClient
        self.entities: Any = importlib.import_module("mlflow.entities")
        self.client = client(tracking_uri=mlflow_uri(uri, run))
        self.remembered = run.folder / "tracker.json"
        self.id = self._remembered() if self.remembered.is_file() else self._create(run, is_local=not uri)

    def _create(self, run: Run, *, is_local: bool) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        place = (run.folder / "mlflow").resolve().as_uri() if is_local else None
        experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, place)
        made: str = self.client.create_run(experiment, run_name=run_name(run)).info.run_id
        write_json(self.remembered, {"mlflow_run_id": made})
        return made

    def _remembered(self) -> str:
        found: str = json.loads(self.remembered.read_text(encoding="utf-8"))["mlflow_run_id"]
        self.client.update_run(found, status="RUNNING")
        return found

    def begin(self, facts: Mapping[str, str]) -> None:
        """Send what was decided as parameters, which MLflow never lets change."""
        if not self.client.get_run(self.id).data.params:
            parameters = [self.entities.Param(_allowed(name), text) for name, text in facts.items()]
            self.client.log_batch(self.id, params=parameters)

    def n_told(self) -> int:
        """Ask for the last epoch that arrived."""
        told = self.client.get_metric_history(self.id, CURVE)
        return max((point.step for point in told), default=0)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Send a point of each curve."""
        now = importlib.import_module("mlflow.utils.time").get_current_time_millis()
        points = [self.entities.Metric(_allowed(name), number, now, step) for name, number in numbers.items()]
        self.client.log_batch(self.id, metrics=points)

    def close(self, *, is_final: bool) -> None:
        """Mark the run as finished where it is; otherwise it may go on."""
        if is_final:
            self.client.set_terminated(self.id, "FINISHED")


def run_name(run: Run) -> str:
    """Return the name of a run; one network of an ensemble is named after both."""
    folder = run.folder.resolve()
    return f"{folder.parent.name}-{folder.name}" if (folder.parent / "recipe.yaml").is_file() else folder.name


def mlflow_uri(uri: str, run: Run) -> str:
    """Return MLflow's own address of a server, or of the SQLite file that a path names."""
    if "://" in uri:
        return uri
    return f"sqlite:///{Path(uri).resolve() if uri else (run.folder / 'mlflow.db').resolve()}"


def _quieten() -> None:
    """Turn off MLflow's telemetry and talk, and its long waiting unless somebody wants it."""
    os.environ.update(SILENCE)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)


def _allowed(name: str) -> str:
    return REFUSED.sub("_", name)


def _shown(uri: str) -> str:
    return re.sub(r"://[^@/]*@", "://…@", uri)
