"""Files → preprocessed pixels, in order, in this process or in many; a decoder that crashes costs one image."""

from __future__ import annotations

import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from effmed.data.pixels import preprocess, read_image
from effmed.errors import DataError, EffmedError, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.pixels import Preprocessing

PENDING_PER_WORKER = 8  # images decoded ahead: enough that no process waits, few enough to fit in memory


@dataclass(frozen=True)
class Source:
    """Where one image lies.

    Attributes:
        path: The file.
        frame: Index within the file, from 0.
    """

    path: Path
    frame: int


@dataclass(frozen=True)
class _Refusal:
    """An error on its way between processes; the errors themselves, with their required hint, cannot be pickled."""

    kind: type[EffmedError]
    problem: str
    hint: str


@dataclass(frozen=True)
class _Flight:
    """Which images are on their way.

    Attributes:
        remaining: Sources that no process has been given.
        taken: Sources that were given to a process and whose pixels were not yet yielded.
        n_most: Limit of ``taken``.
    """

    remaining: Iterator[Source]
    taken: deque[Source]
    n_most: int


Attempt: TypeAlias = "NDArray[np.generic] | _Refusal"
Decoded: TypeAlias = "NDArray[np.generic] | DataError"


def decode(sources: Iterable[Source], spec: Preprocessing, *, workers: int = 0) -> Iterator[Decoded]:
    """Decode and preprocess images.

    Args:
        sources: Which images.
        spec: What shapes the pixels.
        workers: Processes that decode; 0 or 1 decodes in this one, where a decoder that crashes ends everything.

    Yields:
        Pixels, or the reason why there are none, in the order of the sources.

    Raises:
        MachineError: Processes cannot be started.
        RecipeError: The recipe asks for what cannot be done to any image.
    """
    if workers <= 1:
        for source in sources:
            yield _received(_attempt(source, spec))
        return
    flight = _Flight(iter(sources), deque(), workers * PENDING_PER_WORKER)
    is_done = False
    while not is_done:
        with _processes(workers) as executor:
            try:
                yield from _decode_ahead(executor, flight, spec)
                is_done = True
            except BrokenProcessPool:
                is_done = False  # one of those in flight did it
        yield from _decode_one_by_one(flight.taken, spec)


def _attempt(source: Source, spec: Preprocessing) -> Attempt:
    try:
        image = read_image(source.path, source.frame, window=spec.window, max_megapixels=spec.max_megapixels)
        return preprocess(image, spec)
    except EffmedError as error:
        return _Refusal(type(error), error.problem, error.hint)


def _received(attempt: Attempt) -> Decoded:
    """Return pixels or what is wrong with the file; raise what is wrong with more than the file."""
    if not isinstance(attempt, _Refusal):
        return attempt
    error = attempt.kind(attempt.problem, hint=attempt.hint)
    if isinstance(error, DataError):
        return error
    raise error


def _decode_ahead(executor: ProcessPoolExecutor, flight: _Flight, spec: Preprocessing) -> Iterator[Decoded]:
    """Keep every process busy."""
    futures: deque[Future[Attempt]] = deque()
    for source in flight.remaining:
        flight.taken.append(source)
        futures.append(executor.submit(_attempt, source, spec))
        if len(futures) == flight.n_most:
            yield _next(futures, flight.taken)
    while futures:
        yield _next(futures, flight.taken)


def _next(futures: deque[Future[Attempt]], taken: deque[Source]) -> Decoded:
    attempt = futures.popleft().result()
    taken.popleft()
    return _received(attempt)


def _decode_one_by_one(taken: deque[Source], spec: Preprocessing) -> Iterator[Decoded]:
    """After a crash, find the image that caused it: decode what was in flight with nothing beside it."""
    while taken:
        with _processes(1) as executor:
            try:
                while taken:
                    yield _next(deque([executor.submit(_attempt, taken[0], spec)]), taken)
            except BrokenProcessPool:
                taken.popleft()
                yield DataError("the decoder crashes on it", hint="remove the file, or export it again uncompressed")


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start decoding processes, see one answer, and end them whatever happens.

    Raises:
        MachineError: They cannot start.
    """
    # spawn: forking a process in which torch runs threads can hang
    executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare_process)
    try:
        _check_answer(executor)
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _check_answer(executor: ProcessPoolExecutor) -> None:
    try:
        executor.submit(os.getpid).result()
    except BrokenProcessPool as error:
        hint = "a script must call effmed below: if __name__ == '__main__':; or use one process: train.threads=1"
        raise MachineError("processes that decode images cannot be started", hint=hint) from error


def _prepare_process() -> None:
    """One thread per process; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
