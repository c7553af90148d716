"""A DICOM file up to its pixels: bounded inflating, pixel layout, functional groups, tolerant getters."""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from pydicom import dcmread
from pydicom.filereader import read_dataset

from effmed.data.pixels.image import BITS_PER_BYTE, check_size
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG)

PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
PREAMBLE_BYTES = 128  # PS3.10 7.1
MAGIC = b"DICM"
UNDEFINED_LENGTH = 0xFFFFFFFF  # PS3.5 7.1.1
LONG_LENGTH_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
SHORT, LONG = struct.Struct("<HH2sH"), struct.Struct("<HH2s2xI")  # tag, VR and length (PS3.5 7.1.2)
META_GROUP, SYNTAX_NUMBER = 2, 0x10  # Transfer Syntax UID (0002,0010)
META_LIMIT_BYTES = 65536  # group 0002 of the largest corpus file is below 1 kB
HEADER_LIMIT_BYTES = 64 * 2**20  # inflated header; far above any real one, far below a bomb
MAX_READS, MAX_READ_BYTES = 10**6, 2**30  # of a header: two or three for an element, a few seconds in all
NO_ELEMENT, MAX_NO_ELEMENTS = bytes(8), 1000  # tag, length or VR of zeros; padding of headers is shorter
GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
SINGLE_CHANNEL = (*GREY, PALETTE)
ALLOCATED_BITS = (1, 8, 16, 32, 64)  # PS3.5 8.1.1
COPY_HINT = "copy the original again from the archive; it is damaged or not finished"
CONVERT_HINT = "export it from the archive again, or leave it out of the folder"


@dataclass(frozen=True)
class DicomFile:
    """A DICOM object whose pixels are still on disk.

    Attributes:
        dataset: All elements before the pixel data.
        syntax: Transfer syntax UID of the pixel data; guessed from the encoding where the file names none.
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        representation: VR of the pixel data, OB or OW; empty in implicit encoding.
        source: Positioned at the first byte of the pixel data's value.
        length: Bytes of the value; -1 where its length is undefined, as when it is encapsulated.
        packed: The deflated data set, where the file is deflated.
    """

    dataset: Dataset
    syntax: str
    keyword: str
    representation: str
    source: BinaryIO
    length: int
    packed: bytes = b""


@dataclass(frozen=True)
class Layout:
    """How pixels lie in the pixel data (PS3.3 C.7.6.3, PS3.5 8.1.1).

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        frames: Number of frames, at least 1.
        samples: Channels, 1 or 3.
        allocated: Bits of a pixel's container: 1, 8, 16, 32 or 64.
        stored: Bits that hold the value.
        high_bit: Index of the highest of these bits.
        signed: Whether the value is a two's complement.
        photometric: Photometric Interpretation.
        planar: Whether channels come one after another.
        is_float: Whether the values are floats.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    is_float: bool


@dataclass(frozen=True)
class Bits:
    """Where in its container a stored value lies.

    Attributes:
        stored: Number of bits.
        shift: Bits below it.
        signed: Whether it is a two's complement.
    """

    stored: int
    shift: int
    signed: bool


def open_dicom(file: BinaryIO) -> DicomFile:
    """Read everything before the pixel data and find where that begins.

    Args:
        file: The file, open for reading at any position; used by the result, so keep it open.

    Raises:
        DataError: No pixel data, or a deflated header larger than any real one.
    """
    file.seek(0)
    syntax, start = meta_syntax(file.read(META_LIMIT_BYTES))
    if syntax == DEFLATED:
        return _open_deflated(file, start)
    file.seek(0)
    dataset = dcmread(cast("BinaryIO", _Bounded(file)), stop_before_pixels=True, force=True)
    implicit, little = dataset.original_encoding
    guessed = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
    meta = getattr(dataset, "file_meta", {})
    stated = str(meta.get("TransferSyntaxUID", "") or "").strip("\0 ")
    return _at_pixels(file, dataset, stated or guessed)


class _Bounded:
    """A file of which pydicom reads no more than a header can need.

    Zeros look like millions of elements; an element may claim gigabytes; and meta information that only pydicom
    understands may make it inflate everything there is, for which it calls ``read()`` without a size.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._n_reads, self._n_bytes, self._n_zeros = file, 0, 0, 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._n_reads += 1
        self._n_bytes += size
        if size < 0 or self._n_reads > MAX_READS or self._n_bytes > MAX_READ_BYTES:
            raise DataError("its header is larger than any real one, or damaged", hint=COPY_HINT)
        data = self._file.read(size)
        self._n_zeros = self._n_zeros + 1 if data == NO_ELEMENT else 0
        if self._n_zeros > MAX_NO_ELEMENTS:
            raise DataError("its header is zero from some byte on, as of a copy that was not finished", hint=COPY_HINT)
        return data


