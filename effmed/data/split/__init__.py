"""Patients → train, val and test, or K folds: stratified by class, no patient in two of them."""

from effmed.data.split.folds import (
    assign_folds,
    check_folds,
    fold_table,
    folds_of,
    in_fold,
    in_turn,
    shared_between_folds,
)
from effmed.data.split.splits import assign_splits, check_classes, shared_patients, split_table

__all__ = [
    "assign_folds",
    "assign_splits",
    "check_classes",
    "check_folds",
    "fold_table",
    "folds_of",
    "in_fold",
    "in_turn",
    "shared_between_folds",
    "shared_patients",
    "split_table",
]
