"""NIfTI: one slice of a volume → grey levels, and what its header says; only here nibabel is imported, when needed."""

from __future__ import annotations

import gzip
import importlib
import io
import math
import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from effmed.data.pixels.image import BITS_PER_BYTE, Header, Image, Provenance, check_size, join_channels, pixel_shape
from effmed.data.pixels.window import (
    Window,
    full_window,
    in_words,
    percentile_window,
    recipe_windows,
    to_uint8,
    to_uint16,
)
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from effmed.data.pixels.image import Pixels

GZIP = b"\x1f\x8b"
HEAD_BYTES = 4096  # of a file, compressed or not, that surely hold the header
HEADER_1_BYTES, HEADER_2_BYTES = 348, 540  # of NIfTI-1 and NIfTI-2
MAGIC_1_AT, MAGIC_2_AT = 344, 4
SINGLE = (b"n+1\0", b"n+2\0")  # header and pixels in one file
PAIR = (b"ni1\0", b"ni2\0")  # the header alone
OFFSET_LIMIT_BYTES = 64 * 2**20  # of what may stand between header and pixels; far above any real extension
TAIL_BYTES = 2**20  # after the pixels, within which the end of a gzip file and its checksum are looked for
NUMBER_KINDS = "iuf"
WIDEST_BYTES = 8
SPATIAL_AXES = 3


@dataclass(frozen=True)
class Volume:
    """Where the slices of a volume lie in its file, and how they are shown.

    Attributes:
        shape: Lengths of the three stored axes, of which the first varies fastest; the last is 1 for a 2-D file.
        dtype: Of the stored values.
        offset: Bytes before the first value.
        slope: What stored values are multiplied by.
        intercept: What is added then.
        axes: Which stored axes are the rows' (vertical), the columns' (horizontal) and the slices' axis.
        flips: Which of these run against the stored order.
        aspect: Height of a pixel divided by its width; 1 where unknown.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    aspect: float

    @property
    def bits(self) -> int:
        """Bits of a stored value."""
        return self.dtype.itemsize * BITS_PER_BYTE

    @property
    def end(self) -> int:
        """Bytes up to the end of the pixels."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of rows, columns and slices."""
        rows, columns, slices = (self.shape[axis] for axis in self.axes)
        return rows, columns, slices


def is_nifti(head: bytes) -> bool:
    """Whether a file that begins with these bytes is NIfTI, compressed with gzip or not."""
    return _magic(_plain(head)) in (*SINGLE, *PAIR)


def read_nifti_header(path: Path, max_megapixels: float) -> Header:
    """Read the size and depth of the slices, not the pixels.

    Raises:
        DataError: nibabel is not installed, or no slices can be made of the file.
    """
    with _opened(path) as stream:
        volume = _read_volume(stream, max_megapixels)
        rows, columns, slices = volume.counts()
        return Header(
            kind="nifti",
            rows=rows,
            columns=columns,
            frames=slices,
            bits=volume.bits,
            colour=False,
            photometric=volume.dtype.name,
            syntax=_syntax(stream),
        )


