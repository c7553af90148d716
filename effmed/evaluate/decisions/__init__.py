"""Where a probability becomes a decision, and what the decision is worth."""

from effmed.evaluate.decisions.net_benefit import net_benefit, treat_all
from effmed.evaluate.decisions.operating_point import OperatingPoint, choose_operating_point
from effmed.evaluate.decisions.rates import (
    McNemar,
    TwoByTwo,
    accuracy,
    balanced_accuracy,
    kappa_quadratic,
    lr_negative,
    lr_positive,
    mcnemar,
    npv,
    npv_at_prevalence,
    ppv,
    ppv_at_prevalence,
    sensitivity,
    specificity,
    two_by_two,
)
from effmed.evaluate.decisions.sets import (
    RiskCoverage,
    SetRule,
    choose_certainty,
    coverage,
    fit_sets,
    prediction_sets,
    risk_coverage,
)

__all__ = [
    "McNemar",
    "OperatingPoint",
    "RiskCoverage",
    "SetRule",
    "TwoByTwo",
    "accuracy",
    "balanced_accuracy",
    "choose_certainty",
    "choose_operating_point",
    "coverage",
    "fit_sets",
    "kappa_quadratic",
    "lr_negative",
    "lr_positive",
    "mcnemar",
    "net_benefit",
    "npv",
    "npv_at_prevalence",
    "ppv",
    "ppv_at_prevalence",
    "prediction_sets",
    "risk_coverage",
    "sensitivity",
    "specificity",
    "treat_all",
    "two_by_two",
]
