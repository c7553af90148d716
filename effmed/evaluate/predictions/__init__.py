"""Predictions: the table that evaluation judges; made here, or read from any program's file."""

from effmed.evaluate.predictions.labels import UNKNOWN, apply_policy, label_numbers
from effmed.evaluate.predictions.levels import Scores, join_predictions, join_scores
from effmed.evaluate.predictions.reading import is_own_table, read_predictions
from effmed.evaluate.predictions.table import (
    ATTRIBUTES,
    Predictions,
    class_numbers,
    make_predictions,
    n_patients,
    patients_of,
    write_predictions,
)

__all__ = [
    "ATTRIBUTES",
    "UNKNOWN",
    "Predictions",
    "Scores",
    "apply_policy",
    "class_numbers",
    "is_own_table",
    "join_predictions",
    "join_scores",
    "label_numbers",
    "make_predictions",
    "n_patients",
    "patients_of",
    "read_predictions",
    "write_predictions",
]
