"""What kind of file it is, by content; and the one place where what decoders raise becomes a reason."""

from __future__ import annotations

import logging
import math
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from pydicom import config

from effmed.data.pixels.dicom import read_dicom, read_dicom_header
from effmed.data.pixels.nifti import HEAD_BYTES, is_nifti, read_nifti, read_nifti_header
from effmed.data.pixels.raster import read_raster, read_raster_header
from effmed.data.pixels.window import parse_windows
from effmed.errors import DataError, EffmedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effmed.data.pixels.image import Header, Image

MAGIC = (
    ("dicom", 128, b"DICM"),  # first: a preamble may make the file a TIFF as well
    ("png", 0, b"\x89PNG\r\n\x1a\n"),
    ("jpeg", 0, b"\xff\xd8\xff"),
    ("tiff", 0, b"II*\x00"),
    ("tiff", 0, b"MM\x00*"),
    ("bmp", 0, b"BM"),
    ("webp", 8, b"WEBP"),
)
# A data set without preamble begins with group 0002 or 0008 and an element of its first page; then comes a VR of that
# group, or, in implicit encoding, a length below 2^16 whose upper half is zero.
BARE_BYTES = 132  # what DICOM with a preamble has at least
BARE_LITTLE = (b"\x02\x00", b"\x08\x00")
BARE_BIG = b"\x00\x08"
BARE_VRS = (b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"SH", b"LO", b"PN", b"DT")
COPY_HINT = "copy or export the file again, or leave it out of the folder"


def sniff(path: Path) -> str:
    """Return the kind of an image file by its content, "" for anything else; never opens a pipe or device."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return ""
    for kind, at, magic in MAGIC:
        if head[at : at + len(magic)] == magic:
            return kind
    if is_nifti(head):
        return "nifti"
    return "dicom" if _is_bare_dicom(head) else ""


def _is_bare_dicom(head: bytes) -> bool:
    """Whether a data set without preamble may begin here."""
    if len(head) < BARE_BYTES:
        return False
    is_little = head[:2] in BARE_LITTLE and head[3] == 0
    is_big = head[:2] == BARE_BIG and head[2] == 0
    has_length = is_little and head[6:8] == b"\x00\x00"
    return (is_little or is_big) and (head[4:6] in BARE_VRS or has_length)


def read_header(path: Path, *, max_megapixels: float = math.inf) -> Header:
    """Read what a file says of itself, without decoding pixels.

    Args:
        path: The file.
        max_megapixels: Rows x columns x frames above which it is refused, in 10^6.

    Raises:
        DataError: It cannot be read; problem is the reason, hint the remedy.
    """
    with _reasons(path):
        kind = _kind(path)
        if kind == "dicom":
            return read_dicom_header(path, max_megapixels)
        if kind == "nifti":
            return read_nifti_header(path, max_megapixels)
        return read_raster_header(path, kind, max_megapixels)


def read_image(
    path: Path, frame: int, *, window: str, max_megapixels: float, enough: tuple[int, int] | None = None
) -> Image:
    """Decode one frame, page or slice of a file.

    Args:
        path: The file.
        frame: Index, from 0.
        window: ``data.window``.
        max_megapixels: Rows x columns x frames above which it is refused before decoding, in 10^6.
        enough: Height and width of the box that the image will be fitted into: JPEG 2000 in DICOM is decoded at the
            lowest resolution that is at least twice its size there. None: everything is decoded whole.

    Raises:
        DataError: It cannot be read; problem is the reason, hint the remedy.
        RecipeError: ``window`` is not a window.
    """
    parse_windows(window)
    with _reasons(path):
        kind = _kind(path)
        if kind == "dicom":
            return read_dicom(path, frame, window=window, max_megapixels=max_megapixels, enough=enough)
        if kind == "nifti":
            return read_nifti(path, frame, window=window, max_megapixels=max_megapixels)
        return read_raster(path, frame, kind=kind, window=window, max_megapixels=max_megapixels)


def _kind(path: Path) -> str:
    with path.open("rb") if stat.S_ISREG(path.stat().st_mode) else catch_warnings():
        kind = sniff(path)  # opened once before, so that a missing permission is told as such
    if not kind:
        raise DataError("not an image file that effmed knows", hint="give DICOM, PNG, JPEG, TIFF, BMP, WebP or NIfTI")
    return kind


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a reason; messages of others may hold header values and are not repeated."""
    try:
        with _silence():
            yield
    except EffmedError:
        raise
    except PermissionError as error:
        raise DataError("may not be read: no permission", hint=f"allow it: chmod +r {path.name}") from error
    except FileNotFoundError as error:
        raise DataError("does not exist", hint="correct the path") from error
    except MemoryError as error:
        raise DataError("needs more memory than there is", hint="lower data.max_megapixels") from error
    except NotImplementedError as error:
        raise DataError("is stored in a way that no decoder knows", hint="export it uncompressed") from error
    except BaseException as error:  # Rust decoders panic with a BaseException that is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        raise DataError(f"is damaged or not valid ({type(error).__name__})", hint=COPY_HINT) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep pydicom and nibabel from printing or logging values of headers, which name persons."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "nibabel")]
    mode, levels = config.settings.reading_validation_mode, [logger.level for logger in loggers]
    config.settings.reading_validation_mode = config.IGNORE  # its warnings would be made, only to be dropped
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)  # of their modules' loggers, too, which take theirs from them
    try:
        with catch_warnings():
            simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = mode
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
