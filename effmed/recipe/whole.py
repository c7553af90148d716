"""The recipe as a whole, and the list of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from effmed.recipe.images import AuditSettings, DataSettings
from effmed.recipe.judging import CalibrationSettings, ColumnSettings, DecisionSettings, ReportSettings
from effmed.recipe.kinds import Section
from effmed.recipe.learning import AugmentSettings, ImbalanceSettings, ModelSettings, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true | false", "array": "list"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Recipe(Section):
    """What is wanted. Everything has a default; ``auto`` is decided by the plan, with a reason."""

    data: DataSettings = DataSettings()
    audit: AuditSettings = AuditSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    imbalance: ImbalanceSettings = ImbalanceSettings()
    augment: AugmentSettings = AugmentSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    decision: DecisionSettings = DecisionSettings()
    report: ReportSettings = ReportSettings()
    columns: ColumnSettings = ColumnSettings()


def recipe_keys() -> list[tuple[str, str, str, str]]:
    """Return ``(key, type, default, description)`` of every setting, in the recipe's order."""
    keys = []
    for section in Recipe.model_fields:
        model = type(getattr(Recipe(), section))
        for name, schema in model.model_json_schema()["properties"].items():
            default = _flow_text(schema["default"])
            keys.append((f"{section}.{name}", _type_text(schema), default, schema.get("description", "")))
    return keys


def _type_text(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_text(part) for part in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " | ".join(_flow_text(value) for value in schema.get("enum", [schema.get("const")]))
    limits = [f"{sign} {schema[name]:g}" for name, sign in _LIMITS.items() if name in schema]
    return f"{schema.get('format', _TYPES[schema['type']])} {' and '.join(limits)}".rstrip()


def _flow_text(value: object) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True)).splitlines()[0]
