"""Recipe: what the user wants, as a closed model; YAML and ``section.key=value`` in, every finding at once."""

from effmed.recipe.images import AuditSettings, DataSettings
from effmed.recipe.judging import CalibrationSettings, ColumnSettings, DecisionSettings, ReportSettings
from effmed.recipe.kinds import Auto, CalibrationMethod, CalibrationUpdate
from effmed.recipe.learning import AugmentSettings, ImbalanceSettings, ModelSettings, TrainSettings
from effmed.recipe.reading import make_recipe, nearest, read_recipe, recipe_text
from effmed.recipe.whole import Recipe, recipe_keys

__all__ = [
    "AuditSettings",
    "AugmentSettings",
    "Auto",
    "CalibrationMethod",
    "CalibrationSettings",
    "CalibrationUpdate",
    "ColumnSettings",
    "DataSettings",
    "DecisionSettings",
    "ImbalanceSettings",
    "ModelSettings",
    "Recipe",
    "ReportSettings",
    "TrainSettings",
    "make_recipe",
    "nearest",
    "read_recipe",
    "recipe_keys",
    "recipe_text",
]
