"""Whether probabilities mean what they say."""

from effmed.evaluate.calibration.curve import CalibrationCurve, GroupedPoints, calibration_curve, grouped_points
from effmed.evaluate.calibration.errors import AgainstNull, curve_errors, ece, miscalibration, smece
from effmed.evaluate.calibration.prior_shift import prevalence_by_confusion, prevalence_by_em, shift_logits
from effmed.evaluate.calibration.regression import FEW_EVENTS, citl, slope
from effmed.evaluate.calibration.scores import (
    Corp,
    brier,
    corp,
    corp_estimates,
    event_scores,
    log_loss,
    multiclass_brier,
    multiclass_log_loss,
    observed_expected,
    scaled_brier,
)

__all__ = [
    "FEW_EVENTS",
    "AgainstNull",
    "CalibrationCurve",
    "Corp",
    "GroupedPoints",
    "brier",
    "calibration_curve",
    "citl",
    "corp",
    "corp_estimates",
    "curve_errors",
    "ece",
    "event_scores",
    "grouped_points",
    "log_loss",
    "miscalibration",
    "multiclass_brier",
    "multiclass_log_loss",
    "observed_expected",
    "prevalence_by_confusion",
    "prevalence_by_em",
    "scaled_brier",
    "shift_logits",
    "slope",
    "smece",
]
