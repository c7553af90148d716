"""What the plots show and the counts behind the rates, as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.report.certainty import risk_frame, set_frame
from effmed.evaluate.report.prevalence import prevalence_frame
from effmed.evaluate.report.tables.counts import count_frames
from effmed.evaluate.report.tables.curves import curve_frames
from effmed.evaluate.report.tables.errors import error_frames

if TYPE_CHECKING:
    import pandas as pd

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.evidence import Evidence
    from effmed.evaluate.report.model import ReportContext


def make_frames(predictions: Predictions, evidence: Evidence, context: ReportContext) -> dict[str, pd.DataFrame]:
    """Return every table of the report by its name, but for those of subgroups."""
    frames = count_frames(predictions, evidence, context.flow) | curve_frames(evidence)
    if predictions.is_scored:
        return frames
    frames |= error_frames(evidence)
    if not evidence.is_multilabel:
        frames["risk_coverage"] = risk_frame(evidence)
        if context.sets is not None:
            frames["prediction_sets"] = set_frame(evidence, context.sets)
    frames["prior_shift"] = prevalence_frame(evidence, context)
    return {name: frame for name, frame in frames.items() if name not in OPTIONAL or len(frame)}


OPTIONAL = ("risk_coverage", "prior_shift")  # left out where there is nothing to show
