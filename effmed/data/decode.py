"""Files → preprocessed pixels, in order, in this process or in many; a decoder that crashes costs one image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from effmed.data.pixels import preprocess, read_image
from effmed.data.processes import Job, work_through
from effmed.errors import DataError, EffmedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.pixels import Preprocessing


@dataclass(frozen=True)
class Source:
    """Where one image lies.

    Attributes:
        path: The file.
        frame: Index within the file, from 0.
    """

    path: Path
    frame: int


Decoded: TypeAlias = "NDArray[np.generic] | DataError"


def decode(sources: Iterable[Source], spec: Preprocessing, *, workers: int = 0) -> Iterator[Decoded]:
    """Decode and preprocess images.

    Args:
        sources: Which images.
        spec: What shapes the pixels.
        workers: Processes that decode; 0 or 1 decodes in this one, where a decoder that crashes ends everything.

    Yields:
        Pixels, or the reason why there are none, in the order of the sources.

    Raises:
        MachineError: Processes cannot be started.
        RecipeError: The recipe asks for what cannot be done to any image.
    """
    job: Job[Source, NDArray[np.generic] | EffmedError] = Job(partial(_attempt, spec=spec), _lost)
    for attempt in work_through(job, sources, workers=workers):
        if isinstance(attempt, EffmedError) and not isinstance(attempt, DataError):
            raise attempt  # wrong with more than the file
        yield attempt


def _attempt(source: Source, spec: Preprocessing) -> NDArray[np.generic] | EffmedError:
    try:
        image = read_image(
            source.path,
            source.frame,
            window=spec.window,
            max_megapixels=spec.max_megapixels,
            enough=spec.enough,
        )
        return preprocess(image, spec)
    except EffmedError as error:
        return error


def _lost(_source: Source) -> DataError:
    return DataError("the decoder crashes on it, or never ends", hint="remove it, or export it again uncompressed")
