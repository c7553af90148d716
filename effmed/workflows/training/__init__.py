"""``effmed train``: data → plan → run folder with bundle, predictions and report."""

from effmed.workflows.training.deciding import plan
from effmed.workflows.training.members import resume, train

__all__ = ["plan", "resume", "train"]
