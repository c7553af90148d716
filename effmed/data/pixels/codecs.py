"""Decoder plug-in for pydicom on imagecodecs: JPEG, JPEG-LS, JPEG 2000 and HTJ2K, bounded by the header's size.

imagecodecs is permissively licensed and, unlike the GPL or crash-prone alternatives, decodes lossless
and 12-bit JPEG as well. RLE stays with pylibjpeg-rle.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.pixels.decoders.base import DecodeRunner

PLUGIN = "effmed-imagecodecs"
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
DECODER_DEPENDENCIES = dict.fromkeys((*JPEG, *JPEG_LS, *JPEG_2000), ("numpy", "imagecodecs"))

# Start-of-frame markers that carry the size: JPEG (ITU-T T.81 table B.1) without tables, and JPEG-LS (T.87).
_SIZE_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD9)}
_MARKER_PREFIX = 0xFF
_J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ (ITU-T T.800 annex A)
_BITS_PER_BYTE = 8


def is_available(uid: str) -> bool:
    """Tell pydicom that imagecodecs is installed: it is a dependency of effmed."""
    return True


def register() -> None:
    """Make pydicom decode with this module; again is harmless."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode"))


def decode(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame for pydicom.

    Args:
        source: The codestream of one frame.
        runner: pydicom's account of the header, told how the decoded bytes are laid out.

    Raises:
        ValueError: The codestream's size is not the header's, which is checked before anything is allocated.
    """
    size = codestream_size(source)
    if size is not None and size != (runner.rows, runner.columns):
        raise ValueError(
            f"the codestream is {size[0]} x {size[1]} pixels, the header says {runner.rows} x {runner.columns}"
        )
    syntax = runner.transfer_syntax
    values = _decode(source, str(syntax))
    if values.ndim > 2:
        runner.set_option("planar_configuration", 0)
        if syntax in JPEG or runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")  # converted by the codec, from its own markers
    runner.set_option("bits_allocated", values.dtype.itemsize * _BITS_PER_BYTE)
    return values.tobytes()


def codestream_size(source: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream announces, None if it does not."""
    start = source.find(_J2K_START, 0, 256)
    if start >= 0 and len(source) >= start + 24:
        columns, rows, left, top = struct.unpack_from(">IIII", source, start + 8)
        return rows - top, columns - left
    at = 2
    while at + 9 <= len(source) and source[at] == _MARKER_PREFIX:
        marker = source[at + 1]
        if marker in _SIZE_MARKERS:
            rows, columns = struct.unpack_from(">HH", source, at + 5)
            return rows, columns
        at += 2 if marker in _STANDALONE_MARKERS else 2 + struct.unpack_from(">H", source, at + 2)[0]
    return None


def _decode(source: bytes, syntax: str) -> NDArray[Any]:
    if syntax in JPEG:
        values = imagecodecs.jpeg8_decode(source)
    elif syntax in JPEG_LS:
        values = imagecodecs.jpegls_decode(source)
    else:
        values = imagecodecs.jpeg2k_decode(source)
    return values
