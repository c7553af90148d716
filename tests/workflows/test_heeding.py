"""Settings that change nothing are refused."""

import pytest

from effmed.errors import RecipeError
from effmed.recipe import read_recipe
from effmed.workflows.heeding import check_heeded


def test_settings_that_change_nothing_are_refused_and_named():
    recipe = read_recipe(None, ["train.epochs=3", "report.n_worst=3", "report.seed=1", "columns.truth=y"])
    check_heeded(recipe, {"train": (), "report": ("n_worst", "seed"), "columns": ()}, "nobody")
    with pytest.raises(RecipeError, match=r"^train.epochs, report.n_worst: a test would not heed them$"):
        check_heeded(recipe, {"report": ("seed",), "columns": ()}, "a test")
