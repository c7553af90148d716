"""Predictions: the table that evaluation judges; made here, or read from any program's file."""

from effmed.evaluate.predictions.frames import Scores, join_frames
from effmed.evaluate.predictions.reading import read_predictions
from effmed.evaluate.predictions.table import (
    ATTRIBUTES,
    UNKNOWN,
    Predictions,
    class_numbers,
    make_predictions,
    write_predictions,
)

__all__ = [
    "ATTRIBUTES",
    "UNKNOWN",
    "Predictions",
    "Scores",
    "class_numbers",
    "join_frames",
    "make_predictions",
    "read_predictions",
    "write_predictions",
]
