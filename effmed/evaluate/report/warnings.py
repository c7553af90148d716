"""What a reader must know beside the main result, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.calibration import FEW_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.models import ReportContext
    from effmed.evaluate.report.views import View

FEW_IMAGES = 50  # of the rarer kind: below it no interval of the AUROC reaches 95 % coverage in simulations
N_SHOWN = 10


def make_warnings(
    predictions: Predictions, evaluated: Predictions, context: ReportContext, views: list[View]
) -> tuple[str, ...]:
    """Return every warning that applies, the most important first."""
    return (
        *_same_data(context),
        *_absent(evaluated, views),
        *_independent(evaluated),
        *_few(views),
        *_left_out(predictions, evaluated),
        *_uncalibrated(context),
        *_exploratory(context),
    )


def _same_data(context: ReportContext) -> Iterator[str]:
    fitted = [context.calibrator.fitted_on, *(point.chosen_on for point in context.operating_points)]
    if context.split in fitted:
        yield (
            f"Calibrator or threshold were chosen on the same split ({context.split}) that is evaluated here: "
            "the results are too good."
        )


def _absent(evaluated: Predictions, views: list[View]) -> Iterator[str]:
    if len(views) == 1:
        if not views[0].has_both:
            kind = "is" if views[0].n_events else "is not"
            yield (
                f"Every image {kind} {views[0].class_name}: ranking and calibration cannot be estimated "
                "without images of both classes."
            )
        return
    absent = [view.class_name for view in views if view.n_events == 0]
    if absent:
        yield f"No image is of class {_listed(absent)}: what needs this class is not estimable."
    if len(set(evaluated.truth)) == 1:
        yield "All images are of one class: ranking cannot be estimated."


def _independent(evaluated: Predictions) -> Iterator[str]:
    if evaluated.patients is None:
        yield (
            "No patients are known, so images were treated as independent: "
            "if patients have several images, every interval is too narrow."
        )


def _few(views: list[View]) -> Iterator[str]:
    rarer = {view.class_name: min(view.n_events, view.truth.size - view.n_events) for view in views if view.has_both}
    few = [name for name, n in rarer.items() if n < FEW_IMAGES]
    imprecise = [name for name, n in rarer.items() if n < FEW_EVENTS]
    if few:
        yield (
            f"Few cases ({_counted(few, rarer)}; fewer than {FEW_IMAGES} images of the rarer kind): "
            "the AUROC's conservative interval is shown too."
        )
    if imprecise:
        yield (
            f"Few events ({_counted(imprecise, rarer)}; fewer than {FEW_EVENTS} images of the rarer kind): "
            "calibration estimates are imprecise (Snell 2021)."
        )


def _left_out(predictions: Predictions, evaluated: Predictions) -> Iterator[str]:
    status = predictions.frame["status"]
    for word in ("unreadable", "refused"):
        n = int((status == word).sum())
        if n:
            yield f"{n} of {len(predictions)} images could not be evaluated: {word}."
    n_unlabelled = len(predictions.readable) - len(evaluated)
    if n_unlabelled:
        yield f"{n_unlabelled} of {len(predictions)} images could not be evaluated: their truth is unknown."
    n_odd = int((evaluated.frame["input_warning"] != "").sum())
    if n_odd:
        yield f"{n_odd} of {len(evaluated)} evaluated images carry a warning about their input."


def _uncalibrated(context: ReportContext) -> Iterator[str]:
    if context.calibrator.method == "none" and context.calibrator.reason:
        yield f"No calibrator was fitted: {context.calibrator.reason}."


def _exploratory(context: ReportContext) -> Iterator[str]:
    for point in context.operating_points:
        if point.exploratory:
            yield (
                f"The threshold for {point.class_name} was chosen by an exploratory rule ({point.rule}): "
                "state a required sensitivity or specificity before use."
            )


def _counted(names: list[str], n: dict[str, int]) -> str:
    return _listed([f"{name}: {n[name]}" for name in names])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return ", ".join(names[:N_SHOWN]) + more
