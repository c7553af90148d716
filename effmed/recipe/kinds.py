"""The kinds of values that a recipe may hold, and what all its sections share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

NO_SUBGROUPS = {"image", "frame", "patient", "study", "truth"}  # columns of every predictions table


def check_rising(values: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse numbers that do not rise, and none at all."""
    if not values or list(values) != sorted(set(values)):
        raise PydanticCustomError("not_rising", "the numbers should rise, and there should be one")
    return values


def check_shareable(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse columns that must not divide what a report shows."""
    if not NO_SUBGROUPS.isdisjoint(names):
        raise PydanticCustomError("no_subgroup", "a report neither lists patients or images nor splits by truth")
    return names


Auto = Literal["auto"]
Rising = AfterValidator(check_rising)
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
HalfOpenFraction = Annotated[float, Field(ge=0.0, lt=1.0)]
UpToHalf = Annotated[float, Field(ge=0.0, le=0.5)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
DecayFactor = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
NotNegativeCount = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0)]
ImageSize = Annotated[int, Field(ge=32, le=2048)]
Years = Annotated[int, Field(gt=0, lt=120)]
CalibrationMethod = Literal[
    "none",
    "platt",
    "temperature",
    "bias-corrected-temperature",
    "intercept",
    "vector",
    "beta",
    "isotonic",
    "venn-abers",
]
CalibrationUpdate = Literal["in-the-large", "slope", "full", "prevalence", "em", "bbse"]
AuditKind = Literal[
    "shared-study", "shared-instance", "identical-pixels", "near-duplicates", "conflicting-labels", "shortcut"
]


class Section(BaseModel):
    """A closed, frozen part of a recipe: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