def meta_syntax(data: bytes) -> tuple[str, int]:
    """Return the transfer syntax that the file meta information states and where the data set begins.

    Args:
        data: The first bytes of the file.

    Returns:
        UID and offset in bytes; ``("", offset of the first element)`` where it states none.
    """
    at = PREAMBLE_BYTES + len(MAGIC) if data.startswith(MAGIC, PREAMBLE_BYTES) else 0
    syntax, n_bytes = "", len(data)
    while at + SHORT.size <= n_bytes:
        group, number, vr, length = SHORT.unpack_from(data, at)
        if group != META_GROUP:
            return syntax, at
        start = at + SHORT.size
        if vr in LONG_LENGTH_VRS:
            start = at + LONG.size
            if start > n_bytes:
                return "", at
            length = LONG.unpack_from(data, at)[-1]
        if number == SYNTAX_NUMBER:
            syntax = data[start : start + length].decode("ascii", "replace").strip("\0 ")
        at = start + length
    return ("", at) if data[at : at + 2] == META_GROUP.to_bytes(2, "little") else (syntax, at)


def pixel_layout(opened: DicomFile, max_megapixels: float) -> Layout:
    """Return how the pixels lie, after checking that they can be what the header claims.

    Raises:
        DataError: An element is missing or contradicts another, or the file is larger than ``max_megapixels``.
    """
    dataset, is_float = opened.dataset, opened.keyword != "PixelData"
    rows, columns = count(dataset, "Rows"), count(dataset, "Columns")
    frames = check_size(rows, columns, count(dataset, "NumberOfFrames", 1), max_megapixels)
    allocated = count(dataset, "BitsAllocated")
    stored = allocated if is_float else count(dataset, "BitsStored", allocated)
    high_bit = count(dataset, "HighBit", stored - 1)
    layout = Layout(
        rows=rows,
        columns=columns,
        frames=frames,
        samples=count(dataset, "SamplesPerPixel", 1),
        allocated=allocated,
        stored=stored,
        high_bit=high_bit if stored - 1 <= high_bit < allocated else stored - 1,
        signed=count(dataset, "PixelRepresentation", 0) == 1,
        photometric=text(dataset, "PhotometricInterpretation").upper() or "MONOCHROME2",
        planar=count(dataset, "PlanarConfiguration", 0) == 1,
        is_float=is_float,
    )
    _check_layout(layout)
    return layout


def groups(dataset: Dataset, frame: int, sequence: str) -> Iterator[Dataset]:
    """Yield the places that may describe a frame: per-frame group, shared group, the data set (PS3.3 C.7.6.16).

    Args:
        dataset: The whole object.
        frame: Index of the frame, from 0.
        sequence: Keyword of the functional group's sequence, e.g. PixelMeasuresSequence.
    """
    for parent, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(parent) or []
        inner = items[index].get(sequence) if index < len(items) else None
        if inner:
            yield inner[0]
    yield dataset


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the values of an element as numbers; empty where it is absent, empty or no number."""
    try:
        value = dataset.get(keyword)
        values = (
            [] if value is None or value == "" else [value] if isinstance(value, (int, float, str)) else list(value)
        )
        return [float(item) for item in values]
    except (TypeError, ValueError):
        return []


def first_numbers(dataset: Dataset, frame: int, sequence: str, keyword: str) -> list[float]:
    """Return the values of an element from the nearest functional group that has it."""
    for place in groups(dataset, frame, sequence):
        if found := numbers(place, keyword):
            return found
    return []


def text(dataset: Dataset, keyword: str) -> str:
    """Return an element's first value without control characters; empty where absent."""
    value = dataset.get(keyword)
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, (str, bytes))):
        value = next(iter(value), None)
    return clean("" if value is None else str(value))


def clean(value: str) -> str:
    """Return a header's text without padding and control characters."""
    return "".join(letter for letter in value if letter.isprintable()).strip()


