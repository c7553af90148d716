"""A sentence per decision, and warnings, collected while a plan is made."""

from __future__ import annotations

from typing import TypeVar

from effmed.recipe import Auto

T = TypeVar("T")
SET_BY_RECIPE = "set by the recipe"


class Reasons:
    """Collects a sentence per decision, and what speaks against it, while the plan is made."""

    def __init__(self) -> None:
        self.sentences: dict[str, str] = {}
        self.warnings: list[str] = []

    def choose(self, key: str, wanted: T | Auto, automatic: T, sentence: str) -> T:
        """Take the recipe's value, or the automatic one with its reason."""
        if wanted != "auto":
            self.sentences[key] = SET_BY_RECIPE
            return wanted
        self.sentences[key] = sentence
        return automatic
