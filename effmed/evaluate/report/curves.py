"""What the plots show and the counts behind the rates, as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from scipy.special import expit

from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.report.model import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from effmed.evaluate.intervals import Floats
    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.evidence import Evidence, OneClass

N_CURVE_POINTS = 400  # of a ROC or precision-recall curve: finer than a plot can show
N_HISTOGRAM_BINS = 20
THRESHOLDS = tuple(np.round(np.arange(1, 100) / 100, 2).tolist())  # of the decision curve: 1 % to 99 %


def make_frames(predictions: Predictions, evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Return every table of the report by its name."""
    frames = {
        "flow": _flow(predictions, evidence),
        "classes": _classes(evidence),
        "auroc_intervals": _each(evidence, _auroc_intervals),
        "roc_curve": _each(evidence, _roc),
        "pr_curve": _each(evidence, _precision_recall),
        "calibration_curve": _stages(evidence, _calibration_curve),
        "calibration_groups": _stages(evidence, _calibration_groups),
        "histogram": _each(evidence, _histogram),
        "decision_curve": _each(evidence, _decision_curve),
    }
    return frames if evidence.called is None else {**frames, "confusion": _confusion(evidence)}


def _each(
    evidence: Evidence, frame_of: Callable[[OneClass, Evidence], pd.DataFrame], stage: Stage = "calibrated"
) -> pd.DataFrame:
    """Stack the frames of all judged classes below one another, the class in the first column."""
    frames = []
    for number in evidence.judged:
        one = evidence.against_rest(number, stage)
        frame = frame_of(one, evidence)
        frame.insert(0, "class", one.name)
        frames.append(frame)
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _stages(evidence: Evidence, frame_of: Callable[[OneClass, Evidence], pd.DataFrame]) -> pd.DataFrame:
    """Stack both stages, the stage in the first column; only the calibrated where the raw is the same."""
    frames = []
    for stage in get_args(Stage):
        if stage == "calibrated" or evidence.is_recalibrated:
            frame = _each(evidence, frame_of, stage)
            frame.insert(0, "stage", stage)
            frames.append(frame)
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _flow(predictions: Predictions, evidence: Evidence) -> pd.DataFrame:
    status = predictions.frame["status"].to_numpy(object)
    unlabelled = (status == "ok") & ~np.isin(predictions.truth, np.arange(len(evidence.classes)))
    steps = {
        "in the table": np.ones(len(status), dtype=bool),
        "left out: unreadable": status == "unreadable",
        "left out: refused": ~np.isin(status, ("ok", "unreadable")),
        "left out: truth not known": unlabelled,
        "evaluated": (status == "ok") & ~unlabelled,
    }
    rows = [(name, int(mask.sum()), _n_patients(predictions, mask)) for name, mask in steps.items()]
    return pd.DataFrame(rows, columns=["step", "images", "patients"])


def _n_patients(predictions: Predictions, mask: NDArray[np.bool_]) -> int | None:
    return None if predictions.patients is None else int(predictions.frame.loc[mask, "patient"].nunique())


def _classes(evidence: Evidence) -> pd.DataFrame:
    n = np.bincount(evidence.truth, minlength=len(evidence.classes))
    patients: list[int | None] = [None] * n.size
    if evidence.patients is not None:
        patients = [len(set(evidence.patients[evidence.truth == number])) for number in range(n.size)]
    columns: dict[str, Any] = {"class": evidence.classes, "images": n, "patients": patients, "fraction": n / n.sum()}
    return pd.DataFrame(columns)


