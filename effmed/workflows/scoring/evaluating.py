"""``effmed evaluate``: a report on a run's own test split, or on images of another source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from effmed.data.scan import scan
from effmed.errors import BundleError
from effmed.evaluate.predictions import read_predictions
from effmed.evaluate.report import Report, make_report
from effmed.learn.bundle import read_bundle, read_sheet
from effmed.learn.plan import Plan
from effmed.run import newest_run, open_run
from effmed.workflows.heeding import check_heeded
from effmed.workflows.scoring.bundles import (
    FRAMES,
    LEVELS,
    bundle_folder,
    bundle_name,
    check_as_made,
    check_classes,
    known_patients,
    make_context,
    read_val,
    run_context,
    run_of,
    score,
    tell_of_ids,
    with_frames,
)
from effmed.workflows.scoring.choosing import decide_again, with_policies
from effmed.workflows.talk import Talk, progress_of

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.report import ReportContext
    from effmed.learn.bundle import Recalibration
    from effmed.recipe import DecisionSettings, Recipe

OF_IMAGES = {"data": (), "decision": (), "report": ()}
OF_THE_RUN = {"data": FRAMES + LEVELS, "decision": (), "report": ()}
UNTOLD = "cannot be told"
TRAINED_ON = "patients that the network was trained or tuned on"


def evaluate(run: Path | None, recipe: Recipe, *, data: Path | None, labels: Path | None, talk: Talk) -> Report:
    """Report on a run's own test split or on other labelled images; see ``effmed.workflows.evaluate``."""
    check_heeded(recipe, OF_IMAGES if data is not None else OF_THE_RUN, "this evaluation")
    if data is None:
        chosen = open_run(run) if run is not None else newest_run()
        talk.say(f"run {chosen.folder}")
        plan = Plan.model_validate(read_sheet(chosen.bundle).plan)
        check_as_made(plan, recipe.data)
        wanted = recipe.report.subgroups
        table = read_predictions(chosen.tested(), recipe.columns, () if wanted == "auto" else wanted)
        return make_report(
            table,
            _with_decisions(run_context(chosen), plan, recipe.decision),
            with_policies(recipe.report, plan, recipe.report.model_fields_set),
        )
    folder = bundle_folder(run, talk)
    bundle, settings = with_frames(read_bundle(folder), recipe.data)
    tell_of_ids(settings, talk)
    manifest = scan(data, labels, settings, on_progress=progress_of(talk, "reading headers"))
    check_classes(manifest, bundle, talk)
    table = score(bundle, manifest, talk)
    origin = run_of(folder, bundle.sheet)
    site = data.resolve().name
    context = make_context(bundle.sheet, bundle.plan, run=bundle_name(folder), split=f"external: {site}")
    n_known = known_patients(origin, manifest, recipe.data, talk)
    first = _first(bundle.sheet.recalibrations, site, n_known)
    for text in first:
        talk.warn(text)
    facts = {
        **context.facts,
        "patients with ids of the training or validation patients": UNTOLD if n_known is None else str(n_known),
    }
    val = None if origin is None else read_val(origin)
    context = replace(context, facts=facts, val=val, cautions=(*context.cautions, *first))
    asked = with_policies(recipe.report, bundle.plan, recipe.report.model_fields_set)
    return make_report(table, _with_decisions(context, bundle.plan, recipe.decision), asked)


def _first(recalibrations: tuple[Recalibration, ...], site: str, n_known: int | None) -> tuple[str, ...]:
    """Say where these images may be no test, because the network or its calibrator has seen their patients."""
    found = []
    if n_known is None:
        found.append(f"Whether patients of the training or validation are among these {UNTOLD}.")
    elif n_known:
        found.append(f"{n_known} patients bear the ids of {TRAINED_ON}: if they are the same people, this is no test.")
    for change in recalibrations:
        if change.site == site:
            text = f"The bundle was recalibrated on images of the same name ({change.text}): on them it looks too good."
        else:
            text = f"The bundle was recalibrated ({change.text}): none of those patients may be among these."
        found.append(text)
    return tuple(found)


def _with_decisions(context: ReportContext, plan: Plan, wanted: DecisionSettings) -> ReportContext:
    """Decide by other rules than the bundle's where the recipe names them; they are chosen on val again.

    Raises:
        BundleError: The predictions on val are not there.
    """
    if not wanted.model_fields_set:
        return context
    if context.val is None or context.calibrator.fitted_on not in ("", "val"):
        problem = "section 'decision' is chosen on val, whose predictions lie in the run and not in its bundle"
        raise BundleError(problem, hint="name the run folder, or leave section 'decision' out")
    settings = plan.decision.model_copy(update={key: getattr(wanted, key) for key in wanted.model_fields_set})
    chosen, missing = decide_again(context.val.readable.labelled, context.calibrator, plan, settings)
    cautions = (*context.cautions, *missing)
    points, sets, referral = chosen.points, chosen.sets, chosen.referral
    return replace(context, operating_points=points, sets=sets, referral=referral, cautions=cautions)
