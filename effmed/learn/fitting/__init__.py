"""How a network is fitted: one epoch after another, as deep as the plan says."""

from effmed.learn.fitting.features import Features, check_head, head_of, read_features
from effmed.learn.fitting.loop import Epoch, Step, fit, fit_steps, predict_logits
from effmed.learn.fitting.state import TrainingState, start_training
from effmed.learn.fitting.views import mean_over_views, predict_views

__all__ = [
    "Epoch",
    "Features",
    "Step",
    "TrainingState",
    "check_head",
    "fit",
    "fit_steps",
    "head_of",
    "mean_over_views",
    "predict_logits",
    "predict_views",
    "read_features",
    "start_training",
]
