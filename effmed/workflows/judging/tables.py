"""Evaluation of any predictions table. Imports neither a deep learning library nor what draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.errors import RecipeError
from effmed.evaluate.calibrators import identity_calibrator
from effmed.evaluate.decisions import OperatingPoint, state_operating_point
from effmed.evaluate.predictions import join_predictions, n_patients, read_predictions
from effmed.evaluate.report import FlowStep, Report, ReportContext, make_report
from effmed.recipe import ReportSettings
from effmed.workflows.heeding import check_heeded

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report import Metric
    from effmed.recipe import DecisionSettings, Recipe

LEVEL = ("level", "level_rule")
HEEDED = {"data": LEVEL, "decision": (), "report": (), "columns": ()}
OF_RANKING = ("bootstrap_replicates", "seed")  # settings of a report that judges no more than a ranking
OF_LABELS = {"uncertain", "blank"}  # settings of a report about labels that do not exclude each other
HEADLINE = (
    "auroc",
    "macro_auroc",
    "average_precision",
    "brier",
    "citl",
    "slope",
    "smece",
    "sensitivity",
    "specificity",
)


def evaluate_table(table: Path, recipe: Recipe) -> Report:
    """Report on predictions that any program wrote; see ``effmed.workflows.evaluate_table``."""
    if recipe.report.thumbnails:
        problem = "report.thumbnails = true, but a predictions table has no pictures"
        raise RecipeError(problem, hint="evaluate the run with --data FOLDER, or leave report.thumbnails out")
    wanted = recipe.report.subgroups
    check_heeded(recipe, HEEDED, "the evaluation of a table")
    images = read_predictions(table, recipe.columns, () if wanted == "auto" else wanted)
    level, rule = recipe.data.level, recipe.data.level_rule
    _check_report(recipe, images)
    predictions = join_predictions(images, level, rule)
    as_given = identity_calibrator(predictions.logits.shape[1], "the table's probabilities are taken as they are")
    context = ReportContext(
        run=table.stem,
        variant="unknown",
        split="table",
        calibrator=as_given,
        operating_points=_stated_points(predictions, recipe.decision),
        facts={"source": table.name},
        level=level,
        level_rule="" if level == "image" else f"{rule} of probabilities",
        flow=() if level == "image" else (FlowStep("images in the file", len(images), n_patients(images)),),
    )
    return make_report(predictions, context, recipe.report)


def _check_report(recipe: Recipe, predictions: Predictions) -> None:
    """Refuse settings that have no meaning for the kind of table it is."""
    if recipe.data.level == "image":
        check_heeded(recipe, {**HEEDED, "data": LEVEL[:1]}, "a table of which every row is judged by itself")
    if predictions.is_scored:
        check_heeded(recipe, {**HEEDED, "report": OF_RANKING}, "the evaluation of scores that are no probabilities")
    elif not predictions.is_multilabel:
        exclusive = ReportSettings.model_fields.keys() - OF_LABELS
        check_heeded(recipe, {**HEEDED, "report": exclusive}, "a table whose classes exclude each other")


def _stated_points(predictions: Predictions, settings: DecisionSettings) -> tuple[OperatingPoint, ...]:
    """Return the threshold that the recipe states; a table has no other images to choose one on.

    Raises:
        RecipeError: A rule that chooses, or a threshold where none has a meaning.
    """
    if not settings.model_fields_set:
        return ()
    if settings.rule != "threshold" or not settings.model_fields_set <= {"rule", "value"}:
        problem = "a predictions table holds no val split on which 'decision' could choose"
        raise RecipeError(problem, hint="state a threshold: --set decision.rule=threshold --set decision.value=0.5")
    if predictions.is_scored or (len(predictions.classes) > 2 and not predictions.is_multilabel):
        problem = "decision.value is a threshold of a probability, of two classes or of several labels"
        raise RecipeError(problem, hint="leave section 'decision' out; of more classes the largest probability decides")
    names = predictions.classes if predictions.is_multilabel else predictions.classes[1:]
    return tuple(state_operating_point(name, settings.value) for name in names)


def headline(report: Report) -> dict[str, str]:
    """Return the calibrated headline metrics of a report in words."""
    shown = [m for m in report.metrics if m.name in HEADLINE and m.stage == "calibrated" and m.subgroup is None]
    return {f"{m.name} {m.class_name or ''}".strip(): _metric_text(m) for m in shown}


def _metric_text(metric: Metric) -> str:
    if metric.value is None:
        return f"not estimable: {metric.reason}"
    interval = f" (95 % interval {metric.low:.3f} to {metric.high:.3f})" if metric.low is not None else ""
    patients = f", {metric.n_patients} patients" if metric.n_patients else ""
    return f"{metric.value:.3f}{interval}, {metric.n} images{patients}"
