"""Views: the predictions seen as one class against the rest, before or after calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit, logsumexp

from effmed.evaluate.calibrators import calibrate, probabilities

if TYPE_CHECKING:
    from effmed.evaluate.calibrators import Calibrator
    from effmed.evaluate.intervals import Floats, Integers, Patients
    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.models import Stage

SAME_PROBABILITY = 1e-6  # a table with six digits still comes from these logits


@dataclass(frozen=True)
class View:
    """One class against the rest.

    Attributes:
        class_name: The class that counts as the event.
        stage: Before or after calibration.
        truth: (n,) 0 or 1.
        logits: (n,) of the probability; infinite where it is exactly 0 or 1.
        probability: (n,).
        patients: (n,) or None.
    """

    class_name: str
    stage: Stage
    truth: Integers
    logits: Floats
    probability: Floats
    patients: Patients

    @property
    def ranks(self) -> Floats:
        """Finite values in the order of the logits, (n,)."""
        return self.logits if np.isfinite(self.logits).all() else self.probability

    @property
    def n_events(self) -> int:
        """Images of the class."""
        return int(self.truth.sum())

    @property
    def has_both(self) -> bool:
        """Whether there are images of the class and others."""
        return 0 < self.n_events < self.truth.size


def calibrated_logits(predictions: Predictions, calibrator: Calibrator) -> Floats:
    """Return the logits behind the table's probabilities, (n, k).

    They come from the raw logits wherever the calibrator leads to the table's probabilities, because they are exact
    then; otherwise from the probabilities, which are what the table vouches for.
    """
    exact = calibrate(calibrator, predictions.logits)
    if np.allclose(probabilities(exact), predictions.probability, rtol=0, atol=SAME_PROBABILITY):
        return exact
    with np.errstate(divide="ignore"):
        if len(predictions.classes) == 2:
            return np.asarray(logit(predictions.probability[:, 1:]))
        return np.asarray(np.log(predictions.probability))


def make_views(predictions: Predictions, logits: Floats, stage: Stage) -> list[View]:
    """Return one view per class, of two classes only the positive one's.

    Args:
        predictions: Readable and labelled rows.
        logits: (n, k), k = 1 for two classes.
        stage: What the logits are.
    """
    binary = len(predictions.classes) == 2
    columns = logits if binary else against_rest(logits)
    names = predictions.classes[1:] if binary else predictions.classes
    first = 1 if binary else 0
    return [
        View(
            class_name=name,
            stage=stage,
            truth=(predictions.truth == number + first).astype(np.int64),
            logits=columns[:, number],
            probability=np.asarray(expit(columns[:, number])),
            patients=predictions.patients,
        )
        for number, name in enumerate(names)
    ]


def against_rest(logits: Floats) -> Floats:
    """Return the logit of each class's softmax probability, (n, class), without rounding near 1."""
    rest = [logsumexp(np.delete(logits, number, axis=1), axis=1) for number in range(logits.shape[1])]
    return np.asarray(logits - np.column_stack(rest))
