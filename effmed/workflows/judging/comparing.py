"""The comparison of two runs or predictions tables, and its files. No deep learning library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.errors import RecipeError
from effmed.evaluate import comparison
from effmed.evaluate.predictions import is_own_table, read_predictions
from effmed.evaluate.render.comparison import difference_rows, write_comparison
from effmed.recipe import ColumnSettings
from effmed.run import open_run
from effmed.workflows.heeding import check_heeded

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.comparison import Comparison
    from effmed.evaluate.predictions import Predictions
    from effmed.recipe import Recipe

HEEDED = {"columns": (), "report": ("bootstrap_replicates", "seed", "net_benefit_at")}
TABLES = (".csv", ".parquet")

__all__ = ["compare", "differences", "write_comparison"]


def compare(first: Path, second: Path, recipe: Recipe) -> Comparison:
    """Compare two runs or predictions tables; see ``effmed.workflows.compare``."""
    check_heeded(recipe, HEEDED, "a comparison")
    _check_columns((first, second), recipe)
    (one, one_name), (other, other_name) = (_read(path, recipe) for path in (first, second))
    return comparison.compare(one, other, recipe.report, names=(one_name, other_name))


def _check_columns(paths: tuple[Path, Path], recipe: Recipe) -> None:
    """Refuse columns where neither is a table of another program, since nothing else would heed them."""
    if recipe.columns.model_fields_set and all(not _is_table(path) or is_own_table(path) for path in paths):
        names = ", ".join(f"columns.{name}" for name in sorted(recipe.columns.model_fields_set))
        problem = f"{names}: neither {paths[0]} nor {paths[1]} is a table of another program"
        raise RecipeError(problem, hint="leave it out: runs and their tables name their columns themselves")


def _is_table(path: Path) -> bool:
    return path.is_file() or (path.suffix in TABLES and not path.is_dir())


def _read(path: Path, recipe: Recipe) -> tuple[Predictions, str]:
    """Return the test predictions of a run folder, or a table, and its name.

    The recipe's columns describe tables of other programs alone, so that one can be compared with a table of this.
    """
    if _is_table(path):
        columns = ColumnSettings() if is_own_table(path) else recipe.columns
        return read_predictions(path, columns), path.stem
    return read_predictions(open_run(path).tested(), ColumnSettings()), path.resolve().name


def differences(compared: Comparison) -> list[tuple[str, ...]]:
    """Return the differences in words: measure, first, second, difference with its interval, p, notes."""
    rows: list[tuple[str, ...]] = []
    for row in difference_rows(compared):
        interval = f" ({row.limits})" if row.limits else ""
        measure = f"{row.label} {row.about}".strip()
        rows.append((measure, row.first, row.second, row.difference + interval, row.p_value, row.notes))
    return rows
