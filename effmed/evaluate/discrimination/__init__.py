"""How well predictions rank."""

from effmed.evaluate.discrimination.auroc import (
    AurocIntervals,
    Difference,
    auroc,
    auroc_contrast,
    auroc_difference,
    auroc_intervals,
    is_uncertain,
)
from effmed.evaluate.discrimination.averages import hand_till_auroc, macro_auroc, micro_auroc
from effmed.evaluate.discrimination.ranking import (
    average_precision,
    partial_auroc,
    pr_curve,
    ranking_estimates,
    roc_curve,
)

__all__ = [
    "AurocIntervals",
    "Difference",
    "auroc",
    "auroc_contrast",
    "auroc_difference",
    "auroc_intervals",
    "average_precision",
    "hand_till_auroc",
    "is_uncertain",
    "macro_auroc",
    "micro_auroc",
    "partial_auroc",
    "pr_curve",
    "ranking_estimates",
    "roc_curve",
]
