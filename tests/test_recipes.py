"""Every shipped recipe: valid, honest about what it is for, and no line of it without effect."""

import re
from pathlib import Path

import pytest
import yaml

from effmed.recipe import Recipe, read_recipe
from effmed.workflows.catalogue import find_recipe, recipes

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_and_found_by_its_name(name):
    assert find_recipe(name, []) == read_recipe(ROOT / "recipes" / f"{name}.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_it_repeats_no_default(name):
    wanted = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text()) or {}
    default = Recipe().model_dump(mode="json")
    repeated = [f"{s}.{k}" for s, keys in wanted.items() for k, value in keys.items() if default[s][k] == value]
    assert repeated == []


@pytest.mark.parametrize("name", NAMES)
def test_its_head_says_how_to_run_it(name):
    assert re.search(rf"^# Run: effmed train .*--recipe {name}\b", recipes()[name], re.MULTILINE)


def test_an_unknown_recipe_is_refused_with_the_nearest_name():
    from effmed.errors import RecipeError

    with pytest.raises(RecipeError, match=r"'chest-xry'; did you mean 'chest-xray'"):
        find_recipe("chest-xry", [])


def test_settings_go_on_top_of_a_recipe_file(tmp_path):
    (tmp_path / "r.yaml").write_text("train: {epochs: 3}\n")
    recipe = find_recipe(str(tmp_path / "r.yaml"), ["train.seed=5"])
    assert (recipe.train.epochs, recipe.train.seed) == (3, 5)
