"""How a network is fitted: one epoch after another, as deep as the plan says."""

from effmed.learn.fitting.features import Features, check_head, head_of, read_features
from effmed.learn.fitting.loop import Epoch, Step, fit, fit_steps, predict_logits
from effmed.learn.fitting.state import TrainingState, start_training

__all__ = [
    "Epoch",
    "Features",
    "Step",
    "TrainingState",
    "check_head",
    "fit",
    "fit_steps",
    "head_of",
    "predict_logits",
    "read_features",
    "start_training",
]
