"""Small pictures of the images that a report lists as the worst errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from effmed.data.decode import read_preprocessed
from effmed.data.overview import encode_png
from effmed.data.records import Manifest, make_frame
from effmed.errors import DataError
from effmed.evaluate.render import named_images
from effmed.learn.bundle import read_sheet
from effmed.learn.plan import Plan
from effmed.run import Run, newest_run, open_run
from effmed.workflows.scoring.bundles import bundle_folder
from effmed.workflows.talk import Silence, Talk

if TYPE_CHECKING:
    from effmed.data.pixels import Preprocessing
    from effmed.evaluate.report import Report

PICTURE_PX = 160  # side of a picture, as on the contact sheet


def thumbnails(report: Report, run: Path | None, *, data: Path | None, talk: Talk) -> dict[tuple[str, int], bytes]:
    """Return pictures of the worst errors of an evaluation; see ``effmed.workflows.thumbnails``."""
    if data is None:
        chosen = open_run(run) if run is not None else newest_run()
        data, bundle = _data_of(chosen), chosen.bundle
    else:
        bundle = bundle_folder(run, Silence())
    plan = Plan.model_validate(read_sheet(bundle).plan)
    return make_thumbnails(report, data, plan.preprocessing, talk)


def make_thumbnails(
    report: Report, data: Path, preprocessing: Preprocessing, talk: Talk
) -> dict[tuple[str, int], bytes]:
    """Return a PNG file by image and frame for every image that the report lists as a worst error.

    Of several windows the first is shown. An image that cannot be read has no picture, and that is said.

    Args:
        report: What names the images.
        data: The folder or .npz file that the names are relative to.
        preprocessing: Of the network, which decides window and channels.
        talk: Who is told.
    """
    names = named_images(report)
    rows = [{"image": image, "frame": frame, "colour": False} for image, frame in names]
    manifest = Manifest(data, make_frame(rows))
    pictures, reasons = dict[tuple[str, int], bytes](), []
    for row, found in read_preprocessed(manifest, _small(preprocessing)):
        if isinstance(found, DataError):
            reasons.append(f"{names[row][0]}: {found.problem}")
        else:
            pictures[names[row]] = encode_png(found.pixels)
    if reasons:
        talk.warn(f"{len(reasons)} of {len(names)} images among the errors have no picture, such as {reasons[0]}")
    return pictures


def _small(preprocessing: Preprocessing) -> Preprocessing:
    window, *more = preprocessing.window.split(",")
    changes = {"height": PICTURE_PX, "width": PICTURE_PX, "depth": "uint8", "window": window}
    return preprocessing.model_copy(update=changes | ({"channels": 1} if more else {}))


def _data_of(run: Run) -> Path:
    """Return the folder that a run was trained on.

    Raises:
        DataError: It is gone.
    """
    data = Path(json.loads(run.environment.read_text(encoding="utf-8"))["data"])
    if not data.exists():
        problem = f"report.thumbnails = true, but the images of {run.folder} are no longer at {data}"
        raise DataError(problem, hint="bring them back there, or leave report.thumbnails out")
    return data
