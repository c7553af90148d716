"""One frame of a DICOM object → the values in their containers, by pydicom with our plug-in."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from effmed.data.pixels.dicom.codecs import (
    JP2_START,
    JPEG,
    JPEG_2000,
    PLUGIN,
    STAND_INS,
    find_halvings,
    find_j2k,
    read_codestream,
    register,
)
from effmed.data.pixels.dicom.dataset import (
    CONVERT_HINT,
    COPY_HINT,
    DEFLATED,
    EXPLICIT_LITTLE,
    GREY,
    NATIVE,
    PALETTE,
    Bits,
    DicomFile,
    Layout,
    bytes_left,
    inflate,
    native_bytes,
    pixel_source,
)
from effmed.data.pixels.image import BITS_PER_BYTE
from effmed.errors import DataError

if TYPE_CHECKING:
    from io import BufferedIOBase

    from numpy.typing import NDArray

register()

PLAIN_BITS = (8, 16)  # allocated
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # Deflated Image Frame Compression, younger than pydicom 3.0
RLE_PLUGIN = "pylibjpeg"


def decode_frame(
    opened: DicomFile, layout: Layout, frame: int, least: tuple[int, int] | None = None
) -> tuple[NDArray[np.generic], Bits]:
    """Decode one frame to its containers.

    Args:
        opened: The file.
        layout: Its layout.
        frame: Which frame.
        least: Height and width below which a frame of JPEG 2000 may not be decoded at a lower resolution; None: it is
            decoded whole.

    Returns:
        ``(rows, columns)`` or ``(rows, columns, 3)`` RGB, fewer of both where ``least`` allows it; and where in a
        container the stored value lies.

    Raises:
        DataError: The pixel data is shorter than the header claims, or the colours are of an unknown kind.
    """
    source = pixel_source(opened, layout)
    if opened.syntax in NATIVE or _is_native_after_all(opened, layout):
        return _decode_native(source, opened, layout, frame), _header_bits(layout)
    if opened.syntax == DEFLATED_FRAMES:
        packed = get_frame(source, frame, number_of_frames=layout.frames)
        needed = native_bytes(replace(layout, frames=1))
        plain = inflate(packed, needed)
        options = _options(opened, layout) | {"number_of_frames": 1}
        return _as_array(EXPLICIT_LITTLE, plain + bytes(len(plain) % 2), 0, options), _header_bits(layout)
    syntax = STAND_INS.get(opened.syntax, opened.syntax)
    plugin = RLE_PLUGIN if syntax == uid.RLELossless else PLUGIN
    options = _options(opened, layout) | {"decoding_plugin": plugin}
    if syntax in JPEG_2000:
        pixels = _decode_jpeg_2000(syntax, source, layout, frame, least, options)
    else:
        pixels = _as_array(syntax, source, frame, options)
    if syntax == uid.RLELossless or (syntax in JPEG and layout.signed):
        return pixels, _header_bits(layout)
    # A codestream holds the value alone; pydicom has extended the sign of JPEG-LS and JPEG 2000.
    return pixels, Bits(pixels.dtype.itemsize * BITS_PER_BYTE, 0, layout.signed)


def _decode_jpeg_2000(
    syntax: str,
    source: BinaryIO,
    layout: Layout,
    frame: int,
    least: tuple[int, int] | None,
    options: dict[str, Any],
) -> NDArray[np.generic]:
    """Decode JPEG 2000, where ``least`` allows it at the lowest resolution that is at least so large."""
    packed = get_frame(source, frame, number_of_frames=layout.frames, extended_offsets=options.get("extended_offsets"))
    if packed.startswith(JP2_START) and find_j2k(packed) < 0:
        raise DataError("cannot be decoded: its JPEG 2000 container has no codestream", hint=COPY_HINT)
    stream = read_codestream(packed)
    # Where only one of the two is signed, neighbours such as 0 and -1 lie far apart, and must not be averaged.
    is_same = stream is not None and (*stream.size(), stream.signed) == (layout.rows, layout.columns, layout.signed)
    if stream is None or least is None or not is_same or layout.photometric == PALETTE:
        return _as_array(syntax, source, frame, options)
    halvings = find_halvings(stream, least)
    if halvings:
        rows, columns = stream.size(halvings)
        try:
            return _as_array(syntax, source, frame, options | {"rows": rows, "columns": columns, "halvings": halvings})
        except (DataError, ValueError):
            pass  # decoding the whole will tell why, or succeed
    return _as_array(syntax, source, frame, options)


def _is_native_after_all(opened: DicomFile, layout: Layout) -> bool:
    """Some files state a compressed syntax over plain pixels; their length gives them away."""
    needed = native_bytes(layout)
    return opened.length in (needed, needed + needed % 2)


def _decode_native(source: Any, opened: DicomFile, layout: Layout, frame: int) -> NDArray[np.generic]:  # noqa: ANN401  a file
    found = bytes_left(source) if opened.length < 0 else min(opened.length, bytes_left(source))
    if found < native_bytes(layout):
        problem = f"is cut off: {found} bytes of pixels, {native_bytes(layout)} expected"
        raise DataError(problem, hint=COPY_HINT)
    syntax = EXPLICIT_LITTLE if opened.syntax not in NATIVE or opened.syntax == DEFLATED else opened.syntax
    if syntax != uid.ExplicitVRBigEndian and layout.photometric in GREY and layout.allocated in PLAIN_BITS:
        return _read_plain(source, layout, frame)
    return _as_array(syntax, source, frame, _options(opened, layout))


def _read_plain(source: BinaryIO, layout: Layout, frame: int) -> NDArray[np.generic]:
    """Read grey containers of whole bytes, which lie in the file as they lie in memory: pydicom copies them again."""
    kind = np.dtype(f"<{'i' if layout.signed else 'u'}{layout.allocated // BITS_PER_BYTE}")
    values = np.empty((layout.rows, layout.columns), kind)
    source.seek(frame * values.nbytes, os.SEEK_CUR)
    n_read = cast("BufferedIOBase", source).readinto(values.data.cast("B"))
    if n_read < values.nbytes:  # it was longer a moment ago
        raise DataError(f"is cut off: {n_read} bytes of pixels, {values.nbytes} expected", hint=COPY_HINT)
    return values.astype(kind.newbyteorder("="), copy=False)


def _header_bits(layout: Layout) -> Bits:
    return Bits(layout.stored, layout.high_bit + 1 - layout.stored, layout.signed)


def _options(opened: DicomFile, layout: Layout) -> dict[str, Any]:
    """Tell pydicom the layout that was checked, instead of letting it read the header again."""
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": layout.frames,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": int(layout.planar),
        "pixel_keyword": opened.keyword,
        "pixel_vr": opened.representation or "OW",
        "allow_excess_frames": False,
        "correct_unused_bits": False,
    }
    # Offsets spare pydicom the walk over all frames before the one that is asked for.
    offsets = [opened.dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    return options | ({"extended_offsets": tuple(offsets)} if all(offsets) else {})


def _as_array(syntax: str, source: Any, frame: int, options: dict[str, Any]) -> NDArray[np.generic]:  # noqa: ANN401  bytes or a file
    decoder = get_decoder(syntax)
    try:
        pixels, properties = decoder.as_array(source, index=frame, **options)
    except RuntimeError as error:  # what a plug-in raised, of which pydicom keeps the text
        reason = str(error).rpartition(f"{options.get('decoding_plugin', '')}: ")[2]
        raise DataError(f"cannot be decoded: {reason}", hint=COPY_HINT) from error
    colours = str(properties["photometric_interpretation"])
    if colours not in (*GREY, PALETTE, "RGB"):
        raise DataError(f"has colours of an unknown kind: photometric interpretation {colours}", hint=CONVERT_HINT)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
