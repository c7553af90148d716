"""``effmed predict``: every image of a folder into one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.data.scan import scan
from effmed.errors import RecipeError
from effmed.evaluate.predictions import write_predictions
from effmed.learn.bundle import read_bundle
from effmed.run import check_writable
from effmed.workflows.heeding import check_heeded
from effmed.workflows.scoring.bundles import bundle_folder, score, tell_of_ids, with_frames
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.values import Scored

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.model import Level
    from effmed.recipe import Recipe

SUFFIXES = (".csv", ".parquet")


def predict(run: Path | None, data: Path, out: Path, recipe: Recipe, talk: Talk) -> Scored:
    """Score a folder; see ``effmed.workflows.predict``."""
    check_heeded(recipe, {"data": ()}, "'effmed predict'")
    if out.suffix not in SUFFIXES:
        raise RecipeError(
            f"--out {out} is neither a .csv nor a .parquet file", hint=f"for example --out {out.stem}.csv"
        )
    check_writable(out.parent)
    tell_of_ids(recipe.data, talk)
    bundle, settings = with_frames(read_bundle(bundle_folder(run, talk)), recipe.data)
    reading = progress_of(talk, "reading headers")
    table = score(bundle, scan(data, None, settings, labelled=False, on_progress=reading), talk)
    _tell_of_strays(table, bundle.plan.level, talk)
    write_predictions(table, out)
    counts = table.frame["status"].value_counts().to_dict()
    return Scored(
        n_ok=counts.get("ok", 0),
        n_unreadable=counts.get("unreadable", 0),
        n_refused=counts.get("refused", 0),
        out=str(out),
    )


def _tell_of_strays(table: Predictions, level: Level, talk: Talk) -> None:
    """Warn of files that could not be read and may belong to a study or patient that was scored without them."""
    frame = table.frame
    if level == "image":
        return
    strays = int((frame[level].isna() & (frame["status"] != "ok")).sum())
    if strays:
        talk.warn(f"{strays} unreadable files name no {level}: a {level} that they belong to was scored without them")
