"""Calibrators: how logits become probabilities that mean what they say; fitted on val, applied everywhere."""

from effmed.evaluate.calibrators.fitting import fit_calibrator, fit_label_calibrators
from effmed.evaluate.calibrators.maps import Affine, Beta, Each, Map, Steps, Unfocus, VennAbers
from effmed.evaluate.calibrators.model import (
    Calibrator,
    calibrate,
    identity_calibrator,
    join_calibrators,
    probabilities,
    probability_interval,
)
from effmed.evaluate.calibrators.moving import prevalence_with_limits, recalibrate, shift_prevalence

__all__ = [
    "Affine",
    "Beta",
    "Calibrator",
    "Each",
    "Map",
    "Steps",
    "Unfocus",
    "VennAbers",
    "calibrate",
    "fit_calibrator",
    "fit_label_calibrators",
    "identity_calibrator",
    "join_calibrators",
    "prevalence_with_limits",
    "probabilities",
    "probability_interval",
    "recalibrate",
    "shift_prevalence",
]
