"""The kinds of values that a recipe may hold, and what all its sections share."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

SIDE_MIN_PX, SIDE_MAX_PX = 32, 2048  # of the input: five halvings of 32 px leave one
SIZE_PATTERN = r"[0-9]{1,9}(x[0-9]{1,9})?"
SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": SIDE_MIN_PX, "maximum": SIDE_MAX_PX},
        {"type": "string", "format": "HEIGHTxWIDTH", "pattern": SIZE_PATTERN},
    ]
}
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


def input_sides(size: int | str) -> tuple[int, int]:
    """Return height and width in pixels of what ``model.image_size`` says.

    Args:
        size: The side of a square, or ``HEIGHTxWIDTH``.

    Raises:
        ValueError: It is neither.
    """
    height, _, width = str(size).partition("x")
    return int(height), int(width or height)


def check_input_size(size: object) -> int | str:
    """Refuse what is neither the side of a square nor HEIGHTxWIDTH, and sides that are out of range."""
    text = str(size) if type(size) in (int, str) else ""
    if not re.fullmatch(SIZE_PATTERN, text) or not all(
        SIDE_MIN_PX <= side <= SIDE_MAX_PX for side in input_sides(text)
    ):
        sides = f"each side from {SIDE_MIN_PX} to {SIDE_MAX_PX} px"
        raise PydanticCustomError("no_input_size", "it should be one number, or HEIGHTxWIDTH such as 512x384; " + sides)
    return int(text) if text.isdecimal() else text


Auto = Literal["auto"]
Rising = AfterValidator(check_rising)
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
HalfOpenFraction = Annotated[float, Field(ge=0.0, lt=1.0)]
UpToHalf = Annotated[float, Field(ge=0.0, le=0.5)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
ProgressiveFactor = Annotated[float, Field(ge=0.25, le=1.0)]
DecayFactor = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
NotNegativeCount = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0)]
InputSize = Annotated[int | str, PlainValidator(check_input_size), WithJsonSchema(SIZE_SCHEMA)]
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
ImbalanceMethod = Literal["none", "weights", "effective-number", "focal", "logit-adjust", "sampler", "asymmetric"]
CalibrationUpdate = Literal["in-the-large", "slope", "full", "prevalence", "em", "bbse"]
AuditKind = Literal[
    "shared-study", "shared-instance", "identical-pixels", "near-duplicates", "conflicting-labels", "shortcut"
]


class Section(BaseModel):
    """A closed, frozen part of a recipe: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @property
    def changed(self) -> list[str]:
        """Names of the keys that are not at their default, in the section's order."""
        usual = type(self)()
        return [name for name, value in self if value != getattr(usual, name)]
