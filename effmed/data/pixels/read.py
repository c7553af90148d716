"""What kind of file it is, by content; and the one place where what decoders raise becomes a reason."""

from __future__ import annotations

import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from effmed.data.pixels.dicom import read_dicom
from effmed.data.pixels.header import read_dicom_header
from effmed.data.pixels.raster import read_raster, read_raster_header
from effmed.errors import DataError, RecipeError

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
HEAD_BYTES = 132
# A data set without preamble begins with group 0002 or 0008 (little endian), a small element number and a VR or length.
BARE_DICOM = (b"\x02\x00\x00\x00UL", b"\x02\x00\x01\x00OB", b"\x02\x00\x10\x00UI")
BARE_DICOM_GROUP = b"\x08\x00"
BARE_DICOM_ELEMENTS = {b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00", b"\x12\x00", b"\x16\x00", b"\x18\x00"}


def sniff(path: Path) -> str:
    """Return the kind of an image file by its content, "" for anything else; never opens a pipe or device."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    for kind, at, magic in MAGIC:
        if head[at : at + len(magic)] == magic:
            return kind
    bare = head[:6] in BARE_DICOM or (head[:2] == BARE_DICOM_GROUP and head[2:4] in BARE_DICOM_ELEMENTS)
    return "dicom" if bare else ""


def read_header(path: Path, *, max_megapixels: float) -> Header:
    """Read what a file says of itself.

    Raises:
        DataError: It cannot be read; problem is the reason, hint the remedy.
    """
    with _reasons(path):
        kind = _kind(path)
        return read_dicom_header(path, max_megapixels) if kind == "dicom" else read_raster_header(path, kind)


def read_image(path: Path, frame: int, *, window: str, max_megapixels: float) -> Image:
    """Decode one frame or page of a file.

    Args:
        path: The file.
        frame: Index, from 0.
        window: ``data.window``.
        max_megapixels: Larger files are refused before decoding.

    Raises:
        DataError: It cannot be read; problem is the reason, hint the remedy.
    """
    with _reasons(path):
        kind = _kind(path)
        if kind == "dicom":
            return read_dicom(path, frame, window=window, max_megapixels=max_megapixels)
        return read_raster(path, frame, kind=kind, window=window, max_megapixels=max_megapixels)


def _kind(path: Path) -> str:
    kind = sniff(path)
    if not kind:
        raise DataError("not an image file that effmed knows", hint="give DICOM, PNG, JPEG, TIFF, BMP or WebP")
    return kind


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a reason; messages of others may hold header values and are not repeated."""
    try:
        with catch_warnings():
            simplefilter("ignore")
            yield
    except (DataError, RecipeError, KeyboardInterrupt, SystemExit):
        raise
    except PermissionError as error:
        raise DataError("may not be read (permission)", hint=f"chmod +r {path.name}") from error
    except MemoryError as error:
        raise DataError("needs more memory than there is", hint="lower data.max_megapixels") from error
    except BaseException as error:  # Rust decoders panic with a BaseException that is no Exception
        if isinstance(error, RuntimeError) and "missing dependencies" in str(error):
            raise DataError("no decoder for its transfer syntax", hint="export the file uncompressed") from error
        problem = f"damaged or not valid ({type(error).__name__})"
        raise DataError(problem, hint="copy or export the file again") from error
