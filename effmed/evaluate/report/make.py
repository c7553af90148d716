"""From a predictions table to its report: a pure function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.evaluate.calibration import FEW_EVENTS
from effmed.evaluate.report.curves import make_frames
from effmed.evaluate.report.evidence import Evidence, Measured, make_evidence
from effmed.evaluate.report.measures import measure
from effmed.evaluate.report.model import Metric, Report, ReportContext, ReportData, Table

if TYPE_CHECKING:
    import pandas as pd

    from effmed.evaluate.decisions import OperatingPoint
    from effmed.evaluate.predictions import Predictions
    from effmed.recipe import ReportSettings

FEW_IMAGES = 50  # of a class: below it no interval of a high AUROC holds its 95 % in every simulation
HIGH_AUROC = 0.9  # likewise


def make_report(predictions: Predictions, context: ReportContext, settings: ReportSettings) -> Report:
    """Judge a predictions table.

    Args:
        predictions: The table; rows that are unreadable or of unknown truth are counted and left out.
        context: What the table does not say. Calibrator and operating point are inputs: nothing is fitted here.
        settings: Bootstrap replicates and seed.

    Raises:
        DataError: No row has both a probability and a truth, or the table contradicts the context.
    """
    evidence = make_evidence(predictions, context, settings)
    measured = measure(evidence, context.operating_points)
    frames = make_frames(predictions, evidence)
    return Report(
        run=context.run,
        data=_make_data(predictions, evidence, context, measured),
        metrics=[_metric(each) for each in measured],
        tables={name: _table(frame) for name, frame in frames.items()},
    )


def _metric(measured: Measured) -> Metric:
    estimate = measured.estimate
    return Metric(
        name=measured.name,
        class_name=measured.class_name,
        stage=measured.stage,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        null_mean=measured.null[0],
        null_high=measured.null[1],
        method=estimate.method,
        unit="image" if estimate.n_patients is None else "patient",
        n=estimate.n,
        n_events=estimate.n_events,
        n_patients=estimate.n_patients,
        status=estimate.status,
        reason=estimate.reason,
    )


def _table(frame: pd.DataFrame) -> Table:
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return Table(columns=[str(name) for name in frame.columns], rows=rows)


def _cell(value: Any) -> int | float | str | None:  # noqa: ANN401  whatever pandas holds
    if value is None or isinstance(value, str):
        return value
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return None
    return plain  # type: ignore[no-any-return]  # int or float by now


def _make_data(
    predictions: Predictions, evidence: Evidence, context: ReportContext, measured: list[Measured]
) -> ReportData:
    status = predictions.frame["status"]
    n_ok, n_unreadable = int((status == "ok").sum()), int((status == "unreadable").sum())
    n_evaluated = evidence.truth.size
    per_class = np.bincount(evidence.truth, minlength=len(evidence.classes)).tolist()
    images_per_class = dict(zip(evidence.classes, per_class, strict=True))
    everyone = predictions.patients
    return ReportData(
        summary=_summary(evidence, context, measured),
        warnings=_warnings(evidence, context, measured, len(predictions)),
        variant=context.variant,
        split=context.split,
        classes=list(evidence.classes),
        n_images=len(predictions),
        n_patients=None if everyone is None else int(predictions.frame["patient"].nunique()),
        n_unreadable=n_unreadable,
        n_refused=len(predictions) - n_ok - n_unreadable,
        n_without_truth=n_ok - n_evaluated,
        n_evaluated=n_evaluated,
        n_patients_evaluated=_n_patients(evidence),
        images_per_class=images_per_class,
        digest=predictions.digest(),
        bootstrap_replicates=evidence.settings.bootstrap_replicates,
        seed=evidence.settings.seed,
        calibrator=context.calibrator,
        operating_points=list(context.operating_points),
        facts=dict(context.facts),
    )


def _n_patients(evidence: Evidence) -> int | None:
    return None if evidence.patients is None else len(set(evidence.patients))


def count_text(n: int, word: str) -> str:
    """Return a number with its noun: ``1 image``, ``2 images``, ``1,200 images``."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _summary(evidence: Evidence, context: ReportContext, measured: list[Measured]) -> str:
    """Say the main result in one sentence."""
    main = next(each for each in measured if each.name == ("auroc" if evidence.is_binary else "macro_auroc"))
    estimate, patients = main.estimate, _n_patients(evidence)
    basis = count_text(evidence.truth.size, "image")
    basis += "" if patients is None else f" of {count_text(patients, 'patient')}"
    what = f"AUROC for {main.class_name!r}" if evidence.is_binary else "Macro-averaged AUROC"
    if evidence.is_binary:
        basis += f", {estimate.n_events:,} of them {main.class_name!r}"
    where = f"on {basis} ({context.split})"
    if estimate.value is None:
        return f"{what} could not be estimated {where}: {estimate.reason}."
    if estimate.low is None or estimate.high is None:
        return f"{what} {estimate.value:.2f}, without an interval, {where}: {estimate.reason}."
    return f"{what} {estimate.value:.2f} (95 % interval {estimate.low:.2f} to {estimate.high:.2f}) {where}."


