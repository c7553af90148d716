"""What calibration would be at a prevalence that is estimated from the probabilities alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.errors import DataError, RecipeError
from effmed.evaluate import calibration
from effmed.evaluate.calibration.prior_shift import prevalence_by_confusion, prevalence_by_em, shift_logits
from effmed.evaluate.calibrators import calibrate, prevalence_with_limits
from effmed.evaluate.report.averages import log_loss_of_all

if TYPE_CHECKING:
    from effmed.evaluate.calibrators import Calibrator
    from effmed.evaluate.intervals import Floats
    from effmed.evaluate.report.evidence import Evidence
    from effmed.evaluate.report.model import ReportContext

ASSUMPTION = "assumes that images of a class look as they do on val, and that only the shares of the classes differ"
N_DRAWS = 200  # bootstrap replicates of an estimated prevalence: each is an estimation of its own
LOWEST_SHARE = 1e-6  # of a class whose estimated share is 0


def prevalence_frame(evidence: Evidence, context: ReportContext) -> pd.DataFrame:
    """Return calibration and scores as evaluated and after the shift to the estimated prevalence; empty if not wanted.

    The estimate uses no truth of the evaluated images; the numbers as evaluated come first.

    Raises:
        DataError: What the probabilities were calibrated for is not known, or the estimate fails.
        RecipeError: Labels do not exclude each other.
    """
    method = evidence.settings.prevalence_estimate
    if method == "none":
        return pd.DataFrame()
    if evidence.is_multilabel:
        problem = (
            f"report.prevalence_estimate = {method} is for classes that exclude each other, not for several labels"
        )
        raise RecipeError(problem, hint="leave it out, or state report.prevalence, one share per label")
    source = _source(context.calibrator)
    target, limits = _estimate(evidence, context, source)
    if (target < 0).any():
        shares = ", ".join(f"{name} {share:.3f}" for name, share in zip(evidence.classes, target, strict=True))
        problem = f"report.prevalence_estimate = {method} estimates the impossible prevalence {shares}"
        raise DataError(problem, hint="use report.prevalence_estimate=em, or state report.prevalence instead")
    reached = np.maximum(target, LOWEST_SHARE)
    shifted = shift_logits(evidence.logits["calibrated"], source, reached / reached.sum())
    rows = _rows(evidence, "as evaluated", source, None, evidence.logits["calibrated"])
    rows += _rows(evidence, f"shifted to the prevalence by {method.upper()}", target, limits, shifted)
    return pd.DataFrame(rows)


def _source(calibrator: Calibrator) -> Floats:
    if not calibrator.prevalence:
        problem = "the prevalence that the probabilities were calibrated for is not known"
        raise DataError(problem, hint="evaluate a run, or leave report.prevalence_estimate out")
    return np.array(calibrator.prevalence)


def _estimate(evidence: Evidence, context: ReportContext, source: Floats) -> tuple[Floats, Floats]:
    """Return the prevalences (class,) and their bootstrap limits (2, class).

    Probabilities on val are those of the context's calibrator, which may have been fitted since val was predicted.
    """
    if evidence.settings.prevalence_estimate == "em":
        estimate = partial(prevalence_by_em, source=source)
    elif context.val is None:
        problem = "BBSE needs the network's confusion on val, and there are no predictions on val"
        raise DataError(problem, hint="name the run folder, not its bundle, or use report.prevalence_estimate=em")
    else:
        known = context.val.readable.labelled
        on_val = known.to_probability(calibrate(context.calibrator, known.logits))
        estimate = partial(prevalence_by_confusion, source_probability=on_val, source_truth=known.truth)
    found = prevalence_with_limits(
        estimate,
        evidence.probability("calibrated"),
        evidence.patients,
        replicates=N_DRAWS,
        seed=evidence.settings.seed,
    )
    return found[:, 0], found[:, 1:].T


def _rows(
    evidence: Evidence, name: str, prevalence: Floats, limits: Floats | None, logits: Floats
) -> list[dict[str, Any]]:
    probability = evidence.predictions.to_probability(logits)
    scores = {
        "brier": calibration.multiclass_brier(evidence.truth, probability, evidence.patients).value,
        "log_loss": _log_loss(evidence, logits),
    }
    if evidence.is_binary:
        scores["brier"] = calibration.brier(evidence.truth, probability[:, 1], evidence.patients).value
    rows = []
    for number in evidence.judged:
        expected = probability[:, number].mean()
        observed = (evidence.truth == number).mean()
        rows.append(
            {
                "numbers": name,
                "class": evidence.classes[number],
                "prevalence": float(prevalence[number]),
                "low": None if limits is None else float(limits[0, number]),
                "high": None if limits is None else float(limits[1, number]),
                "observed_expected": float(observed / expected) if expected > 0 else None,
                **scores,
                "assumption": "" if limits is None else ASSUMPTION,
            }
        )
    return rows


def _log_loss(evidence: Evidence, logits: Floats) -> float | None:
    if evidence.is_binary:
        return calibration.log_loss(evidence.truth, logits[:, 0], evidence.patients).value
    return log_loss_of_all(evidence, logits).value
