"""Recipe sections about judging: calibration, decisions, the report, tables of other programs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from effmed.recipe.kinds import (
    Auto,
    CalibrationMethod,
    CalibrationUpdate,
    Fraction,
    HalfOpenFraction,
    OpenFraction,
    Rising,
    Section,
    Seed,
    Years,
    check_shareable,
)


class CalibrationSettings(Section):
    """How logits become probabilities; fitted on the validation split."""

    method: CalibrationMethod | Auto = "auto"
    """Auto: platt for two classes, bias-corrected-temperature for more; refused when events are too few."""
    update: CalibrationUpdate = "slope"
    """What 'effmed calibrate' changes: constant, constant and slope, all; or the prevalence, stated or estimated."""


class DecisionSettings(Section):
    """Where a probability becomes a decision; chosen on the validation split."""

    rule: Literal["threshold", "sensitivity", "specificity", "youden", "net-benefit"] = "sensitivity"
    """What the threshold must reach on val; youden is marked exploratory. Two classes only; more use the largest."""
    value: Fraction = 0.9
    """The threshold itself, the least sensitivity or specificity, or the net benefit's threshold probability."""
    miss_fraction: OpenFraction = 0.1
    """Share of images whose class may be missing from their prediction set (split conformal prediction)."""
    sets_by_class: bool = True
    """Whether that share holds within every class, or only on average."""
    max_error_fraction: OpenFraction = 0.05
    """Share of wrong decisions aimed at when the least certain images are referred to a person."""


class ReportSettings(Section):
    """What the evaluation shows."""

    bootstrap_replicates: Annotated[int, Field(ge=100)] = 2000
    """Patient bootstrap replicates."""
    seed: Seed = 0
    """Seed of the bootstrap."""
    net_benefit_at: tuple[HalfOpenFraction, ...] = (0.1, 0.2, 0.3)
    """Threshold probabilities at which the net benefit is given with its interval."""
    decision_range: Annotated[tuple[OpenFraction, OpenFraction], Rising] = (0.01, 0.99)
    """Lowest and highest threshold probability of the decision curve."""
    prevalence: tuple[OpenFraction, ...] = ()
    """Prevalence where the network will be used: of the positive class of two, else of every class, adding up to 1."""
    prevalence_estimate: Literal["none", "em", "bbse"] = "none"
    """Estimate the prevalence from the probabilities alone, assuming that images of a class look as on val."""
    subgroups: Annotated[tuple[str, ...], AfterValidator(check_shareable)] | Auto = "auto"
    """Columns whose values are evaluated one by one; auto: sex, age, site, scanner and view where they are known."""
    age_bands: Annotated[tuple[Years, ...], Rising] = (18, 40, 65, 80)
    """Where one age band ends and the next begins."""
    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    """What the label -1 (uncertain) of several labels counts as, the other policies beside it; for a network as in
    training unless it is set."""
    blank: Literal["ignore", "zeros"] = "ignore"
    """What a blank among several labels counts as; for a network as in training unless it is set."""
    n_worst: Annotated[int, Field(ge=0)] = 10
    """Worst false positives and false negatives that are listed for every class."""
    thumbnails: bool = False
    """Show small pictures of these in the report; do not share it then."""


class ColumnSettings(Section):
    """How ``effmed evaluate --predictions`` reads a table that another program wrote."""

    truth: str = "auto"
    """Column with the true class; auto: truth, label, y; or truth_<label>, y_<label> of several labels."""
    probability: str = "auto"
    """Column with the probability of the positive class; auto: probability_<class>, probability, p, score."""
    score: str = ""
    """Column with a score of the positive class that is no probability: only ranking is judged."""
    patient: str = "auto"
    """Column with the patient; auto: patient, patient_id."""
