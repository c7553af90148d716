"""A scheduler's request to end is heeded between two steps, where everything can be saved."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from effmed.errors import PreemptedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# SIGTERM is what SLURM and torchrun send; SIGUSR1 what "sbatch --signal=USR1@120" sends two minutes before.
AGAIN = "the same command begins again; effmed train --resume continues a run that has learned"
OUTSIDE = "stopped outside the steps of a training"
REQUESTS = tuple(name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Request:
    """Whether somebody asked this process to end, and by which signal.

    Attributes:
        at_once: Whether it ends where it stands.
        name: Of the signal; "" for none.
    """

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)

    def receive(self, number: int, _: FrameType | None) -> None:
        """Remember a signal, to be heeded between two steps; or end.

        Raises:
            PreemptedError: It ends at once.
        """
        self.name = signal.Signals(number).name
        if self.at_once:
            raise PreemptedError(f"{self.name}: {OUTSIDE}", hint=AGAIN)


@contextmanager
def postponing() -> Iterator[None]:
    """Heed a request that comes within the block at its end: a library in it would take the error for one of its own.

    Raises:
        PreemptedError: One came.
    """
    with listening() as request:
        yield
    if request:
        raise PreemptedError(f"{request.name}: {OUTSIDE}", hint=AGAIN)


@contextmanager
def listening(*, at_once: bool = False) -> Iterator[Request]:
    """Catch requests to end until the block is left; outside the main thread nothing can be caught.

    Args:
        at_once: End where the process stands: what it has decoded or trained is kept, and no step is under way.
    """
    request = Request(at_once=at_once)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {name: signal.signal(getattr(signal, name), request.receive) for name in REQUESTS}
    try:
        yield request
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