def count(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return an element that counts something.

    Raises:
        DataError: It is no single number, or absent without a default.
    """
    try:
        value = dataset.get(keyword)
        if default is not None and (value is None or value == ""):
            return default
        number = int(value)  # None and lists are what the except is for
    except (TypeError, ValueError):
        raise DataError(f"{keyword} is missing or not one number", hint=CONVERT_HINT) from None
    return number


def lut_entries(value: object, n_entries: int, *, is_big: bool) -> NDArray[np.int64]:
    """Return the entries of a lookup table, which may come as numbers, as 16-bit words, or as bytes two to a word.

    Raises:
        DataError: There are fewer than the descriptor says.
    """
    if isinstance(value, bytes):
        words = np.frombuffer(value[: len(value) // 2 * 2], dtype=">u2" if is_big else "<u2").astype(np.uint16)
        odd = np.frombuffer(value[len(words) * 2 :], dtype=np.uint8)
    else:
        words = np.atleast_1d(np.asarray([] if value is None else value)).astype(np.uint16)
        odd = np.zeros(0, dtype=np.uint8)
    packed = np.concatenate([words.astype("<u2").view(np.uint8), odd])
    for entries in (words, packed):
        if len(entries) >= n_entries:
            return entries[:n_entries].astype(np.int64)
    raise DataError(f"a lookup table has {len(words)} entries of {n_entries}", hint=CONVERT_HINT)


def inflate(data: bytes, limit: int) -> bytes:
    """Inflate a raw deflate stream, at most ``limit`` bytes of it."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)


def _open_deflated(file: BinaryIO, start: int) -> DicomFile:
    """Inflate as much as a header may need; ``pixel_source`` inflates the rest, once the header's claim is checked."""
    file.seek(start)
    packed = file.read()
    buffer = io.BytesIO(inflate(packed, HEADER_LIMIT_BYTES))
    bounded = cast("BinaryIO", _Bounded(buffer))
    dataset = read_dataset(bounded, False, True, stop_when=lambda tag, _vr, _length: tag in PIXEL_KEYWORDS)
    if buffer.tell() >= HEADER_LIMIT_BYTES:
        problem = f"its header inflates to more than {HEADER_LIMIT_BYTES >> 20} MiB"
        raise DataError(problem, hint="leave it out: no real header is that large")
    return replace(_at_pixels(buffer, dataset, DEFLATED), packed=packed)


def pixel_source(opened: DicomFile, layout: Layout) -> BinaryIO:
    """Return the pixel data's value from its first byte, inflated as far as the checked layout needs it."""
    start = opened.source.tell()
    needed = native_bytes(layout)
    if not opened.packed or bytes_left(opened.source) >= needed:
        return opened.source
    return io.BytesIO(inflate(opened.packed, start + needed)[start:])


def _at_pixels(file: BinaryIO, dataset: Dataset, syntax: str) -> DicomFile:
    """Parse the element header at the file's position, which is that of the pixel data or of the end."""
    order = ">" if syntax == EXPLICIT_BIG else "<"
    head = file.read(8)
    tag = struct.unpack(order + "HH", head[:4]) if len(head) == 8 else (0, 0)
    keyword = PIXEL_KEYWORDS.get(tag[0] << 16 | tag[1], "")
    if not keyword:
        modality = text(dataset, "Modality")
        kind = f"a DICOM object without pixels{f' (modality {modality})' if modality else ''}"
        raise DataError(f"is {kind}", hint="leave it out of the folder: reports, plans and directories are no images")
    vr = head[4:6] if head[4:6].isalpha() and head[4:6].isupper() else b""
    length = struct.unpack(order + "I", file.read(4) if vr else head[4:])[0]
    return DicomFile(dataset, syntax, keyword, vr.decode(), file, -1 if length == UNDEFINED_LENGTH else length)


def _check_layout(layout: Layout) -> None:
    problem = ""
    if layout.allocated not in ALLOCATED_BITS:
        problem = f"has {layout.allocated} bits allocated, which the standard does not know"
    elif not 1 <= layout.stored <= layout.allocated:
        problem = f"has {layout.stored} bits stored in {layout.allocated} allocated"
    elif layout.samples != (1 if layout.photometric in SINGLE_CHANNEL else 3):
        problem = f"has {layout.samples} channels, which do not fit photometric interpretation {layout.photometric}"
    if problem:
        raise DataError(problem, hint=CONVERT_HINT)


def native_bytes(layout: Layout) -> int:
    """Return how many bytes all frames take uncompressed; YBR_FULL_422 keeps two thirds (PS3.3 C.7.6.3.1.2)."""
    bits = layout.rows * layout.columns * layout.samples * layout.frames * layout.allocated
    if layout.photometric == "YBR_FULL_422":
        bits = bits // 3 * 2
    return math.ceil(bits / BITS_PER_BYTE)


def bytes_left(source: BinaryIO) -> int:
    """Return how many bytes follow the position, which stays."""
    position = source.tell()
    size = source.seek(0, os.SEEK_END) - position
    source.seek(position)
    return size
