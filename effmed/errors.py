"""The ways in which effmed stops on purpose, each with its exit code and a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

N_SHOWN = 10


class EffmedError(Exception):
    """A problem that the user can mend; shown as two lines, without a traceback.

    Attributes:
        problem: What is wrong, with the offending value and path, as one sentence.
        hint: What to do about it: a command, a key or a file.
        exit_code: What the process returns.
    """

    exit_code = 1

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __reduce__(self) -> tuple[Callable[..., EffmedError], tuple[type[EffmedError], str, str]]:
        """Let it pass between processes, which the required hint would prevent."""
        return _rebuild, (type(self), self.problem, self.hint)


class RecipeError(EffmedError):
    """The request is wrong: an unknown key, variant or recipe, a value out of range, options that contradict."""

    exit_code = 2


class DataError(EffmedError):
    """The images or their labels cannot be used as they are."""

    exit_code = 3


class BundleError(EffmedError):
    """A run or a bundle is missing, incomplete, or does not fit what is asked of it."""

    exit_code = 4


class MachineError(EffmedError):
    """The machine refuses: disk, memory, permission, network, device."""

    exit_code = 5


class PreemptedError(EffmedError):
    """Somebody asked the process to end; what is done can be continued by the same machine or another one."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"; what a scheduler may requeue by


def _rebuild(kind: type[EffmedError], problem: str, hint: str) -> EffmedError:
    return kind(problem, hint=hint)


def shortened(items: Iterable[object]) -> str:
    """Return the first ten items as text, and how many there are in all."""
    texts = [str(item) for item in items]
    rest = f" … ({len(texts)} in all)" if len(texts) > N_SHOWN else ""
    return ", ".join(texts[:N_SHOWN]) + rest
