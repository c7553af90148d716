"""Every file below a folder: names, sizes, times; what must not be opened is told apart before anything is."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from effmed.data.pixels import sniff
from effmed.data.records import Unreadable
from effmed.errors import DataError

IMAGE_SUFFIXES = (
    ".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".nii", ".nii.gz",
)  # fmt: skip

LINKED_FOLDER = "a link to a folder, which is not entered"
LINKED_FOLDER_HINT = "remove it, or copy the folder itself into the data folder"


@dataclass
class Walked:
    """What lies below a folder.

    Attributes:
        root: The folder.
        names: Paths of regular, readable files, relative to the root; folder by folder, in order.
        sizes: Their sizes in bytes.
        times: Their times of change in nanoseconds.
        refused: What claims to be an image and must not be opened, and folders that cannot be, or are not, entered.
    """

    root: Path
    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    refused: list[Unreadable] = field(default_factory=list)

    def stamps(self) -> pd.DataFrame:
        """Return one row per file: image, size, mtime_ns."""
        names = pd.array(self.names, dtype="str")
        return pd.DataFrame({"image": names, "size": self.sizes, "mtime_ns": self.times}).astype(
            {"size": "int64", "mtime_ns": "int64"}
        )


def walk(root: Path) -> Walked:
    """Find everything below ``root`` that is neither hidden nor a folder; no linked folder is entered."""
    walked = Walked(root)
    inside = os.path.realpath(root)  # unlike resolve(), it bears links in a circle
    folders = [""]
    while folders:
        folder = folders.pop()
        entries = _entries(walked, folder)
        deeper = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                deeper.append(f"{folder}{entry.name}/")
            else:
                _look_at(walked, entry, folder + entry.name, inside)
        folders += reversed(deeper)
    return walked


def claimed_suffix(name: str) -> str:
    """Return the end of a name that claims an image, as it is written, or ""."""
    end = next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[len(name) - len(end) :]


def _entries(walked: Walked, folder: str) -> list[os.DirEntry[str]]:
    """List a folder without what is hidden, in order; a folder that cannot be opened is refused."""
    try:
        with os.scandir(walked.root / folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        reason = f"the folder cannot be opened ({error.strerror})"
        walked.refused.append(Unreadable(_text(folder.rstrip("/")), 0, reason, "allow reading: chmod -R u+rX"))
        return []


def _look_at(walked: Walked, entry: os.DirEntry[str], name: str, inside: str) -> None:
    """Take one file in, or refuse it."""
    try:
        is_link = entry.is_symlink()
        if is_link and entry.is_dir():  # its images, if it has any, must not be missed without a word
            walked.refused.append(Unreadable(_text(name), 0, LINKED_FOLDER, LINKED_FOLDER_HINT))
            return
        if is_link:
            _check_link(entry.path, inside)
        status = entry.stat()
        _check_file(status, name)
    except (DataError, OSError) as error:
        path = Path(entry.path)
        if claimed_suffix(name) or sniff(path):
            walked.refused.append(_refusal(name, error))
        return
    walked.names.append(name)
    walked.sizes.append(status.st_size)
    walked.times.append(status.st_mtime_ns)


def _check_link(path: str, inside: str) -> None:
    """Refuse a link that leads out of the data folder, or nowhere.

    Raises:
        DataError: It does.
    """
    target = os.path.realpath(path)
    if target != inside and not target.startswith(inside + os.sep):
        raise DataError("a link that leads out of the data folder", hint="copy the file itself into the data folder")
    if not os.path.exists(path):  # noqa: PTH110  Path.exists() raises where links go in a circle
        raise DataError("a link that leads nowhere", hint="remove it")


def _check_file(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataError("not a regular file", hint="remove it")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError("its name is not UTF-8", hint="rename it") from error


def _refusal(name: str, error: DataError | OSError) -> Unreadable:
    if isinstance(error, DataError):
        return Unreadable(_text(name), 0, error.problem, error.hint)
    return Unreadable(_text(name), 0, f"cannot be looked at ({error.strerror})", "check the disk")


def _text(name: str) -> str:
    """Return a name as text; bytes that are none are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
