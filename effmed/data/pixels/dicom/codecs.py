"""Decoder plug-in for pydicom on imagecodecs: JPEG, JPEG-LS, JPEG 2000, HTJ2K and JPEG XL, bounded before decoding.

imagecodecs is permissively licensed and, unlike the GPL or crash-prone alternatives, decodes lossless and 12-bit
JPEG as well. RLE stays with pylibjpeg-rle. What is decoded is told by the codestream, which the standard puts above
the header (PS3.5 8.2.1).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
import imagecodecs
import numpy as np
import simplejpeg
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from effmed.data.pixels.image import BITS_PER_BYTE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.pixels.decoders.base import DecodeRunner

PLUGIN = "effmed-imagecodecs"
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
DECODER_DEPENDENCIES = dict.fromkeys((*JPEG, *JPEG_LS, *JPEG_2000), ("numpy", "imagecodecs"))
# Syntaxes that pydicom 3.0 does not decode, by the one of its own whose path they can take: retired JPEG processes
# (PS3.5 A.4.1) and JPEG XL. Their codestreams say what they are.
STAND_INS = {
    "1.2.840.10008.1.2.4.53": uid.JPEGExtended12Bit,
    "1.2.840.10008.1.2.4.55": uid.JPEGExtended12Bit,
    "1.2.840.10008.1.2.4.110": uid.JPEGExtended12Bit,
    "1.2.840.10008.1.2.4.111": uid.JPEGExtended12Bit,
    "1.2.840.10008.1.2.4.112": uid.JPEGExtended12Bit,
}

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ (ITU-T T.800 annex A); a JP2 container puts boxes before it
JP2_START, JP2_STREAM = b"\x00\x00\x00\x0cjP  ", b"jp2c"  # T.800 annex I: the first box, and that of the codestream
JP2_FIRST_BOX_BYTES = 12
JP2_LONG_BOX = b"\x00\x00\x00\x01"  # in place of a length, which then follows in 8 bytes (T.800 I.4)
BOX_BYTES, LONG_BOX_BYTES = 8, 16  # of length and kind, before what the box holds
J2K_SIZE = struct.Struct(">4xH2xIIII16xH")  # T.800 A.5.1: Lsiz, Xsiz, Ysiz, XOsiz, YOsiz, Csiz; then 3 bytes a channel
J2K_BITS = 0x7F  # of Ssiz: bits less one; above it, signed
J2K_NOT_SUBSAMPLED = b"\x01\x01"
J2K_CODING, J2K_TILE = b"\xff\x52", b"\xff\x90"  # COD, SOT
J2K_DECOMPOSITIONS_AT = 9  # bytes from COD
WORD_BITS = 16
JXL_BARE, JXL_BOXED = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "
JXL_STARTS = (JXL_BARE, JXL_BOXED)
JXL_SEARCH_BYTES = 256  # of a container, in which its codestream begins
JXL_SIZE_BITS = (9, 13, 18, 30)  # ISO/IEC 18181-1, SizeHeader: widths of a size, chosen by two bits
JXL_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width : height
# Markers, ITU-T T.81 table B.1 and T.87.
MARKER = 0xFF
JPEG_LS_FRAME = 0xF7
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, JPEG_LS_FRAME}
DCT_FRAMES = {0xC0, 0xC1}  # sequential: spectral selection must be 0 to 63 (T.81 table B.3)
WATCHED_FRAMES = {0xC0, 0xC1, 0xC2}  # sequential and progressive: what simplejpeg decodes without ever crashing
LOST = ("premature end", "bad Huffman code", "instead of RST")  # libjpeg's warnings of pixels that it made up
FRAME_SEGMENT_BYTES = 6  # precision, height, width, number of channels; then three bytes for each channel
SCAN = 0xDA
APP0, APP14 = 0xE0, 0xEE
ADOBE_TRANSFORM_AT = 11  # bytes into the Adobe segment: 0 RGB, 1 YCbCr
STANDALONE = {0x01, *range(0xD0, 0xDA)}
LAST_COEFFICIENT = 63
RGB_IDS = (b"RGB", b"rgb")


@dataclass(frozen=True)
class Codestream:
    """What the start of a codestream says.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        frame: JPEG's start-of-frame marker; 0 for JPEG 2000 and JPEG XL.
        is_rgb: Whether its channels are RGB; None where it does not say, or says YCbCr by its numbers only.
        scan_at: Offset of the first start-of-scan segment; 0 where there is none.
        bits: Bits of a value in JPEG 2000.
        signed: Whether these are a two's complement.
        halvings: How many times JPEG 2000 lets height and width be halved in decoding; 0 where it does not say so, or
            where its channels differ.
    """

    rows: int
    columns: int
    frame: int = 0
    is_rgb: bool | None = None
    scan_at: int = 0
    bits: int = 0
    signed: bool = False
    halvings: int = 0

    def size(self, halvings: int = 0) -> tuple[int, int]:
        """Return height and width after so many halvings, which round up (T.800 B.5)."""
        return -(-self.rows >> halvings), -(-self.columns >> halvings)


def is_available(uid: str) -> bool:  # noqa: ARG001, RUF100  pydicom asks with the syntax
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
        runner: pydicom's account of the header; told how the decoded bytes are laid out. Its option ``halvings`` is
            how many times height and width are halved; its rows and columns are those of the result.

    Raises:
        ValueError: The codestream's size is not the header's, which is checked before anything is allocated, or its
            values do not fit into the bits that the header allocates.
    """
    stream = read_codestream(source)
    halvings = int(runner.get_option("halvings", 0))
    if stream is not None and stream.size(halvings) != (runner.rows, runner.columns):
        raise ValueError(
            f"its codestream is {stream.rows} x {stream.columns} pixels, its header says "
            f"{runner.rows} x {runner.columns}"
        )
    if stream is not None and halvings:
        values = _decode_smaller(source, stream, halvings)
    else:
        values = _decode(source, stream, str(runner.photometric_interpretation))
    bits = values.dtype.itemsize * BITS_PER_BYTE
    if bits > max(runner.bits_allocated, BITS_PER_BYTE):
        raise ValueError(f"its codestream holds {bits} bits, its header allocates {runner.bits_allocated}")
    if values.ndim > 2:
        runner.set_option("planar_configuration", 0)
        if is_jpeg(stream) or runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")  # converted by the codec
    runner.set_option("bits_allocated", bits)
    return values.tobytes()


