"""What every file of a folder says of itself: read once, by all cores, and remembered until a file changes."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from effmed.data.pixels import Header, plain_header, read_header, sniff
from effmed.data.processes import Job, n_cores, work_through
from effmed.data.records import Unreadable
from effmed.data.remembered import STAMP, digest, recall, remember
from effmed.data.scan.walk import claimed_suffix, walk
from effmed.errors import DataError
from effmed.run import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from effmed.data.pseudonyms import Pseudonyms

VERSION = "3"  # raise it whenever headers are read otherwise
IDENTIFIERS = ("patient", "study", "series", "instance")
TEXTS = (
    "kind", "photometric", "syntax", "modality", "manufacturer", "scanner", "body_part", "view", "laterality", "sex",
)  # fmt: skip
NUMBERS = ("rows", "columns", "frames", "bits")
FIELDS = (*IDENTIFIERS, *TEXTS, *NUMBERS, "colour", "age_years")
REFUSAL = ("problem", "hint")
COLUMNS = (*FIELDS, *REFUSAL)
TYPES = {
    **dict.fromkeys((*IDENTIFIERS, *TEXTS, *REFUSAL), "string"),
    **dict.fromkeys(NUMBERS, "int64"),
    "colour": "bool",
    "age_years": "float64",
}
TEXT_SUFFIXES = {".csv", ".tsv", ".txt", ".json", ".md", ".xml", ".html", ".yaml", ".yml", ".log"}
NOT_IMAGES = ("dicomdir",)  # the index of a DICOM medium: DICOM by content, but no image (PS3.10)
DICOM_MAGIC_AT, DICOM_MAGIC = 128, b"DICM"
HEAD_BYTES = 16384  # holds the header of a plain radiograph
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows reads text otherwise
CHUNK = 256  # files that a process is given at once
ROWS_AT_ONCE = 8192  # that become columns: a few MB, and a small part of the time that they take in chunks
WORTH_PROCESSES_S = 4.0  # starting them takes about half of that
Row: TypeAlias = "tuple[str | int | float | bool | None, ...]"
NOTHING: Row = ("",) * (len(IDENTIFIERS) + len(TEXTS)) + (0,) * len(NUMBERS) + (False, math.nan, "", "")
_fields = attrgetter(*FIELDS)
_sorted = itemgetter(*[[field.name for field in fields(Header)].index(name) for name in FIELDS])


@dataclass(frozen=True)
class Headers:
    """The headers of a folder.

    Attributes:
        frame: One row per image file: image, and ``FIELDS``; text is "" where a header does not tell.
        refused: Files that claim to be images and cannot be read.
        n_files: How many files there are, those that are no images included.
    """

    frame: pd.DataFrame
    refused: tuple[Unreadable, ...]
    n_files: int


def read_headers(
    root: Path, pseudonyms: Pseudonyms, *, on_progress: Callable[[int, int], None] | None = None
) -> Headers:
    """Read the headers of all files below a folder; of unchanged files those that an earlier command read.

    Args:
        root: The folder.
        pseudonyms: What identifiers become before anything else sees them. Where they are kept, nothing is remembered.
        on_progress: Told ``(files done, files in all)``.
    """
    walked = walk(root)
    files = walked.stamps()
    place = cache_folder() / "headers" / f"{digest([VERSION, str(root.resolve()), pseudonyms.key_id])}.parquet"
    nothing = pd.DataFrame(index=files.index, columns=list(FIELDS), dtype="object")
    known = nothing if pseudonyms.is_kept else recall(place, files, FIELDS)
    is_new = known["kind"].isna()
    read = _read_new(root, files.loc[is_new, "image"].tolist(), pseudonyms, len(files), on_progress)
    fresh = read.set_axis(files.index[is_new])
    table = pd.concat([files, pd.concat([known[~is_new], fresh]).sort_index()], axis=1) if len(files) else _empty()
    table = table.astype(TYPES)
    is_refused = table["problem"].fillna("") != ""
    if is_new.any() and not pseudonyms.is_kept:
        remember(place, table.loc[~is_refused, [*STAMP, *FIELDS]])
    rows = table[is_refused]
    refused = [
        Unreadable(str(image), 0, str(problem), str(hint))
        for image, problem, hint in zip(rows["image"], rows["problem"], rows["hint"], strict=True)
    ]
    images = table.loc[~is_refused & (table["kind"] != ""), ["image", *FIELDS]].reset_index(drop=True)
    return Headers(images, (*walked.refused, *refused), len(files))


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: [] for name in (*STAMP, *COLUMNS)})


def _read_new(
    root: Path,
    names: Sequence[str],
    pseudonyms: Pseudonyms,
    n_files: int,
    on_progress: Callable[[int, int], None] | None,
) -> pd.DataFrame:
    """Return the rows of files that nothing is remembered of, as ``COLUMNS``."""
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    read = partial(read_chunk, root=root, pseudonyms=pseudonyms)
    parts: list[pd.DataFrame] = []
    rows: list[Row] = []
    done = n_files - len(names)
    for some in _in_chunks(Job(read, partial(_one_by_one, read=read)), chunks):
        rows += some
        if len(rows) >= ROWS_AT_ONCE:
            parts.append(_compact(rows))
            rows = []
        done += len(some)
        if on_progress is not None:
            on_progress(done, n_files)
    return pd.concat([*parts, _compact(rows)])


def _compact(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(TYPES)


def _in_chunks(job: Job[Sequence[str], list[Row]], chunks: Sequence[Sequence[str]]) -> Iterator[list[Row]]:
    """Work in this process, and in as many as there are cores once the rest is worth their start."""
    started = time.perf_counter()
    for n_done, chunk in enumerate(chunks, start=1):
        yield job.work(chunk)
        left_s = (time.perf_counter() - started) / n_done * (len(chunks) - n_done)
        if left_s > WORTH_PROCESSES_S:
            yield from work_through(job, chunks[n_done:], workers=n_cores())
            return


def _one_by_one(chunk: Sequence[str], read: Callable[[Sequence[str]], list[Row]]) -> list[Row]:
    """A file of the chunk killed its process: find out which."""
    return [row for rows in work_through(Job(read, _lost), [[name] for name in chunk], workers=2) for row in rows]


def _lost(_chunk: Sequence[str]) -> list[Row]:
    return [(*NOTHING[: -len(REFUSAL)], "reading its header crashes or never ends", "leave it out of the folder")]


def read_chunk(names: Sequence[str], root: Path, pseudonyms: Pseudonyms) -> list[Row]:
    """Return one row per file, as ``COLUMNS``; ``kind`` is "" for a file that does not claim to be an image."""
    prefix = f"{root}{os.sep}"
    pseudonym = lru_cache(maxsize=None)(pseudonyms.of)  # few patients and studies have a chunk's files
    return [_read_row(prefix + name, pseudonym) for name in names]


def _read_row(path: str, pseudonym: Callable[..., str]) -> Row:
    try:
        values = _plain(path) or _any(path)
    except DataError as error:
        return (*NOTHING[: -len(REFUSAL)], error.problem, error.hint)
    if values is None:
        return NOTHING
    return (*map(pseudonym, IDENTIFIERS, values), *values[len(IDENTIFIERS) :], "", "")


def _plain(path: str) -> Row | None:
    """Read the header of a plain DICOM file in one go; None for all others, and for what cannot be opened.

    Paths are texts and files are numbers, since objects cost more than the reading itself.
    """
    try:
        file = os.open(path, OPEN_FLAGS)
        try:
            head = os.read(file, HEAD_BYTES)
        finally:
            os.close(file)
    except OSError:
        return None
    if not head.startswith(DICOM_MAGIC, DICOM_MAGIC_AT) or path.lower().endswith(NOT_IMAGES):
        return None
    found = plain_header(head, math.inf)
    return found and _sorted(found)


def _any(path: str) -> Row | None:
    header = _any_header(Path(path))
    return None if header is None else _fields(header)


def _any_header(path: Path) -> Header | None:
    """Return the header of an image of any kind; None for a file that does not claim to be one.

    Raises:
        DataError: It claims to be an image, by name or content, and cannot be read.
    """
    kind = "" if path.name.lower() in NOT_IMAGES else sniff(path)
    if not kind and not claimed_suffix(path.name):
        return None
    try:
        _check_claim(path, kind)
        return read_header(path)
    except DataError:
        if path.suffix.lower() in TEXT_SUFFIXES:  # text may begin like an image: a table whose first column is BMI
            return None
        raise


def _check_claim(path: Path, kind: str) -> None:
    if not os.access(path, os.R_OK):
        raise DataError("no permission to read it", hint="allow reading: chmod u+r")
    if not kind:
        problem = f"not an image, although it is called {claimed_suffix(path.name)}"
        raise DataError(problem, hint="remove it, or copy the original again")
