import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from effmed.errors import RecipeError
from effmed.recipe import Recipe, input_sides, make_recipe, nearest, read_recipe, recipe_keys, recipe_text


def test_the_defaults_are_a_valid_recipe():
    assert read_recipe(None) == Recipe()


def test_settings_win_over_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("train: {epochs: 3, seed: 7}\n")
    recipe = read_recipe(path, ["train.epochs=5"])
    assert (recipe.train.epochs, recipe.train.seed) == (5, 7)


def test_an_empty_file_is_the_default_recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("# nothing\n")
    assert read_recipe(path) == Recipe()


def test_unknown_keys_are_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"unknown key 'train.epoch', did you mean 'train.epochs'"):
        read_recipe(None, ["train.epoch=3"])


def test_unknown_sections_are_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"unknown key 'modle', did you mean 'model'"):
        make_recipe({"modle": {"image_size": 224}})


def test_every_finding_is_reported_at_once():
    with pytest.raises(RecipeError) as caught:
        read_recipe(None, ["train.epochs=0", "data.frames=some", "augment.rotation_degrees=400"])
    assert all(key in caught.value.problem for key in ("train.epochs", "data.frames", "augment.rotation_degrees"))


@pytest.mark.parametrize("setting", ["epochs=3", "train.epochs", "=3"])
def test_malformed_settings_name_the_form(setting):
    with pytest.raises(RecipeError, match=r"section\.key=value"):
        read_recipe(None, [setting])


def test_a_value_that_is_no_yaml_stays_text():
    assert read_recipe(None, [r"data.patient_pattern=[^_]*_(\d+"]).data.patient_pattern == r"[^_]*_(\d+"


def test_an_empty_value_is_an_empty_text():
    assert read_recipe(None, ["data.patient_pattern="]).data.patient_pattern == ""


@pytest.mark.parametrize(("text", "says"), [("- a\n", "mapping"), ("a: [\n", "line"), ("train: 5\n", "mapping")])
def test_a_broken_file_says_where(tmp_path, text, says):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        read_recipe(path, ["train.epochs=5"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml"):
        read_recipe(tmp_path / "none.yaml")


def test_every_key_has_a_meaning_and_a_default():
    keys = recipe_keys()
    assert len(keys) > 40
    assert all(kind and default and meaning.endswith(".") for _, kind, default, meaning in keys)


@given(st.integers(1, 999), st.floats(0.01, 0.9), st.sampled_from(["first", "all"]), st.text("abc(.)*", max_size=8))
def test_recipe_to_yaml_to_recipe_is_identity(epochs, fraction, frames, pattern):
    data = {"val_fraction": fraction, "frames": frames, "patient_pattern": pattern}
    recipe = make_recipe({"train": {"epochs": epochs}, "data": data})
    assert make_recipe(yaml.safe_load(recipe_text(recipe))) == recipe


@pytest.mark.parametrize(
    ("text", "expected", "sides"),
    [
        ("224", 224, (224, 224)),
        ("512x384", "512x384", (512, 384)),
        ("32x2048", "32x2048", (32, 2048)),
        ("'96'", 96, (96, 96)),
    ],
)
def test_an_input_is_a_square_or_height_by_width(text, expected, sides):
    recipe = read_recipe(None, [f"model.image_size={text}"])
    assert recipe.model.image_size == expected
    assert input_sides(recipe.model.image_size) == sides
    assert make_recipe(yaml.safe_load(recipe_text(recipe))) == recipe


@pytest.mark.parametrize(
    "text",
    ["31", "2049", "31x64", "64x2049", "512X384", "512 x 384", "x64", "64x", "1x2x3", "-64", "224.0", "true", "[64]"],
)
def test_another_input_is_refused_with_the_form(text):
    with pytest.raises(RecipeError, match=r"HEIGHTxWIDTH such as 512x384; each side from 32 to 2048 px"):
        read_recipe(None, [f"model.image_size={text}"])


def test_the_list_of_keys_names_the_form_of_a_rectangle():
    kinds = {key: kind for key, kind, *_ in recipe_keys()}
    assert kinds["model.image_size"] == "integer ≥ 32 and ≤ 2048 or HEIGHTxWIDTH or auto"


def test_nearest_lists_everything_when_nothing_is_near():
    assert nearest("zzz", ["b0", "b1"]) == "known: b0, b1"


@pytest.mark.parametrize(
    "setting", ["report.decision_range=[0.9, 0.1]", "report.age_bands=[65, 18]", "report.age_bands=[]"]
)
def test_limits_that_do_not_rise_are_refused(setting):
    with pytest.raises(RecipeError, match=r"is not allowed: the numbers should rise"):
        read_recipe(None, [setting])


def test_a_section_names_what_is_not_at_its_default():
    recipe = make_recipe({"train": {"seed": 7, "epochs": "auto", "ema_decay": 0.9}})
    assert recipe.train.changed == ["ema_decay", "seed"]
    assert recipe.data.changed == []
