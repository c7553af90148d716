"""Settings that a command would not heed are refused: nobody shall believe in what changed nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.errors import RecipeError
from effmed.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def check_heeded(recipe: Recipe, heeded: Mapping[str, Collection[str]], by: str) -> None:
    """Refuse settings that would change nothing.

    Args:
        recipe: What is wanted.
        heeded: Names of the settings that count, by section; none stands for all of the section.
        by: Who heeds them, for the message.

    Raises:
        RecipeError: Others are set; the message names them.
    """
    ignored = [
        f"{section}.{name}"
        for section in Recipe.model_fields
        if section in recipe.model_fields_set
        for name in type(getattr(recipe, section)).model_fields
        if name in getattr(recipe, section).model_fields_set and not _is_heeded(heeded, section, name)
    ]
    if ignored:
        problem = f"{', '.join(ignored)}: {by} would not heed {'it' if len(ignored) == 1 else 'them'}"
        raise RecipeError(problem, hint="leave out what would change nothing")


def _is_heeded(heeded: Mapping[str, Collection[str]], section: str, name: str) -> bool:
    return section in heeded and (not heeded[section] or name in heeded[section])
