"""Run: the one folder a training leaves; whole-file writes; the completeness marker."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import platformdirs

from effmed.errors import BundleError, EffmedError, MachineError, RecipeError

try:
    import fcntl
except ImportError:  # pragma: no cover  Windows
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

RUNS = Path("runs")
LOCK = ".lock"  # in the folder of a run that trains
# Names of what is written before a run can be resumed: whole; torn while it was written; of one network or several.
_FIRST = r"(environment|audit|fingerprint)\.json|recipe\.yaml|manifest\.csv"
_TORN = rf"\.({_FIRST}|plan\.json)\.[0-9a-f]{{8}}\.[a-z]+"
_LAST = r"last/(\.?epoch-\d+[^/]*/[^/]+|\.?(weights\.safetensors|start\.json)[^/]*)"
TORN = re.compile(rf"{_TORN}|{re.escape(LOCK)}")
BEGUN = re.compile(rf"{TORN.pattern}|{_FIRST}|{_LAST}|(fold|seed)-\d+/({_TORN}|{_FIRST}|plan\.json)")


@dataclass(frozen=True)
class Run:
    """Where everything of one training lies.

    Attributes:
        folder: The run folder. It is complete when ``done.json`` stands in it; otherwise it may only be resumed.
    """

    folder: Path

    @property
    def recipe(self) -> Path:
        """What was wanted."""
        return self.folder / "recipe.yaml"

    @property
    def fingerprint(self) -> Path:
        """What the data looked like."""
        return self.folder / "fingerprint.json"

    @property
    def audit(self) -> Path:
        """What is suspicious about the data."""
        return self.folder / "audit.json"

    @property
    def plan(self) -> Path:
        """What was decided, with reasons."""
        return self.folder / "plan.json"

    @property
    def manifest(self) -> Path:
        """Every image with its class, patient and split."""
        return self.folder / "manifest.csv"

    @property
    def environment(self) -> Path:
        """Versions, device, seed, command."""
        return self.folder / "environment.json"

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.folder / "history.jsonl"

    @property
    def training_page(self) -> Path:
        """Curves of the history, for a browser."""
        return self.folder / "training.html"

    @property
    def last(self) -> Path:
        """What ``--resume`` needs."""
        return self.folder / "last"

    @property
    def bundle(self) -> Path:
        """The product."""
        return self.folder / "bundle"

    @property
    def report(self) -> Path:
        """The numbers of the test split."""
        return self.folder / "report.json"

    @property
    def done(self) -> Path:
        """The marker that is written last."""
        return self.folder / "done.json"

    @property
    def is_complete(self) -> bool:
        """Whether everything above is there and whole."""
        return self.done.is_file()

    @property
    def leftovers(self) -> list[Path]:
        """What a training that was killed before its first step has left, where the folder holds nothing else; or none.

        Other files, and an ``environment.json`` that is not ours, are somebody's: then nothing is a leftover.
        """
        if not self.folder.is_dir() or self.plan.exists():
            return []
        found = [path for path in self.folder.rglob("*") if not path.is_dir()]
        names = [path.relative_to(self.folder).as_posix() for path in found]
        if not _is_ours(self.environment):  # it is written first, after the lock
            return found if all(TORN.fullmatch(name) for name in names) else []
        return found if all(BEGUN.fullmatch(name) for name in names) else []

    def predictions(self, split: str) -> Path:
        """The table of ``val`` or ``test`` predictions."""
        return self.folder / "predictions" / f"{split}.parquet"

    def tested(self) -> Path:
        """The table of test predictions.

        Raises:
            BundleError: There is none, because the run is one network of an ensemble.
        """
        table, outer = self.predictions("test"), Run(self.folder.resolve().parent)
        if not table.is_file() and outer.plan.is_file():
            problem = f"{self.folder} is one network of an ensemble, which is tested as a whole"
            raise BundleError(problem, hint=f"name the whole: {outer.folder}")
        return table


def cache_folder() -> Path:
    """Return where effmed keeps what later commands need again: ``$EFFMED_CACHE``, or the platform's cache folder."""
    named = os.environ.get("EFFMED_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("effmed")


def kernels_folder() -> Path:
    """Return where this user's compiled kernels lie: several users may share a cache, but no code."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return cache_folder() / f"kernels-{user}"


def make_run_folder(folder: Path | None, *, data: Path, variant: str) -> Run:
    """Create the folder of a new run: ``folder``, or the next free ``runs/<data>-<variant>-<n>``.

    Raises:
        MachineError: The folder cannot be created.
        BundleError: ``folder`` exists and holds something.
    """
    if folder is not None:
        _clear_leftovers(Run(folder))
        if folder.exists() and any(folder.iterdir()):
            problem = f"{folder} already holds something"
            raise BundleError(problem, hint="name another --run folder, or continue that run with --resume")
        _make_folder(folder)
        return Run(folder)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{data.resolve().stem}-{variant}")
    taken = [int(match.group(1)) for path in RUNS.glob(f"{stem}-*") if (match := re.search(r"-(\d+)$", path.name))]
    number = max(taken, default=0) + 1
    while not _make_folder(RUNS / f"{stem}-{number}", exist_ok=False):
        number += 1  # another training has just taken it
    return Run(RUNS / f"{stem}-{number}")


def open_run(folder: Path) -> Run:
    """Return the complete run in ``folder``.

    Raises:
        BundleError: There is none, or it is not complete.
    """
    run = Run(folder)
    if run.is_complete:
        return run
    if run.plan.is_file():
        problem = f"run {folder} is not complete: its training was interrupted"
        raise BundleError(problem, hint=f"finish it with: effmed train --resume --run {folder}")
    problem = f"{folder} is not a run folder: it holds neither plan.json nor done.json"
    raise BundleError(problem, hint="name the folder that 'effmed train' printed, such as runs/xrays-b4-1")


def newest_run(runs: Path = RUNS, *, complete: bool = True) -> Run:
    """Return the newest complete (or the newest unfinished) run below ``runs``.

    Raises:
        BundleError: There is none.
    """
    found = [Run(path.parent) for path in runs.glob("*/plan.json")]
    chosen = [run for run in found if run.is_complete == complete]
    if not chosen:
        kind = "complete" if complete else "unfinished"
        problem = f"no {kind} run below {runs.resolve()}"
        raise BundleError(problem, hint="name the run folder, or train one: effmed train --variant b0 --data FOLDER")
    return max(chosen, key=lambda run: (run.done if complete else run.plan).stat().st_mtime_ns)


def check_writable(folder: Path, *, needed_mb: int = 1) -> None:
    """Make sure that a file can be written below ``folder`` before hours are spent.

    Args:
        folder: The folder, which need not exist yet.
        needed_mb: Free space that must be there, in MB.

    Raises:
        MachineError: No permission, or too little space.
    """
    parent = folder.resolve()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problem = f"no permission to write in {parent}"
        raise MachineError(problem, hint="choose a folder that you may write to")
    free_mb = shutil.disk_usage(parent).free // 1_000_000
    if free_mb < needed_mb:
        problem = f"{free_mb} MB free on the disk of {parent}, {needed_mb} MB needed"
        raise MachineError(problem, hint="free some space or choose a folder on another disk")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; what is written there takes its place whole, or nothing does.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _synchronise(temporary)
        temporary.replace(path)
    except OSError as error:
        raise machine_error(error, path) from error
    finally:
        _remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: BaseModel | Mapping[str, object]) -> None:
    """Write a model or mapping as indented JSON, whole or not at all."""
    plain = value if not hasattr(value, "model_dump") else value.model_dump(mode="json", by_alias=True)
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file and see it reach the disk."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise machine_error(error, path) from error


def machine_error(error: OSError, path: Path) -> EffmedError:
    """Say in words what the operating system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"the disk is full: {path} could not be written", hint="free some space, then run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MachineError(f"no permission to write {path}", hint="choose a folder that you may write to")
    return MachineError(f"{path} could not be written: {error.strerror or error}", hint="check the disk and the path")


@contextmanager
def claimed(run: Run) -> Iterator[str]:
    """Train in a folder alone, until the block is left or the process dies.

    Yields:
        A warning where the file system knows no locks (Lustre without flock, NFS without its daemon); else "".

    Raises:
        BundleError: Another process trains in it.
        MachineError: The folder cannot be written to.
    """
    if fcntl is None:  # pragma: no cover  Windows
        yield ""
        return
    path, doubt = run.folder / LOCK, ""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = f"another process trains in {run.folder}"
            raise BundleError(problem, hint="wait until it ends, or name another --run folder") from error
        except OSError as error:
            doubt = f"{error.strerror}: {run.folder} cannot be locked; see to it that nothing else trains in it"
        try:
            yield doubt
        finally:
            path.unlink(missing_ok=True)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise machine_error(error, path) from error


def _clear_leftovers(run: Run) -> None:
    """Remove what a training that was killed before its first step has left, file by file."""
    if not run.leftovers:
        return
    with claimed(run):
        for path in run.leftovers:
            path.unlink(missing_ok=True)
    for path in sorted(run.folder.rglob("*"), reverse=True):
        path.rmdir()


def _is_ours(path: Path) -> bool:
    """Whether a file is what a training writes first."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and {"effmed", "job", "command"} <= facts.keys()


def _make_folder(folder: Path, *, exist_ok: bool = True) -> bool:
    """Make a folder; return False where it is there already and that is not wanted."""
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if isinstance(error, FileExistsError) and not exist_ok:
            return False
        raise machine_error(error, folder) from error
    return True


def _synchronise(path: Path) -> None:
    for each in [path] if path.is_file() else path.glob("*"):
        with each.open("rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.parent.is_dir():
        path.unlink(missing_ok=True)


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file, or into a folder that holds something.

    Raises:
        RecipeError: ``path`` is taken and ``overwrite`` was not asked for.
    """
    taken = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not overwrite:
        raise RecipeError(f"{path} exists already", hint="name another --out, or add --overwrite")
