"""One training under way: where, what was decided, on which images."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from effmed.data.fingerprint import Fingerprint
from effmed.evaluate.predictions import patients_of
from effmed.learn.loader import Images
from effmed.learn.machine.team import ALONE, Team
from effmed.learn.plan import Plan
from effmed.run import Run
from effmed.workflows.scoring.choosing import truth_of

if TYPE_CHECKING:
    from effmed.data.cache import Cache
    from effmed.data.records import Manifest


@dataclass(frozen=True)
class Job:
    """One training under way: where, what was decided, on which images.

    Attributes:
        run: Its folder.
        plan: What was decided.
        fingerprint: What the data is.
        manifest: All images.
        cache: Their pixels.
        team: The processes that train together.
        started: When its command began, in seconds of ``time.perf_counter``.
    """

    run: Run
    plan: Plan
    fingerprint: Fingerprint
    manifest: Manifest
    cache: Cache
    team: Team = ALONE
    started: float = field(default_factory=time.perf_counter)

    def images(self, split: str) -> Images:
        """The preprocessed images of one split."""
        frame = self.manifest.frame
        rows = np.arange(len(frame))[(frame["split"] == split).to_numpy(dtype=bool)]
        chosen = frame.iloc[rows]
        names = tuple(chosen["image"].astype(str))
        return Images(self.cache.pixels, rows, truth_of(chosen, self.plan), names, patients_of(chosen))
