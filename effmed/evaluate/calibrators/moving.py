"""Calibrators moved to another prevalence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effmed.errors import DataError
from effmed.evaluate.calibration.prior_shift import shift_logits
from effmed.evaluate.calibrators.maps import Affine
from effmed.evaluate.calibrators.model import Calibrator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effmed.evaluate.intervals import Floats


def shift_prevalence(calibrator: Calibrator, target: Sequence[float], *, independent: bool = False) -> Calibrator:
    """Move a calibrator to another prevalence, assuming that images of a class look the same there.

    Args:
        calibrator: Whose probabilities hold for ``calibrator.prevalence``.
        target: (class,) prevalences that add up to 1; where ``independent``, (label,) shares of positives.
        independent: Whether the classes are labels that do not exclude each other.

    Returns:
        The calibrator with one more map; its prevalence is the target.

    Raises:
        DataError: The calibrator was not fitted, so the prevalence it holds for is unknown; or the target is no
            prevalence.
    """
    n_outputs = len(calibrator.prior_shift)
    if not calibrator.prevalence:
        problem = "the calibrator was not fitted, so nobody knows for what prevalence its probabilities hold"
        raise DataError(problem, hint="calibrate with labelled images first")
    if len(target) != len(calibrator.prevalence):
        problem = f"{len(target)} prevalences are given for {len(calibrator.prevalence)} classes"
        raise DataError(problem, hint="give one share per class, in the order of the classes")
    source, wanted = np.array(calibrator.prevalence), np.array(target, dtype=np.float64)
    if independent:
        bias = np.array([_shift(np.zeros((1, 1)), *pair)[0, 0] for pair in zip(source, wanted, strict=True)])
    else:
        bias = shift_logits(np.zeros((1, n_outputs)), source, wanted)[0]
    move = Affine(scale=(1.0,) * n_outputs, bias=tuple(bias.tolist()))
    return calibrator.model_copy(update={"maps": (*calibrator.maps, move), "prevalence": tuple(wanted.tolist())})


def _shift(logits: Floats, source: float, target: float) -> Floats:
    return shift_logits(logits, np.array([1 - source, source]), np.array([1 - target, target]))
