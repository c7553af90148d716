"""Recipe: what the user wants, as a closed model; YAML and ``section.key=value`` in, every finding at once."""

from effmed.recipe.images import AuditSettings, DataSettings
from effmed.recipe.judging import CalibrationSettings, ColumnSettings, DecisionSettings, ReportSettings
from effmed.recipe.kinds import (
    SIDE_MAX_PX,
    SIDE_MIN_PX,
    Auto,
    CalibrationMethod,
    CalibrationUpdate,
    ImbalanceMethod,
    input_sides,
)
from effmed.recipe.learning import AugmentSettings, ImbalanceSettings, ModelSettings, TrainSettings
from effmed.recipe.reading import make_recipe, nearest, read_recipe, recipe_text
from effmed.recipe.whole import Recipe, recipe_keys

__all__ = [
    "SIDE_MAX_PX",
    "SIDE_MIN_PX",
    "AuditSettings",
    "AugmentSettings",
    "Auto",
    "CalibrationMethod",
    "CalibrationSettings",
    "CalibrationUpdate",
    "ColumnSettings",
    "DataSettings",
    "DecisionSettings",
    "ImbalanceMethod",
    "ImbalanceSettings",
    "ModelSettings",
    "Recipe",
    "ReportSettings",
    "TrainSettings",
    "input_sides",
    "make_recipe",
    "nearest",
    "read_recipe",
    "recipe_keys",
    "recipe_text",
]
