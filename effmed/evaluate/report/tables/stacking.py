"""One frame of the frames of all judged classes, and of both stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pandas as pd

from effmed.evaluate.report.model import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from effmed.evaluate.report.evidence import Evidence, OneClass


def of_each_class(
    evidence: Evidence, frame_of: Callable[[OneClass, Evidence], pd.DataFrame], stage: Stage = "calibrated"
) -> pd.DataFrame:
    """Stack the frames of all judged classes below one another, the class in the first column."""
    frames = []
    for number in evidence.judged:
        one = evidence.against_rest(number, stage)
        frame = frame_of(one, evidence)
        frame.insert(0, "class", one.name)
        frames.append(frame)
    return stacked(frames)


def of_each_stage(evidence: Evidence, frame_of: Callable[[OneClass, Evidence], pd.DataFrame]) -> pd.DataFrame:
    """Stack both stages, the stage in the first column; only the calibrated where the raw is the same."""
    frames = []
    for stage in get_args(Stage):
        if stage == "calibrated" or evidence.is_recalibrated:
            frame = of_each_class(evidence, frame_of, stage)
            frame.insert(0, "stage", stage)
            frames.append(frame)
    return stacked(frames)


def stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Put frames below one another; of empty ones the first, for its columns."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]
