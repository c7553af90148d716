"""What files hold, whatever they are called: a hash of their bytes, remembered as long as they do not change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xxhash

from effmed.data.processes import Job, work_through
from effmed.data.remembered import STAMP, digest, recall, remember

if TYPE_CHECKING:
    from numpy.typing import NDArray

READ_BYTES = 1 << 20
CHUNK = 64  # files that a process takes at once
N_LAST = 8  # files whose hash a process keeps: the frames of one file come one after another
UNKNOWN = ""


@dataclass(frozen=True)
class Contents:
    """The hashes of the files of some images.

    Attributes:
        files: One row per file: ``STAMP`` and ``content``, which is empty where it is not known.
        number: ``(image,)`` which of these files each image lies in.
    """

    files: pd.DataFrame
    number: NDArray[np.int64]

    @property
    def of_images(self) -> NDArray[np.object_]:
        """``(image,)`` hash of each image's file, empty where it is not known."""
        return self.files["content"].to_numpy(object)[self.number]

    def with_known(self, hashes: dict[int, str]) -> Contents:
        """Return the same with what else is known, by the number of the file."""
        content = self.files["content"].to_numpy(object).copy()
        for number, found in hashes.items():
            content[number] = found
        return Contents(self.files.assign(content=content), self.number)

    def hashed(self, root: Path, *, workers: int = 0) -> Contents:
        """Read the files that nothing is known of; what cannot be read stays unknown."""
        unknown = np.flatnonzero(self.files["content"] == UNKNOWN)
        chunks = [unknown[start : start + CHUNK] for start in range(0, len(unknown), CHUNK)]
        names = [self.files["image"].iloc[chunk].tolist() for chunk in chunks]
        job = Job(partial(_hash_files, root=root), _none_of)
        found = work_through(job, names, workers=min(workers, len(chunks)))
        hashes = dict(zip(unknown.tolist(), (content for part in found for content in part), strict=True))
        return self.with_known(hashes)


def recall_contents(root: Path, images: pd.Series, folder: Path) -> Contents:
    """Return what is remembered of the files of images.

    Args:
        root: The folder that the images are relative to.
        images: Path of each image's file; several images may lie in one.
        folder: The cache folder.
    """
    number, names = pd.factorize(images)
    files = pd.DataFrame([_stamp(root, str(name)) for name in names], columns=list(STAMP))
    files = files.astype({"image": "str", "size": "int64", "mtime_ns": "int64"})
    known = recall(_place(root, folder), files, ["content"])["content"]
    return Contents(files.assign(content=known.astype("object").where(known.notna(), UNKNOWN)), number)


def remember_contents(root: Path, contents: Contents, folder: Path) -> None:
    """Write what is known of files, for the next command on the same folder."""
    remember(_place(root, folder), contents.files[contents.files["content"] != UNKNOWN])


def content_of(path: Path) -> str:
    """Return the XXH3-128 of a file's bytes in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    status = path.stat()
    return _content_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(N_LAST)
def _content_of(path: Path, _size: int, _mtime_ns: int) -> str:
    found = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            found.update(block)
    return found.hexdigest()


def _stamp(root: Path, name: str) -> tuple[str, int, int]:
    try:
        status = (root / name).stat()
    except OSError:
        return name, -1, -1  # decoding will say so
    return name, status.st_size, status.st_mtime_ns


def _place(root: Path, folder: Path) -> Path:
    return folder / "contents" / f"{digest([str(root.resolve())])}.parquet"


def _hash_files(names: list[str], *, root: Path) -> list[str]:
    return [_hash_file(root / name) for name in names]


def _hash_file(path: Path) -> str:
    try:
        return content_of(path)
    except OSError:
        return UNKNOWN


def _none_of(names: list[str]) -> list[str]:
    return [UNKNOWN] * len(names)
