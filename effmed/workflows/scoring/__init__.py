"""A bundle meets images: ``effmed predict``, ``effmed evaluate`` and ``effmed calibrate``."""

from effmed.workflows.scoring.bundles import make_context, tell_of_ids, with_record
from effmed.workflows.scoring.calibrating import calibrate
from effmed.workflows.scoring.evaluating import evaluate
from effmed.workflows.scoring.pictures import make_thumbnails, thumbnails
from effmed.workflows.scoring.predicting import predict

__all__ = [
    "calibrate",
    "evaluate",
    "make_context",
    "make_thumbnails",
    "predict",
    "tell_of_ids",
    "thumbnails",
    "with_record",
]
