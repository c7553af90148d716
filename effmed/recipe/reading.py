"""YAML and ``section.key=value`` → Recipe, every finding at once; and back to YAML."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from effmed.errors import RecipeError
from effmed.recipe.whole import Recipe, recipe_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def read_recipe(path: Path | None, settings: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply ``section.key=value`` settings on top.

    Args:
        path: The recipe file, or None for the defaults.
        settings: Texts of the form ``section.key=value``; the value is read as YAML.

    Raises:
        RecipeError: The file is no mapping, or keys or values are wrong; all findings are in one message.
    """
    values: dict[str, Any] = {} if path is None else _read_mapping(path)
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot):
            problem = f"--set {setting!r} is not of the form section.key=value"
            raise RecipeError(problem, hint="for example --set train.epochs=5")
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            problem = f"section {section!r} of {path} is not a mapping"
            raise RecipeError(problem, hint=f"write '{section}:' and its keys indented below")
        inner[name] = _setting_value(text)
    return make_recipe(values)


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested mappings.

    Raises:
        RecipeError: Unknown keys (with the nearest known one) or values out of range; all of them at once.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        # A union reports one finding per member; the first names the key well enough.
        findings = {_location(item["loc"]): _finding(item) for item in reversed(error.errors())}
        lines = list(reversed(findings.values()))
        raise RecipeError("; ".join(lines), hint="'effmed recipes keys' lists every key with its range") from error


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as YAML, every key included."""
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a sentence that offers the known name nearest to ``name``, or lists them all where none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problem = f"recipe {path} cannot be read: {error}"
        raise RecipeError(problem, hint="'effmed recipes list' names the shipped ones") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        problem = f"recipe {path} is not valid YAML{line}"
        raise RecipeError(problem, hint="check indentation and colons there") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        problem = f"recipe {path} is not a mapping of sections"
        raise RecipeError(problem, hint="'effmed recipes show chest-xray' prints one that is")
    return loaded


def _setting_value(text: str) -> object:
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text  # a regular expression or a rule such as "sensitivity>=0.9" need not be YAML


def _location(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc[:2])


def _finding(item: Any) -> str:  # noqa: ANN401  pydantic's own untyped record
    key = _location(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {key!r}, {nearest(key, _known_keys(key))}"
    return f"{key} = {item['input']!r} is not allowed: {item['msg'][0].lower()}{item['msg'][1:]}"


def _known_keys(key: str) -> list[str]:
    return [known for known, *_ in recipe_keys()] if "." in key else list(Recipe.model_fields)