def is_jpeg(stream: Codestream | None) -> bool:
    """Whether it is a JPEG whose colours the decoder converts; neither JPEG-LS nor JPEG 2000."""
    return stream is not None and stream.frame not in (0, JPEG_LS_FRAME)


def read_codestream(source: bytes) -> Codestream | None:
    """Return what a JPEG, JPEG-LS, JPEG 2000 or JPEG XL codestream says of itself; None where it is none of them."""
    if source.startswith(JXL_STARTS):
        return _read_jxl(source)
    if not source.startswith(JPEG_START):
        return _read_j2k(source)
    at = 2
    is_rgb: bool | None = None
    frame: Codestream | None = None
    while at + 4 <= len(source) and source[at] == MARKER:
        marker = source[at + 1]
        if marker in STANDALONE or marker == MARKER:
            at += 1 if marker == MARKER else 2
            continue
        length = struct.unpack_from(">H", source, at + 2)[0]
        segment = source[at + 4 : at + 2 + length]
        if marker == SCAN:
            return frame and replace(frame, is_rgb=is_rgb, scan_at=at)
        if marker in FRAMES and len(segment) >= FRAME_SEGMENT_BYTES:
            rows, columns = struct.unpack_from(">HH", segment, 1)
            frame = Codestream(rows, columns, marker)
            is_rgb = True if segment[FRAME_SEGMENT_BYTES::3] in RGB_IDS else is_rgb
        is_rgb = _colours(marker, segment, is_rgb)
        at += 2 + length
    return frame


def _colours(marker: int, segment: bytes, before: bool | None) -> bool | None:
    """JFIF means YCbCr; the Adobe segment says which (T.871; Adobe TN 5116)."""
    if marker == APP0 and segment.startswith(b"JFIF"):
        return False
    if marker == APP14 and segment.startswith(b"Adobe") and len(segment) > ADOBE_TRANSFORM_AT:
        return segment[ADOBE_TRANSFORM_AT] == 0
    return before


