"""Who is told what happens while a command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Talk(Protocol):
    """Who is told what happens; the command line writes it to stderr."""

    def say(self, text: str) -> None:
        """Tell something worth knowing."""

    def warn(self, text: str) -> None:
        """Tell something that needs attention."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Tell how far a long task is, and beside it a few numbers that a terminal shows."""


class Silence:
    """A ``Talk`` that says nothing."""

    def say(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Ignore it."""


def progress_of(talk: Talk, task: str) -> Callable[[int, int], None]:
    """Return a callback ``(done, total)`` that tells ``talk`` how far ``task`` is."""
    return lambda done, total: talk.progress(task, done, total)
