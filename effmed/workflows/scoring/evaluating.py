"""``effmed evaluate``: a report on a run's own test split, or on images of another source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from effmed.data.scan import scan
from effmed.evaluate.predictions import read_predictions
from effmed.evaluate.report import Report, make_report
from effmed.learn.bundle import read_bundle, read_sheet
from effmed.learn.plan import Plan
from effmed.run import newest_run, open_run
from effmed.workflows.scoring.bundles import (
    bundle_folder,
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
from effmed.workflows.talk import Talk, progress_of

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.recipe import Recipe

UNTOLD = "cannot be told"
NOT_A_TEST = "if they are the same people, this is no test"


def evaluate(run: Path | None, recipe: Recipe, *, data: Path | None, labels: Path | None, talk: Talk) -> Report:
    """Report on a run's own test split or on other labelled images; see ``effmed.workflows.evaluate``."""
    if data is None:
        chosen = open_run(run) if run is not None else newest_run()
        talk.say(f"run {chosen.folder}")
        check_as_made(Plan.model_validate(read_sheet(chosen.bundle).plan), recipe.data)
        wanted = recipe.report.subgroups
        table = read_predictions(chosen.predictions("test"), recipe.columns, () if wanted == "auto" else wanted)
        return make_report(table, run_context(chosen), recipe.report)
    folder = bundle_folder(run, talk)
    bundle, settings = with_frames(read_bundle(folder), recipe.data)
    tell_of_ids(settings, talk)
    manifest = scan(data, labels, settings, on_progress=progress_of(talk, "reading headers"))
    check_classes(manifest, bundle)
    table = score(bundle, manifest, talk)
    origin = run_of(folder, bundle.sheet)
    context = make_context(bundle.sheet, bundle.plan, run=folder.parent.name, split=f"external: {data.name}")
    n_known = known_patients(origin, manifest, recipe.data, talk)
    if n_known:
        talk.warn(f"{n_known} patients bear the ids of patients that the network was trained or tuned on: {NOT_A_TEST}")
    for change in bundle.sheet.recalibrations:
        if change.site == data.resolve().name:
            talk.warn(
                f"the bundle was recalibrated on images of the same name ({change.text}): on them it looks too good"
            )
    facts = {
        **context.facts,
        "patients with ids of the training or validation patients": UNTOLD if n_known is None else str(n_known),
    }
    return make_report(
        table, replace(context, facts=facts, val=None if origin is None else read_val(origin)), recipe.report
    )