def _auroc_intervals(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    """Show the reported interval, Wald's as other programs print it, and the outermost limits of few images."""
    found = discrimination.auroc_intervals(one.truth, one.ranking, evidence.patients)
    reported = found.estimate
    rows: list[tuple[str, float | None, float | None]] = [(f"reported: {reported.method}", reported.low, reported.high)]
    if found.wald is not None:
        rows.append(("Wald, clipped to 0 and 1", *found.wald))
    if found.conservative is not None:
        rows.append(("outermost limits with Newcombe's method 5", *found.conservative))
    return pd.DataFrame(rows, columns=["interval", "low", "high"]) if reported.low is not None else _nothing(rows)


def _nothing(rows: list[tuple[str, float | None, float | None]]) -> pd.DataFrame:
    return pd.DataFrame(rows[:0], columns=["interval", "low", "high"])


def _roc(one: OneClass, _: Evidence) -> pd.DataFrame:
    if one.truth.min() == one.truth.max():
        return pd.DataFrame(columns=["false_positive_rate", "sensitivity", "threshold"])
    fpr, tpr, thresholds = discrimination.roc_curve(one.truth, one.ranking)
    kept = _thinned(fpr + tpr)
    columns = {"false_positive_rate": fpr, "sensitivity": tpr, "threshold": _as_probability(one, thresholds)}
    return pd.DataFrame(columns).iloc[kept]


def _precision_recall(one: OneClass, _: Evidence) -> pd.DataFrame:
    if one.truth.max() == 0:
        return pd.DataFrame(columns=["sensitivity", "ppv", "threshold"])
    recall, precision, thresholds = discrimination.pr_curve(one.truth, one.ranking)
    kept = _thinned(recall - precision)
    columns = {"sensitivity": recall, "ppv": precision, "threshold": _as_probability(one, thresholds)}
    return pd.DataFrame(columns).iloc[kept]


def _as_probability(one: OneClass, thresholds: Floats) -> Floats:
    """Return thresholds as probabilities; NaN where nothing can reach them."""
    values = expit(thresholds) if one.ranking is one.logits else thresholds
    return np.asarray(np.where(np.isinf(thresholds), np.nan, values))


def _thinned(position: Floats) -> NDArray[np.int64]:
    """Return the points to keep, both ends among them, spread along the curve whose position only roughly grows."""
    if position.size <= N_CURVE_POINTS:
        return np.arange(position.size)
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(position)))])
    wanted = np.linspace(0, travelled[-1], N_CURVE_POINTS)
    return np.unique(np.append(np.searchsorted(travelled, wanted).clip(0, position.size - 1), position.size - 1))


def _calibration_curve(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    curve = calibration.calibration_curve(one.truth, one.logits, evidence.patients)
    columns = {"predicted": curve.predicted, "observed": curve.observed, "low": curve.low, "high": curve.high}
    return pd.DataFrame(columns)


def _calibration_groups(one: OneClass, _: Evidence) -> pd.DataFrame:
    points = calibration.grouped_points(one.truth, one.probability)
    columns = {"predicted": points.predicted, "observed": points.observed, "low": points.low, "high": points.high}
    return pd.DataFrame({**columns, "images": points.n})


def _histogram(one: OneClass, _: Evidence) -> pd.DataFrame:
    """Count images by probability, apart for those of the class and the others."""
    edges = np.linspace(0, 1, N_HISTOGRAM_BINS + 1)
    frames = []
    for value, outcome in ((1, "this class"), (0, "other class")):
        n = np.histogram(one.probability[one.truth == value], edges)[0]
        frames.append(pd.DataFrame({"outcome": outcome, "low": edges[:-1], "high": edges[1:], "images": n}))
    return pd.concat(frames, ignore_index=True)


def _decision_curve(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    benefits = decisions.net_benefit(one.truth, one.probability, THRESHOLDS, evidence.patients)
    everyone = decisions.treat_all(one.truth, THRESHOLDS, evidence.patients)
    columns = {
        "threshold": THRESHOLDS,
        "net_benefit": [each.value for each in benefits],
        "low": [each.low for each in benefits],
        "high": [each.high for each in benefits],
        "treat_all": [each.value for each in everyone],
    }
    return pd.DataFrame(columns)


def _confusion(evidence: Evidence) -> pd.DataFrame:
    """Count images by truth (rows) and decision (columns)."""
    k = len(evidence.classes)
    called = evidence.truth if evidence.called is None else evidence.called
    counts = np.bincount(evidence.truth * k + called, minlength=k * k).reshape(k, k)
    frame = pd.DataFrame(counts, columns=[f"decided {name}" for name in evidence.classes])
    frame.insert(0, "truth", evidence.classes)
    return frame