def find_j2k(source: bytes) -> int:
    """Return where a codestream of JPEG 2000 begins, bare or in a box of a JP2 container; -1 where there is none.

    A box of length 0 reaches to the end (T.800 I.4), so that nothing follows it; lengths of 1 to 7 are none that a box
    before the codestream needs. pydicom 3.0.2 steps over both, and may do so for ever.
    """
    at = 0
    if source.startswith(JP2_START):
        at = JP2_FIRST_BOX_BYTES
        while source[at + 4 : at + BOX_BYTES] != JP2_STREAM:
            length = int.from_bytes(source[at : at + 4], "big")
            if length < BOX_BYTES:
                return -1
            at += length
        is_long = source.startswith(JP2_LONG_BOX, at)
        at += LONG_BOX_BYTES if is_long else BOX_BYTES
    return at if source.startswith(J2K_START, at) else -1


def find_halvings(stream: Codestream, least: tuple[int, int]) -> int:
    """Return how many times a JPEG 2000 picture may be halved without falling below ``least``, height and width.

    Left out is what Pillow cannot decode because it rounds otherwise: a quarter of 5 pixels are 2, Pillow expects 1.
    """
    for halvings in range(stream.halvings, 0, -1):
        height, width = stream.size(halvings)
        rounded = tuple((side + (1 << halvings >> 1)) >> halvings for side in stream.size())
        if height >= least[0] and width >= least[1] and rounded == (height, width):
            return halvings
    return 0


def _read_j2k(source: bytes) -> Codestream | None:
    start = find_j2k(source)
    if start < 0 or len(source) < start + J2K_SIZE.size:
        return None
    length, columns, rows, left, top, n_channels = J2K_SIZE.unpack_from(source, start)
    channels = {source[at : at + 3] for at in range(start + J2K_SIZE.size, start + J2K_SIZE.size + 3 * n_channels, 3)}
    kind = channels.pop() if len(channels) == 1 else b""
    if len(kind) < 3:
        return Codestream(rows - top, columns - left)
    bits, signed = (kind[0] & J2K_BITS) + 1, kind[0] > J2K_BITS
    can_shrink = start == 0 and kind[1:] == J2K_NOT_SUBSAMPLED and _fits_pillow(n_channels, bits, signed)
    halvings = _count_halvings(source, start + 4 + length) if can_shrink else 0
    return Codestream(rows - top, columns - left, bits=bits, signed=signed, halvings=halvings)


def _fits_pillow(n_channels: int, bits: int, signed: bool) -> bool:
    """Whether Pillow keeps every bit: grey up to 16, colour of 8."""
    is_grey, is_colour = n_channels == 1, n_channels == 3
    return (is_grey and bits <= WORD_BITS) or (is_colour and bits == BITS_PER_BYTE and not signed)


def _count_halvings(source: bytes, at: int) -> int:
    """Return the number of wavelet decompositions that the first COD segment from ``at`` on states (T.800 A.6.1)."""
    while source[at : at + 1] == b"\xff" and not source.startswith(J2K_TILE, at) and at + 4 <= len(source):
        if source.startswith(J2K_CODING, at):
            return int.from_bytes(source[at + J2K_DECOMPOSITIONS_AT : at + J2K_DECOMPOSITIONS_AT + 1])
        at += 2 + int.from_bytes(source[at + 2 : at + 4])
    return 0


def _decode_smaller(source: bytes, stream: Codestream, halvings: int) -> NDArray[np.generic]:
    """Decode JPEG 2000 at a lower resolution with Pillow, for imagecodecs cannot, to integers as imagecodecs gives.

    Pillow makes signed values unsigned and shifts grey ones up until they fill 8 or 16 bits; both are undone.
    """
    picture = Jpeg2KImageFile(io.BytesIO(source))
    picture.reduce = halvings
    picture.load()
    values: NDArray[np.generic] = np.asarray(picture)
    n_bytes = values.dtype.itemsize
    unshifted = values.astype(np.int32) >> (0 if values.ndim > 2 else n_bytes * BITS_PER_BYTE - stream.bits)
    signed = unshifted - (1 << stream.bits >> 1) if stream.signed else unshifted
    return _in_place(signed, stream, halvings).astype(f"{'i' if stream.signed else 'u'}{n_bytes}")


