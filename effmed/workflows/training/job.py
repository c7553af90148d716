"""One training under way: where, what was decided, on which images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effmed.data.fingerprint import Fingerprint
from effmed.learn.loader import Images
from effmed.learn.plan import Plan
from effmed.run import Run
from effmed.workflows.scoring.choosing import truth_of

if TYPE_CHECKING:
    from effmed.data.cache import Cache
    from effmed.data.records import Manifest


@dataclass(frozen=True)
class Job:
    """One training under way: where, what was decided, on which images."""

    run: Run
    plan: Plan
    fingerprint: Fingerprint
    manifest: Manifest
    cache: Cache

    def images(self, split: str) -> Images:
        """The preprocessed images of one split."""
        frame = self.manifest.frame
        rows = np.arange(len(frame))[(frame["split"] == split).to_numpy(dtype=bool)]
        return Images(self.cache.pixels, rows, truth_of(frame.iloc[rows], self.plan))
