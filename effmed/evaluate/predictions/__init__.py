"""Predictions: the table that evaluation judges; made here, or read from any program's file."""

from effmed.evaluate.predictions.reading import read_predictions
from effmed.evaluate.predictions.table import ATTRIBUTES, UNKNOWN, Predictions, make_predictions, write_predictions

__all__ = ["ATTRIBUTES", "UNKNOWN", "Predictions", "make_predictions", "read_predictions", "write_predictions"]