def _in_place(values: NDArray[np.int32], stream: Codestream, halvings: int) -> NDArray[np.int32]:
    """Move a low-pass band to where the picture is that it was made from, by linear interpolation.

    Value i of the band is about pixel ``i * 2^halvings`` of the whole (T.800 F.4.8), not about the middle of the
    pixels that it stands for; left so, the picture would be shifted by up to half a pixel of the band.
    """
    axes = []
    for n_whole, n_band in zip((stream.columns, stream.rows), values.shape[1::-1], strict=True):
        step = n_whole / n_band  # pixels of the whole per pixel of the result
        axes.append((step / (1 << halvings), (step - 1) / 2 / (1 << halvings)))
    (wide, left), (high, top) = axes
    matrix = np.array([[wide, 0.0, left], [0.0, high, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        values.astype(np.float32), matrix, values.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return cast("NDArray[np.int32]", np.rint(moved).astype(np.int32))


def _read_jxl(source: bytes) -> Codestream | None:
    """Read the SizeHeader at the start of a JPEG XL codestream, whose bits run from the lowest upwards."""
    start = 0 if source.startswith(JXL_BARE) else source.find(JXL_BARE, len(JXL_BOXED), JXL_SEARCH_BYTES)
    if start < 0:
        return None
    bits = _Bits(int.from_bytes(source[start + 2 : start + 2 + 16], "little"))
    in_eights = bits.take(1)
    rows = _jxl_size(bits, in_eights)
    ratio = bits.take(3)
    width, height = JXL_RATIOS[ratio]
    return Codestream(rows, rows * width // height if ratio else _jxl_size(bits, in_eights))


def _jxl_size(bits: _Bits, in_eights: int) -> int:
    if in_eights:
        return (bits.take(5) + 1) * 8
    return bits.take(JXL_SIZE_BITS[bits.take(2)]) + 1


class _Bits:
    """Bits of a number, taken from the lowest upwards."""

    def __init__(self, number: int) -> None:
        self._number = number

    def take(self, n_bits: int) -> int:
        value = self._number & ((1 << n_bits) - 1)
        self._number >>= n_bits
        return value


def _decode(source: bytes, stream: Codestream | None, photometric: str) -> NDArray[np.generic]:
    if stream is None:
        raise ValueError("its codestream is neither JPEG, JPEG-LS, JPEG 2000 nor JPEG XL, or it is cut off")
    if source.startswith(JXL_STARTS):
        values = imagecodecs.jpegxl_decode(source)
    elif stream.frame == JPEG_LS_FRAME:
        _check_end(source, stream)
        values = imagecodecs.jpegls_decode(source)
    elif stream.frame:
        _check_end(source, stream)
        is_rgb = stream.is_rgb if stream.is_rgb is not None else photometric == "RGB"
        colours = "RGB" if is_rgb else None  # None: as libjpeg finds, which is YCbCr
        whole = repaired(source, stream)
        check_whole(whole, stream)
        values = imagecodecs.jpeg8_decode(whole, colorspace=colours, outcolorspace=colours)
    else:
        values = imagecodecs.jpeg2k_decode(source)
    return np.asarray(values)


def _check_end(source: bytes, stream: Codestream) -> None:
    """Refuse a JPEG that is cut off: libjpeg would fill the missing part with grey."""
    if source.rfind(JPEG_END) <= stream.scan_at:
        raise ValueError("its codestream is cut off: JPEG without an end marker")


def check_whole(source: bytes, stream: Codestream) -> None:
    """Refuse a JPEG that holds less than its picture: libjpeg fills in grey, and warns where only simplejpeg listens.

    Only the first warning is heard. Left alone are 12 bits, which simplejpeg does not know, and lossless JPEG, a
    damaged one of which crashes simplejpeg 1.9.

    Raises:
        ValueError: Pixels are missing.
    """
    if stream.frame not in WATCHED_FRAMES:
        return
    try:
        simplejpeg.decode_jpeg(source, "GRAY")
    except ValueError as error:
        if any(warning in str(error) for warning in LOST):
            raise ValueError("its codestream is damaged: pixels are missing") from error


def repaired(source: bytes, stream: Codestream) -> bytes:
    """Set the spectral selection of a sequential JPEG to 0..63 where an old encoder wrote 0..0.

    The encoder of the NEMA test images did; T.81 table B.3 allows nothing else, so no information is lost. Some
    versions of libjpeg only warn, others refuse.
    """
    if stream.frame not in DCT_FRAMES or not stream.scan_at:
        return source
    n_channels = source[stream.scan_at + 4]
    last_at = stream.scan_at + 5 + 2 * n_channels + 1
    if last_at >= len(source) or source[last_at] != 0:
        return source
    return source[:last_at] + bytes([LAST_COEFFICIENT]) + source[last_at + 1 :]