def _warnings(evidence: Evidence, context: ReportContext, measured: list[Measured], n_rows: int) -> list[str]:
    found = [*_size_warnings(evidence, measured), *_origin_warnings(evidence, context)]
    left_out = n_rows - evidence.truth.size
    if left_out:
        text = f"{left_out} of {count_text(n_rows, 'image')} left out, unreadable or of unknown truth: see the flow."
        found.append(text)
    return found


def _size_warnings(evidence: Evidence, measured: list[Measured]) -> list[str]:
    """Say where the images are too few for what is reported."""
    n = np.bincount(evidence.truth, minlength=len(evidence.classes))
    found = [
        f"No image of class {name!r} is among them: what depends on it is not estimable."
        for name, count in zip(evidence.classes, n, strict=True)
        if count == 0
    ]
    rarest = min(n[n > 0])
    if n.min() < FEW_EVENTS:
        name = evidence.classes[n.tolist().index(rarest)]
        text = f"Few events: {count_text(int(rarest), 'image')} of class {name!r}, fewer than {FEW_EVENTS}: "
        found.append(text + "calibration estimates imprecise (Snell 2021).")
    return found + _few_cases(measured)


def _few_cases(measured: list[Measured]) -> list[str]:
    """Name the classes whose AUROC is too high, from too few images, for its reported interval to be trusted."""
    high = [each for each in measured if each.name == "auroc" and each.estimate.low is not None]
    few = [
        repr(each.class_name)
        for each in high
        if (each.estimate.value or 0) >= HIGH_AUROC
        and min(each.estimate.n_events, each.estimate.n - each.estimate.n_events) < FEW_IMAGES
    ]
    if not few:
        return []
    basis = f"for {', '.join(few)} rests on fewer than {FEW_IMAGES} images of a class"
    return [f"Few cases: an AUROC of {HIGH_AUROC} or more {basis}: read the outermost limits beside its interval."]


def _origin_warnings(evidence: Evidence, context: ReportContext) -> list[str]:
    """Say where independence, calibration or decisions are not what a reader would take for granted."""
    calibrator, points = context.calibrator, context.operating_points
    found = []
    if evidence.patients is None:
        found.append("No patients are given: images treated as independent, so intervals may be too narrow.")
    if calibrator.method == "none":
        found.append(f"No calibration was fitted{': ' + calibrator.reason if calibrator.reason else ''}.")
    elif calibrator.reason:
        found.append(f"Calibration is less than wished: {calibrator.reason}.")
    if calibrator.fitted_on == context.split:
        found.append(f"The calibrator was fitted on these images ({context.split}): calibration looks too good.")
    if evidence.is_binary and not points:
        found.append(_no_point_text(evidence))
    found += [text for point in points for text in _point_warnings(point, context.split)]
    return found


def _no_point_text(evidence: Evidence) -> str:
    if evidence.called is None:
        return "No operating point was given: sensitivity, specificity and predictive values are not reported."
    return "The decisions are the table's own; the threshold behind them is not known here."


def _point_warnings(point: OperatingPoint, split: str) -> list[str]:
    found = []
    if point.exploratory:
        found.append(f"Exploratory: the threshold's rule ({point.rule}) makes the most of {point.chosen_on}.")
    if point.chosen_on == split:
        found.append(f"The operating point was chosen on these images ({split}): its rates look too good.")
    return found
