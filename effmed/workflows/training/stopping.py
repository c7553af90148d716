"""A scheduler's request to end is heeded between two steps, where everything can be saved."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# SIGTERM is what SLURM and torchrun send; SIGUSR1 what "sbatch --signal=USR1@120" sends two minutes before.
REQUESTS = tuple(name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Request:
    """Whether somebody asked this process to end, and by which signal.

    Attributes:
        name: Of the signal; "" for none.
    """

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)

    def receive(self, number: int, _: FrameType | None) -> None:
        """Remember a signal: what is to be done about it is done between two steps."""
        self.name = signal.Signals(number).name


@contextmanager
def listening() -> Iterator[Request]:
    """Catch requests to end until the block is left; outside the main thread nothing can be caught."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {name: signal.signal(getattr(signal, name), request.receive) for name in REQUESTS}
    try:
        yield request
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
