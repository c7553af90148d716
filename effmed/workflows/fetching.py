"""``effmed weights fetch``: from the hub into a folder that an isolated machine can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.learn.weights.hub import Listener, fetch
from effmed.learn.weights.records import record_file
from effmed.workflows.talk import Talk, progress_of
from effmed.workflows.values import Fetched

if TYPE_CHECKING:
    from pathlib import Path

    from effmed.learn.weights.sets import WeightSet

DOWNLOADING = "downloading weights, MB"


def weights_fetch(chosen: WeightSet, out: Path, talk: Talk) -> Fetched:
    """Fetch a set of weights; see ``effmed.workflows.weights_fetch``."""
    record, path = fetch(chosen, out, make_listener(talk)), out / chosen.file_name
    facts = record.model_dump(exclude={"version", "mean", "std"})
    return Fetched(file=str(path), record=str(record_file(path)), tag=chosen.tag, **facts)


def make_listener(talk: Talk) -> Listener:
    """Let a download speak to whoever listens to a command."""
    return Listener(talk.say, progress_of(talk, DOWNLOADING))