def read_nifti(path: Path, frame: int, *, window: str, max_megapixels: float) -> Image:
    """Read one slice along the third axis of the closest canonical (RAS+) orientation.

    It is shown as radiologists are used to: anterior, else superior, is up; the patient's right, else anterior, is on
    the left. A file with a single slice of any orientation is that slice.

    Args:
        path: The file.
        frame: Which slice, from 0, upwards from the feet.
        window: ``data.window``, for values after scaling. NIfTI stores none, so that "stored" means percentiles of the
            slice.
        max_megapixels: Rows x columns x slices above which a file is refused before its pixels are read, in 10^6.

    Raises:
        DataError: nibabel is not installed, no slices can be made of the file, or it has not got this one.
    """
    with _opened(path) as stream:
        volume = _read_volume(stream, max_megapixels)
        n_slices = volume.counts()[2]
        if not 0 <= frame < n_slices:
            raise DataError(f"has {n_slices} slices, slice {frame} was asked for", hint="scan the folder again")
        stored = _read_slice(stream, volume, frame)
        syntax = _syntax(stream)
    values = stored.astype(np.float64) * volume.slope + volume.intercept
    windows = recipe_windows(window) or (_own_window(values, volume, window),)
    facts = ("nifti", syntax, volume.dtype.name, volume.bits)
    provenance = Provenance(*facts, in_words(windows), windows[0].origin, "")
    pixels = join_channels([_levels(values, volume, each) for each in windows])
    return Image(pixels, volume.aspect, provenance, has_windows=len(windows) > 1)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, inflated as it is read where it is compressed."""
    with path.open("rb") as file:
        is_packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not is_packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast("BinaryIO", stream)


def _syntax(stream: BinaryIO) -> str:
    return "gzip" if isinstance(stream, gzip.GzipFile) else "nifti"


def _plain(head: bytes) -> bytes:
    """Inflate the header, and not more, where a file begins as gzip."""
    if not head.startswith(GZIP):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEADER_2_BYTES)
    except zlib.error:
        return b""


def _magic(head: bytes) -> bytes:
    second = head[MAGIC_2_AT : MAGIC_2_AT + 4]
    return second if second in (SINGLE[1], PAIR[1]) else head[MAGIC_1_AT : MAGIC_1_AT + 4]


def _nibabel() -> Any:  # noqa: ANN401  a module that need not be there
    try:
        return importlib.import_module("nibabel")
    except ImportError as error:
        problem = "is NIfTI, which needs the package nibabel"
        raise DataError(problem, hint="install it: pip install 'effmed[nifti]'") from error


def _read_volume(stream: BinaryIO, max_megapixels: float) -> Volume:
    """Read the header alone, and check all that it claims before more is read."""
    head = stream.read(HEADER_2_BYTES)
    magic = _magic(head)
    if magic in PAIR:
        problem = "is the header of a NIfTI pair, whose pixels lie in another file"
        raise DataError(problem, hint="convert the pair to one .nii file")
    nibabel = _nibabel()
    is_second = magic == SINGLE[1]
    kind = nibabel.Nifti2Header if is_second else nibabel.Nifti1Header
    header = kind.from_fileobj(io.BytesIO(head[: HEADER_2_BYTES if is_second else HEADER_1_BYTES]))
    shape, offset = _check_shape(header.get_data_shape()), header.get_data_offset()
    if not HEADER_1_BYTES <= offset <= OFFSET_LIMIT_BYTES:
        raise DataError(f"claims that its pixels begin at byte {offset}", hint="export the file again")
    axes, flips = _orientation(nibabel.io_orientation(header.get_best_affine()), shape)
    slope, intercept = header.get_slope_inter()
    volume = Volume(
        shape=shape,
        dtype=_check_type(header.get_data_dtype()),
        offset=offset,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        axes=axes,
        flips=flips,
        aspect=_aspect((*header.get_zooms(), 1.0), axes),
    )
    check_size(*volume.counts(), max_megapixels)
    return volume


def _check_shape(claimed: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(int(length) for length in claimed)
    while len(shape) > SPATIAL_AXES and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= SPATIAL_AXES:
        problem = f"has {len(shape)} axes ({' x '.join(str(length) for length in shape)}), not 2 or 3"
        raise DataError(problem, hint="split it into volumes, for example with nibabel.four_to_three, or leave it out")
    return (*shape, 1)[:SPATIAL_AXES]


def _check_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in NUMBER_KINDS or dtype.itemsize > WIDEST_BYTES:
        content = "colours" if dtype.names else f"values of type {dtype.name}"
        hint = "export grey values as integers of up to 64 bits or floats of 32 or 64, or leave it out"
        raise DataError(f"holds {content}", hint=hint)
    return dtype


def _orientation(
    orientation: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return the stored axes of rows, columns and slices, and which of them run against the stored order.

    Args:
        orientation: Of each stored axis its canonical axis (right, anterior, superior), and 1 or -1 for its direction;
            not a number where the affine does not tell.
        shape: Lengths of the stored axes.
    """
    untold = np.flatnonzero(~np.isfinite(orientation[:, 0]))
    if any(shape[axis] > 1 for axis in untold):
        problem = "does not tell how its slices lie: its affine is singular"
        raise DataError(problem, hint="export it again with sform or qform")
    canonical = [int(axis) for axis in np.argsort(orientation[:, 0])]  # stored axes towards right, anterior, superior
    slices = next((axis for axis in (2, 1, 0) if shape[axis] == 1), canonical[2])
    columns, rows = (axis for axis in canonical if axis != slices)
    ascends = orientation[:, 1] > 0
    return (rows, columns, slices), (bool(ascends[rows]), bool(ascends[columns]), not ascends[slices])


def _aspect(zooms: tuple[float, ...], axes: tuple[int, int, int]) -> float:
    aspect = pixel_shape(*(float(zooms[axis]) for axis in axes[:2]))
    return 1.0 if aspect is None else aspect


def _read_slice(stream: BinaryIO, volume: Volume, frame: int) -> NDArray[Any]:
    """Return the stored values of one slice ``(rows, columns)``, after checking that the file is whole."""
    rows, columns, slices = volume.axes
    index: list[slice | int] = [slice(None)] * SPATIAL_AXES
    index[slices] = volume.shape[slices] - 1 - frame if volume.flips[2] else frame
    if not isinstance(stream, gzip.GzipFile):
        _check_end(stream.seek(0, os.SEEK_END), volume)
    stored = _nibabel().fileslice.fileslice(stream, tuple(index), volume.shape, volume.dtype, volume.offset, order="F")
    if isinstance(stream, gzip.GzipFile):
        _check_end(_inflate(stream, volume.end + TAIL_BYTES), volume)
    upright = stored if rows < columns else stored.T
    down, right = (slice(None, None, -1 if flip else 1) for flip in volume.flips[:2])
    return np.asarray(upright[down, right])


def _inflate(stream: gzip.GzipFile, limit: int) -> int:
    """Inflate what is left up to a limit, so that the checksum at the end is compared; return how far that was."""
    while stream.tell() < limit and stream.read(TAIL_BYTES):
        pass
    return stream.tell()


def _check_end(end: int, volume: Volume) -> None:
    if end < volume.end:
        raise DataError(f"is cut off: {end} bytes, {volume.end} expected", hint="copy the original again")


def _own_window(values: NDArray[np.float64], volume: Volume, window: str) -> Window:
    """Return the window from the values themselves, or over all that the file's type can hold."""
    finite = values[np.isfinite(values)]
    if window != "full":
        return percentile_window(finite)
    if volume.dtype.kind != "f":
        limits = np.iinfo(volume.dtype)
        finite = np.array([limits.min, limits.max], dtype=np.float64) * volume.slope + volume.intercept
    return full_window(float(finite.min()), float(finite.max())) if finite.size else full_window(0.0, 0.0)


def _levels(values: NDArray[np.float64], volume: Volume, window: Window) -> Pixels:
    levels = to_uint16(np.where(np.isfinite(values), window.intensity(values), 0.0))
    return to_uint8(levels) if volume.bits <= BITS_PER_BYTE else levels
