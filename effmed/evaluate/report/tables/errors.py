"""The worst errors, by the name of the image alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from effmed.evaluate.report.tables.stacking import of_each_class

if TYPE_CHECKING:
    from effmed.evaluate.report.evidence import Evidence, OneClass

COLUMNS = ["image", "frame", "probability", "truth"]


def error_frames(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Return the worst false positives and false negatives of every class, the most certain first."""
    return {
        "worst_false_positives": of_each_class(evidence, _false_positives),
        "worst_false_negatives": of_each_class(evidence, _false_negatives),
    }


def _false_positives(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    """List images of another class with the highest probability; where there are decisions, those called so."""
    wrong = (one.truth == 0) & (True if one.called is None else one.called)
    return _worst(one, evidence, np.flatnonzero(wrong), -one.probability)


def _false_negatives(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    """List images of the class with the lowest probability; where there are decisions, those not called so."""
    wrong = (one.truth == 1) & (True if one.called is None else ~one.called)
    return _worst(one, evidence, np.flatnonzero(wrong), one.probability)


def _worst(one: OneClass, evidence: Evidence, wrong: np.ndarray, order: np.ndarray) -> pd.DataFrame:
    chosen = wrong[np.argsort(order[wrong], kind="stable")][: evidence.settings.n_worst]
    rows = evidence.predictions.frame.iloc[one.rows[chosen]]
    truth = (
        rows["truth"] if not evidence.is_multilabel else ["present" if one.truth[row] else "absent" for row in chosen]
    )
    columns = {
        "image": rows["image"].to_numpy(object),
        "frame": rows["frame"].to_numpy(np.int64),
        "probability": one.probability[chosen],
        "truth": list(truth),
    }
    return pd.DataFrame(columns, columns=COLUMNS)
