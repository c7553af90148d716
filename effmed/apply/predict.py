"""Bundle + images → Predictions: decoded, preprocessed and scored in a stream; unreadable images stay as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from effmed.data.decode import read_preprocessed
from effmed.data.records import LABEL, label_columns, make_frame
from effmed.errors import DataError
from effmed.evaluate.predictions import Scores, join_scores, make_predictions
from effmed.learn.fitting import mean_over_views, predict_logits
from effmed.learn.transforms import to_input, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from effmed.data.records import Manifest
    from effmed.evaluate.predictions import Predictions
    from effmed.learn.bundle import Bundle
    from effmed.learn.plan import Plan

BATCH_SIZE = 32  # fixed, and short batches are filled up: an image's logits must not depend on its neighbours


def predict_images(
    bundle: Bundle, manifest: Manifest, *, workers: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> Predictions:
    """Score every image of a manifest.

    Args:
        bundle: The trained network with its preprocessing, calibrator and operating point.
        manifest: Which images; labels are used for nothing but the ``truth`` column.
        workers: Processes that decode; 0 decodes in this one.
        on_progress: Told ``(images done, images in all)``.

    Returns:
        One row per image of the manifest, or per file, study or patient where the bundle joins their images, in its
        order; and one per file the scan could not read.
    """
    if bundle.plan.device == "cuda" and torch.cuda.is_available():  # pragma: no cover  needs a GPU
        bundle.network.to("cuda")
    logits = np.full((len(manifest), bundle.plan.n_outputs), np.nan, dtype=np.float32)
    failures: dict[int, tuple[str, str]] = {}
    done = 0
    for scored, pixels, failed in _batches(bundle, manifest, workers):
        failures.update(failed)
        if scored:
            logits[scored] = score_pixels(bundle, pixels)
        done += len(scored) + len(failed)
        if on_progress is not None:
            on_progress(done, len(manifest))
    unread = manifest.unreadable
    failures |= {len(manifest) + k: (item.reason, item.hint) for k, item in enumerate(unread)}
    rows = make_frame([{"image": item.image, "frame": item.frame, "colour": False} for item in unread])
    logits = np.concatenate([logits, np.full((len(unread), logits.shape[1]), np.nan, dtype=np.float32)])
    frame = pd.concat([manifest.frame, rows], ignore_index=True) if len(rows) else manifest.frame
    scores = join_images(Scores(with_labels(frame, bundle.plan), logits, failures), manifest, bundle.plan)
    return make_predictions(
        scores.rows,
        bundle.sheet.classes,
        scores.logits,
        calibrator=bundle.sheet.calibrator,
        decisions=bundle.sheet.decisions,
        failures=scores.failures,
    )


def join_images(scores: Scores, manifest: Manifest, plan: Plan) -> Scores:
    """Make one row of what the plan takes for one: the frames of a file, the images of a study or a patient."""
    if plan.frames == "all" and manifest.has_files:
        scores = join_scores(scores, "image", plan.frame_rule)
    if plan.level == "image":
        return scores
    positive = plan.classes[1] if plan.task == "binary" else None
    return join_scores(scores, plan.level, plan.level_rule, positive=positive)


def with_labels(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return rows with a column for each of the plan's labels, blank where nothing is known, and for no other.

    Where classes exclude each other the rows come back as they are.
    """
    if plan.task != "multilabel":
        return frame
    unknown = pd.Series(pd.NA, index=frame.index, dtype="string")
    labels = {LABEL + name: frame.get(LABEL + name, unknown) for name in plan.classes}
    return frame.drop(columns=["label", *label_columns(frame)]).assign(**labels)


def score_pixels(bundle: Bundle, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the logits of preprocessed images.

    Args:
        bundle: The trained network.
        pixels: ``(image, height, width)`` or ``(image, height, width, 3)`` in the bundle's preprocessing.

    Returns:
        float32 ``(image, n_outputs)``; the same for an image whatever is scored beside it.
    """
    starts = range(0, len(pixels), BATCH_SIZE)

    def logits_of(view: int) -> NDArray[np.float32]:
        batches = (_full_batch(bundle, view_of(pixels[k : k + BATCH_SIZE], bundle.plan, view)) for k in starts)
        return predict_logits(bundle.network, batches, bundle.plan)[: len(pixels)]

    return mean_over_views(logits_of, bundle.plan)


def _full_batch(bundle: Bundle, pixels: NDArray[np.generic]) -> torch.Tensor:
    missing = BATCH_SIZE - len(pixels)
    full = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)]) if missing else pixels
    return to_input(full, bundle.plan.mean, bundle.plan.std)


def _batches(
    bundle: Bundle, manifest: Manifest, workers: int
) -> Iterator[tuple[list[int], NDArray[np.generic], dict[int, tuple[str, str]]]]:
    """Yield ``(rows, pixels, failures)`` so that at most one batch of images is in memory."""
    rows: list[int] = []
    pixels: list[NDArray[np.generic]] = []
    failures: dict[int, tuple[str, str]] = {}
    for row, image in read_preprocessed(manifest, bundle.sheet.preprocessing, workers=workers):
        if isinstance(image, DataError):
            failures[row] = (image.problem, image.hint)
        else:
            rows.append(row)
            pixels.append(image.pixels)
        if len(rows) == BATCH_SIZE:
            yield rows, np.stack(pixels), failures
            rows, pixels, failures = [], [], {}
    if rows or failures:
        yield rows, np.stack(pixels) if pixels else np.empty(0), failures
