"""From a predictions table to its report: a pure function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from effmed.errors import RecipeError
from effmed.evaluate.report.cautions import cautions, count_text, unknown_cautions
from effmed.evaluate.report.certainty import measure_referral, measure_sets
from effmed.evaluate.report.evidence import Evidence, Measured, make_evidence
from effmed.evaluate.report.groups import measure_groups, subgroup_columns
from effmed.evaluate.report.measures import measure
from effmed.evaluate.report.model import Level, Metric, Report, ReportContext, ReportData, Subgroup, Table
from effmed.evaluate.report.tables import make_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.subgroups import Groups
    from effmed.recipe import ReportSettings


NEED_PROBABILITY = ("subgroups", "prevalence", "prevalence_estimate")


def make_report(predictions: Predictions, context: ReportContext, settings: ReportSettings) -> Report:
    """Judge a predictions table.

    Args:
        predictions: The table; rows that are unreadable or of unknown truth are counted and left out.
        context: What the table does not say. Calibrator and operating point are inputs: nothing is fitted here.
        settings: Bootstrap replicates and seed.

    Raises:
        DataError: No row has both a probability and a truth, or the table contradicts the context.
        RecipeError: The settings ask of mere scores what needs probabilities, or fit the classes badly.
    """
    if predictions.is_scored:
        _check_of_scores(settings)
    evidence = make_evidence(predictions, context, settings)
    measured = measure(evidence, context.operating_points)
    frames = make_frames(predictions, evidence, context)
    columns = {} if predictions.is_scored else subgroup_columns(evidence)
    if not predictions.is_scored:
        of_groups, group_frames = measure_groups(evidence, columns)
        measured += of_groups + _less_than_one_class(evidence, context, columns)
        frames |= group_frames
    warnings = cautions(evidence, context, measured, len(predictions)) + unknown_cautions(columns)
    return Report(
        run=context.run,
        data=_make_data(predictions, evidence, context, measured, warnings),
        metrics=[_metric(each, context.level) for each in measured],
        tables={name: _table(frame) for name, frame in frames.items()},
    )


def _check_of_scores(settings: ReportSettings) -> None:
    """Refuse settings that would change nothing where only ranking is judged."""
    plain = type(settings)()
    for name in NEED_PROBABILITY:
        if getattr(settings, name) != getattr(plain, name):
            problem = f"report.{name} has no meaning for scores, of which only the ranking of all images is judged"
            raise RecipeError(problem, hint=f"leave report.{name} out, or give probabilities")


def _less_than_one_class(evidence: Evidence, context: ReportContext, columns: Mapping[str, Groups]) -> list[Measured]:
    """Measure prediction sets and referral; both are for classes that exclude each other."""
    if evidence.is_multilabel:
        return []
    measured = [] if context.sets is None else measure_sets(evidence, context.sets, columns)
    return measured if context.referral is None else measured + measure_referral(evidence, context.referral)


def _metric(measured: Measured, level: Level) -> Metric:
    estimate = measured.estimate
    return Metric(
        name=measured.name,
        class_name=measured.class_name,
        level=level,
        stage=measured.stage,
        subgroup=None
        if measured.subgroup is None
        else Subgroup(column=measured.subgroup[0], value=measured.subgroup[1]),
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
    predictions: Predictions,
    evidence: Evidence,
    context: ReportContext,
    measured: list[Measured],
    warnings: list[str],
) -> ReportData:
    status = predictions.frame["status"]
    n_ok, n_unreadable = int((status == "ok").sum()), int((status == "unreadable").sum())
    n_evaluated = evidence.n
    per_class = (evidence.happened == 1).sum(axis=0).tolist()
    images_per_class = dict(zip(evidence.classes, per_class, strict=True))
    everyone = predictions.patients
    return ReportData(
        summary=_summary(evidence, context, measured),
        warnings=warnings,
        variant=context.variant,
        split=context.split,
        level=context.level,
        level_rule=context.level_rule,
        classes=list(evidence.classes),
        task="multilabel" if evidence.is_multilabel else "binary" if evidence.is_binary else "multiclass",
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
        sets=None if evidence.is_multilabel else context.sets,
        referral=None if evidence.is_multilabel else context.referral,
        policies=_policies(evidence),
        facts=dict(context.facts),
    )


def _policies(evidence: Evidence) -> dict[str, str]:
    if not evidence.is_multilabel:
        return {}
    return {"uncertain": evidence.settings.uncertain, "blank": evidence.settings.blank}


def _n_patients(evidence: Evidence) -> int | None:
    return None if evidence.patients is None else len(set(evidence.patients))


def _summary(evidence: Evidence, context: ReportContext, measured: list[Measured]) -> str:
    """Say the main result in one sentence."""
    main = next(each for each in measured if each.name == ("auroc" if evidence.is_binary else "macro_auroc"))
    estimate, patients = main.estimate, _n_patients(evidence)
    basis = count_text(evidence.n, "image")
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
