"""Work through items in processes, in order; what kills or stops a process costs its item, not the run."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, get_context, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import cv2

from effmed.data.allocator import keep_some_memory
from effmed.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

PENDING_PER_WORKER = 8  # items ahead: enough that no process waits, few enough to fit in memory
LIMIT_S = 120.0  # for one item; the slowest real image takes a few seconds
# Forking a process in which torch runs threads can hang: on Linux one without torch is forked, which has imported
# pandas, pydicom and what else takes seconds.
IMPORTED_ONCE = "effmed.data.decode"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Job(Generic[T, R]):
    """What is done to every item, in this process or in another.

    Attributes:
        work: Function of one item; it and its results can be pickled.
        lost: What stands in the place of a result when the process died over an item, or took too long.
        limit_s: Seconds after which a process that is still at one item is ended.
    """

    work: Callable[[T], R]
    lost: Callable[[T], R]
    limit_s: float = LIMIT_S


@dataclass(frozen=True)
class _Flight(Generic[T]):
    """Which items are on their way.

    Attributes:
        remaining: Items that no process has been given.
        taken: Items that were given to a process and whose results were not yet yielded.
        n_most: Limit of ``taken``.
    """

    remaining: Iterator[T]
    taken: deque[T]
    n_most: int


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_early() -> None:
    """Let the process that is forked import what all need, while this one is busy with something else."""
    if n_cores() > 1:
        _way_to_start()


def _way_to_start() -> str:
    """Return how processes start, once the process that is forked runs; where none can, each starts from nothing."""
    if sys.platform != "linux":
        return "spawn"  # where a fork is safe nowhere
    get_context("forkserver").set_forkserver_preload([IMPORTED_ONCE])
    try:
        resource_tracker.ensure_running()  # which lets the interrupts through again that are held back here
        with _interrupts_held_back(), _no_modules_of_the_current_folder():
            forkserver.ensure_running()
    except OSError:  # no sockets there, a path too long for one, or the process was forked itself
        return "spawn"
    return "forkserver"


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let what is started here never see Ctrl-C, which is its parent's to handle, not even while it imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _no_modules_of_the_current_folder() -> Iterator[None]:
    """Let what is started here import what is installed, not what lies where the user happens to work."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def work_through(job: Job[T, R], items: Iterable[T], *, workers: int = 0) -> Iterator[R]:
    """Yield the result of every item, in the order of the items.

    Args:
        job: What to do.
        items: What to do it to; no more are taken ahead than fit in memory.
        workers: Processes; 0 or 1 works in this one, where a crash ends everything and nothing is timed.

    Raises:
        MachineError: Processes cannot be started.
    """
    if workers <= 1:
        yield from map(job.work, items)
        return
    flight = _Flight(iter(items), deque(), workers * PENDING_PER_WORKER)
    is_done = False
    while not is_done:
        with _processes(workers) as executor:
            try:
                yield from _work_ahead(executor, job, flight)
                is_done = True
            except BrokenProcessPool:
                is_done = False  # one of those in flight did it
        yield from _work_one_by_one(job, flight.taken)


def _work_ahead(executor: ProcessPoolExecutor, job: Job[T, R], flight: _Flight[T]) -> Iterator[R]:
    """Keep every process busy."""
    futures: deque[Future[R]] = deque()
    for item in flight.remaining:
        flight.taken.append(item)
        futures.append(executor.submit(_timed, job.work, item, job.limit_s))
        if len(futures) == flight.n_most:
            yield _next(futures, flight.taken)
    while futures:
        yield _next(futures, flight.taken)


def _work_one_by_one(job: Job[T, R], taken: deque[T]) -> Iterator[R]:
    """After a crash, find the item that caused it: work at what was in flight with nothing beside it."""
    while taken:
        with _processes(1) as executor:
            try:
                while taken:
                    yield _next(deque([executor.submit(_timed, job.work, taken[0], job.limit_s)]), taken)
            except BrokenProcessPool:
                yield job.lost(taken.popleft())


def _next(futures: deque[Future[R]], taken: deque[T]) -> R:
    result = futures.popleft().result()
    taken.popleft()
    return result


def _timed(work: Callable[[T], R], item: T, limit_s: float) -> R:
    """Work at one item; a watchdog, which no code in C can hold up, ends the process after the limit."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
        try:
            return work(item)
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes, see one answer, and end them whatever happens.

    Raises:
        MachineError: They cannot start.
    """
    context = get_context(_way_to_start())
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_process)
    try:
        _check_answer(executor)
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _check_answer(executor: ProcessPoolExecutor) -> None:
    try:
        theirs = executor.submit(_source).result()
    except (BrokenProcessPool, EOFError, OSError) as error:
        hint = "a script must call effmed below: if __name__ == '__main__':; or use one process: train.threads=1"
        raise MachineError("processes that read images cannot be started", hint=hint) from error
    if theirs != _source():
        hint = "let PYTHONPATH name the one that is wanted; or use one process: train.threads=1"
        raise MachineError(f"processes read images with another effmed: {theirs}", hint=hint)


def _source() -> str:
    return os.path.realpath(__file__)


def _prepare_process() -> None:
    """One thread per process, which keeps memory for the next image; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    keep_some_memory()
