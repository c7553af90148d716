"""How effmed speaks: results to stdout, talk to stderr, progress bars only on a terminal."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType
    from rich.progress import Task

    from effmed.errors import EffmedError

WIDTH_WITHOUT_TERMINAL = 160  # columns; a file or pipe has no width of its own
STEP_PERCENT = 25  # without a terminal, progress is a line per quarter


class Output:
    """The terminal as a ``Talk``, and the place where results go.

    Attributes:
        as_json: Print results as one JSON document.
        quiet: Say nothing but results and errors.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)
        self._progress: Progress | None = None
        self._bars: dict[str, Any] = {}
        self._said: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Tell something worth knowing."""
        if not self.quiet:
            self._err.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Tell something that needs attention."""
        if not self.quiet:
            self._err.print("warning:", style="yellow", end=" ")
            self._err.print(text, markup=False, highlight=False)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Tell how far a long task is: a bar with the note below on a terminal, else a line per quarter of it."""
        if self.quiet or total == 0:
            return
        if self._err.is_terminal:
            self._move_bar(task, done, total, note)
        else:
            self._print_step(task, done, total)

    def result(self, value: Mapping[str, Any] | Sequence[Any], human: str | Table | Sequence[str | Table]) -> None:
        """Print a result: ``value`` as JSON, or ``human`` for people."""
        self.close()
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            return
        for part in [human] if isinstance(human, (str, Table)) else human:
            self._out.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))

    def error(self, error: EffmedError) -> None:
        """Say what is wrong and what to do, in two lines."""
        self.close()
        for word, style, text in (("error:", "red", error.problem), ("hint:", "cyan", error.hint)):
            self._err.print(word, style=style, end=" ")
            self._err.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the progress bars away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._bars.clear()

    def _move_bar(self, task: str, done: int, total: int, note: str) -> None:
        if self._progress is None:
            self._progress = make_bars(self._err)
            self._progress.start()
        if task not in self._bars:
            self._bars[task] = self._progress.add_task(task, total=total, completed=done, begun=done, note=note)
        self._progress.update(self._bars[task], completed=done, total=total, note=note)
        if done >= total:
            self._progress.remove_task(self._bars.pop(task))

    def _print_step(self, task: str, done: int, total: int) -> None:
        if task == EPOCH_TASK:
            return  # the line per epoch says it
        step = done * 100 // total // STEP_PERCENT
        if step > self._said.get(task, 0):
            self.say(f"{task}: {done}/{total}")
        self._said[task] = 0 if done >= total else max(step, self._said.get(task, 0))


EPOCH_TASK = "training"


class _TimeLeft(ProgressColumn):
    """Time left by the mean of the task so far, its pauses included: validation stands between epochs."""

    def render(self, task: Task) -> Text:
        moved = task.completed - task.fields["begun"]
        if moved <= 0 or task.elapsed is None or task.remaining is None:
            return Text("time left unknown")
        left_s = round(task.elapsed / moved * task.remaining)
        return Text(f"{timedelta(seconds=left_s)} left")


class _Bars(Progress):
    """Bars, each with its note on the line below."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}")


def make_bars(console: Console) -> Progress:
    """Return the bars of a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _TimeLeft())
    return _Bars(*columns, console=console, transient=True)


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a plain table; numbers are right-aligned, None is a dash."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], (int, float)) or row[index] is None for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*("–" if cell is None else str(cell) for cell in row))
    return table


def megabytes(n_bytes: int) -> str:
    """Return a size as people read it."""
    return f"{n_bytes / 1e6:,.1f} MB"


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH_WITHOUT_TERMINAL)
