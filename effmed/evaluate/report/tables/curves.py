"""What the plots show, as frames: ROC and precision-recall curves, calibration, histograms, decision curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit

from effmed.evaluate import calibration, decisions, discrimination
from effmed.evaluate.report.measures import target_prevalence
from effmed.evaluate.report.tables.stacking import of_each_class, of_each_stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.evaluate.intervals import Floats
    from effmed.evaluate.report.evidence import Evidence, OneClass

N_CURVE_POINTS = 400  # of a ROC or precision-recall curve: finer than a plot can show
N_HISTOGRAM_BINS = 20
N_THRESHOLDS = 99  # of the decision curve: steps of 1 % over the whole range


def curve_frames(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Return every curve of the report by its name; of mere scores, those that need no probability."""
    frames = {
        "auroc_intervals": of_each_class(evidence, _auroc_intervals),
        "roc_curve": of_each_class(evidence, _roc),
        "pr_curve": of_each_class(evidence, _precision_recall),
    }
    if evidence.predictions.is_scored:
        return frames
    return frames | {
        "calibration_curve": of_each_stage(evidence, _calibration_curve),
        "calibration_groups": of_each_stage(evidence, _calibration_groups),
        "histogram": of_each_class(evidence, _histogram),
        "decision_curve": of_each_class(evidence, _decision_curve),
        "net_benefit": of_each_class(evidence, _net_benefit),
    }


def _auroc_intervals(one: OneClass, _: Evidence) -> pd.DataFrame:
    """Show the reported interval, Wald's as other programs print it, and the outermost limits of few images."""
    found = discrimination.auroc_intervals(one.truth, one.ranking, one.patients)
    reported = found.estimate
    rows: list[tuple[str, float | None, float | None]] = [(f"reported: {reported.method}", reported.low, reported.high)]
    if found.wald is not None:
        rows.append(("Wald, clipped to 0 and 1", *found.wald))
    if found.conservative is not None:
        rows.append(("outermost limits with Newcombe's method 5", *found.conservative))
    return pd.DataFrame(rows, columns=["interval", "low", "high"]) if reported.low is not None else _nothing(rows)


def _nothing(rows: list[tuple[str, float | None, float | None]]) -> pd.DataFrame:
    return pd.DataFrame(rows[:0], columns=["interval", "low", "high"])


def _roc(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    if one.truth.sum() in {0, one.truth.size}:
        return pd.DataFrame(columns=["false_positive_rate", "sensitivity", "threshold"])
    fpr, tpr, thresholds = discrimination.roc_curve(one.truth, one.ranking)
    kept = _thinned(fpr + tpr)
    columns = {"false_positive_rate": fpr, "sensitivity": tpr, "threshold": _thresholds(one, evidence, thresholds)}
    return pd.DataFrame(columns).iloc[kept]


def _precision_recall(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    if not one.truth.any():
        return pd.DataFrame(columns=["sensitivity", "ppv", "threshold"])
    recall, precision, thresholds = discrimination.pr_curve(one.truth, one.ranking)
    kept = _thinned(recall - precision)
    columns = {"sensitivity": recall, "ppv": precision, "threshold": _thresholds(one, evidence, thresholds)}
    return pd.DataFrame(columns).iloc[kept]


def _thresholds(one: OneClass, evidence: Evidence, ranked: Floats) -> Floats:
    """Return thresholds as probabilities, of mere scores as scores; NaN where nothing can reach them."""
    is_plain = evidence.predictions.is_scored or np.array_equal(one.ranking, one.probability)
    return np.asarray(np.where(np.isinf(ranked), np.nan, ranked if is_plain else expit(ranked)))


def _thinned(position: Floats) -> NDArray[np.int64]:
    """Return the points to keep, both ends among them, spread along the curve whose position only roughly grows."""
    if position.size <= N_CURVE_POINTS:
        return np.arange(position.size)
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(position)))])
    wanted = np.linspace(0, travelled[-1], N_CURVE_POINTS)
    return np.unique(np.append(np.searchsorted(travelled, wanted).clip(0, position.size - 1), position.size - 1))


def _calibration_curve(one: OneClass, _: Evidence) -> pd.DataFrame:
    curve = calibration.calibration_curve(one.truth, one.logits, one.patients)
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
    lowest, highest = evidence.settings.decision_range
    thresholds = tuple(np.round(np.linspace(lowest, highest, N_THRESHOLDS), 6).tolist())
    frame = _benefits(one, thresholds)
    return frame[["threshold", "net_benefit", "low", "high", "treat_all"]]


def _net_benefit(one: OneClass, evidence: Evidence) -> pd.DataFrame:
    thresholds = evidence.settings.net_benefit_at
    frame = _benefits(one, thresholds)
    prevalence = target_prevalence(evidence, evidence.classes.index(one.name))
    if prevalence is None:
        return frame
    elsewhere = decisions.net_benefit(one.truth, one.probability, thresholds, one.patients, prevalence=prevalence)
    values = pd.Series([each.value for each in elsewhere], dtype="float64")
    return frame.assign(stated_prevalence=prevalence, at_stated_prevalence=values)


def _benefits(one: OneClass, thresholds: tuple[float, ...]) -> pd.DataFrame:
    """Return the net benefit at threshold probabilities, and what it gains over calling every image positive."""
    benefits = decisions.net_benefit(one.truth, one.probability, thresholds, one.patients)
    everyone = decisions.treat_all(one.truth, thresholds, one.patients)
    gains = decisions.gain_over_all(one.truth, one.probability, thresholds, one.patients)
    columns = {
        "threshold": thresholds,
        "net_benefit": [each.value for each in benefits],
        "low": [each.low for each in benefits],
        "high": [each.high for each in benefits],
        "treat_all": [each.value for each in everyone],
        "gain_over_all": [each.value for each in gains],
        "gain_low": [each.low for each in gains],
        "gain_high": [each.high for each in gains],
    }
    return pd.DataFrame(columns)
