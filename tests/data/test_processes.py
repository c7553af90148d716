"""Work in processes: the same results in the same order; a death or a loop without end costs one item."""

import os
import pickle
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

import cv2
import pytest

from effmed.data import processes as module
from effmed.data.processes import PENDING_PER_WORKER, Job, start_early, work_through
from effmed.errors import MachineError, RecipeError
from tests.data.deadly import end_process, is_imported, lost, square

JOB = Job(square, lost)


def test_results_come_in_the_order_of_the_items_with_and_without_processes():
    items = range(2 * PENDING_PER_WORKER + 5)
    expected = [k * k for k in items]
    assert list(work_through(JOB, items)) == expected
    assert list(work_through(JOB, items, workers=2)) == expected


def test_a_death_costs_its_item_and_no_other():
    items = [1, 2, -1, *range(3, 2 * PENDING_PER_WORKER + 3)]
    assert list(work_through(JOB, items, workers=2)) == ["lost -1" if k == -1 else k * k for k in items]


def test_what_never_ends_is_ended_and_costs_its_item():
    job = Job(square, lost, limit_s=1.0)
    assert list(work_through(job, [1, -2, 3], workers=2)) == [1, "lost -2", 9]


def test_processes_that_cannot_start_are_the_machines_fault(monkeypatch):
    monkeypatch.setattr(module, "_prepare_process", end_process)
    with pytest.raises(MachineError, match="cannot be started") as caught:
        list(work_through(JOB, [1], workers=2))
    assert "__main__" in caught.value.hint


def test_processes_of_another_effmed_do_not_read_images(monkeypatch):
    monkeypatch.setattr(module, "__file__", "elsewhere/processes.py")
    with pytest.raises(MachineError, match="with another effmed"):
        list(work_through(JOB, [1], workers=2))


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux alone")


@needs_linux
def test_processes_have_what_they_need_from_the_start_and_no_torch():
    start_early()
    names = ["pydicom", "effmed.data.decode", "torch"]
    assert list(work_through(Job(is_imported, lost), names, workers=2)) == [True, True, False]


def refuse(*_):
    raise OSError("AF_UNIX path too long")


@pytest.mark.parametrize("where", ["darwin", "linux"])
def test_where_none_can_be_forked_each_process_starts_from_nothing(monkeypatch, where):
    monkeypatch.setattr(module.sys, "platform", where)
    monkeypatch.setattr(module.forkserver, "ensure_running", refuse)
    start_early()
    assert list(work_through(Job(is_imported, lost), ["pydicom"] * 2, workers=2)) == [False, False]


def test_one_core_starts_nothing_early(monkeypatch):
    monkeypatch.setattr(module, "n_cores", lambda: 1)
    monkeypatch.setattr(module, "_way_to_start", None)
    start_early()


@needs_linux
def test_the_process_that_is_forked_never_sees_an_interrupt():
    start_early()
    status = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]
    assert int(mask, 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("before", [None, "1"])
def test_no_module_of_the_current_folder_is_imported(tmp_path, before):
    """As in a clone of effmed's repository, while another effmed is installed."""
    work, script = tmp_path / "work", tmp_path / "script" / "main.py"
    for folder in (work, script.parent):
        folder.mkdir()
    for name in ("pydicom", "effmed"):
        (work / f"{name}.py").write_text(f"from pathlib import Path; Path({str(tmp_path / 'seen')!r}).touch()")
    script.write_text(
        "import os\n"
        "from effmed.data.processes import Job, start_early, work_through\n"
        "if __name__ == '__main__':\n"
        "    start_early()\n"
        "    print(list(work_through(Job(abs, abs), [-1, 2], workers=2)), os.environ.get('PYTHONSAFEPATH'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    environment.pop("PYTHONSAFEPATH", None)
    if before:
        environment["PYTHONSAFEPATH"] = before
    done = subprocess.run(
        [sys.executable, script], cwd=work, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"[1, 2] {before}\n"
    assert not (tmp_path / "seen").exists()


def test_a_process_leaves_interrupts_to_its_parent_uses_one_thread_and_keeps_memory(monkeypatch):
    calls = []
    monkeypatch.setattr(signal, "signal", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(cv2, "setNumThreads", calls.append)
    monkeypatch.setattr(module, "keep_some_memory", lambda: calls.append("kept"))
    module._prepare_process()
    assert calls == [(signal.SIGINT, signal.SIG_IGN), 1, "kept"]


def test_an_error_keeps_problem_and_hint_on_the_way_between_processes():
    error = pickle.loads(pickle.dumps(RecipeError("what", hint="why")))  # noqa: S301  what was pickled here
    assert (type(error), error.problem, error.hint) == (RecipeError, "what", "why")
