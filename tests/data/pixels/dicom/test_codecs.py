import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.pixels import get_decoder

from effmed.data.pixels.dicom.codecs import (
    PLUGIN,
    check_whole,
    find_j2k,
    is_available,
    read_codestream,
    register,
    repaired,
)
from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

GREY = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.uint16)
BYTES = (np.add.outer(np.arange(24), np.arange(32)) * 4).astype(np.uint8)
COLOUR = np.stack([BYTES, BYTES[::-1], np.full_like(BYTES, 200)], axis=-1)
J2K = {"level": 0, "codecformat": "j2k", "reversible": True}
ENCODERS = {
    uid.JPEGLossless: lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=16),
    uid.JPEGLosslessSV1: lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=16),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: lambda values: imagecodecs.jpeg2k_encode(values, **J2K),
    uid.HTJ2KLossless: imagecodecs.htj2k_encode,
    "1.2.840.10008.1.2.4.110": lambda values: imagecodecs.jpegxl_encode(values, lossless=True),
}


def read(path, window="full"):
    return read_image(path, 0, window=window, max_megapixels=10).pixels


@pytest.mark.parametrize("syntax", ENCODERS, ids=str)
def test_lossless_codecs_give_the_stored_values(tmp_path, syntax):
    path = make.dicom(tmp_path / "a", GREY, syntax=syntax, streams=[ENCODERS[syntax](GREY)])
    assert np.array_equal(read(path), GREY.astype(np.uint16))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless], ids=str)
def test_signed_values_come_back_from_streams_that_have_no_sign(tmp_path, syntax):
    signed = GREY.astype(np.int16) - 2048
    path = make.dicom(tmp_path / "a", signed, syntax=syntax, streams=[ENCODERS[syntax](signed.view(np.uint16))])
    assert np.array_equal(read(path), read(make.dicom(tmp_path / "b", signed)))


def test_unsigned_values_come_back_from_a_signed_jpeg_2000(tmp_path):
    stream = ENCODERS[uid.JPEG2000Lossless](GREY.view(np.int16))
    path = make.dicom(tmp_path / "a", GREY, syntax=uid.JPEG2000Lossless, streams=[stream])
    assert np.array_equal(read(path), GREY)


def test_signed_values_of_12_bits_come_back_from_lossless_jpeg(tmp_path):
    signed = GREY.astype(np.int16) - 2048
    stream = imagecodecs.jpeg8_encode((signed & 0xFFF).astype(np.uint16), lossless=True, bitspersample=12)
    path = make.dicom(tmp_path / "a", signed, BitsStored=12, syntax=uid.JPEGLosslessSV1, streams=[stream])
    assert np.array_equal(read(path), read(make.dicom(tmp_path / "b", signed & 0xFFF, BitsStored=12)))


def test_baseline_jpeg_is_close(tmp_path):
    path = make.dicom(
        tmp_path / "a", BYTES, syntax=uid.JPEGBaseline8Bit, streams=[imagecodecs.jpeg8_encode(BYTES, level=100)]
    )
    assert np.abs(np.int16(read(path)) - BYTES).max() <= 2


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_the_jpegs_own_markers_tell_its_colours(tmp_path, stated):
    stream = imagecodecs.jpeg8_encode(COLOUR, level=100, subsampling="444")  # JFIF, hence YCbCr
    elements = {"PhotometricInterpretation": stated}
    path = make.dicom(tmp_path / "a", COLOUR, syntax=uid.JPEGBaseline8Bit, streams=[stream], **elements)
    assert np.abs(np.int16(read(path)) - COLOUR).max() <= 4


def without_segment(stream, marker):
    at = stream.index(marker)
    length = int.from_bytes(stream[at + 2 : at + 4], "big")
    return stream[:at] + stream[at + 2 + length :]


def with_numbered_channels(stream):
    """Call the channels 1, 2, 3, as YCbCr does, where they are called R, G, B."""
    renamed = bytearray(stream)
    frame, scan = stream.index(b"\xff\xc0") + 10, stream.index(b"\xff\xda") + 5
    for channel in range(3):
        renamed[frame + 3 * channel] = renamed[scan + 2 * channel] = channel + 1
    return bytes(renamed)


def test_without_markers_the_header_tells_the_colours(tmp_path):
    stream = imagecodecs.jpeg8_encode(COLOUR, level=100, colorspace="RGB", outcolorspace="RGB")
    for marker in (b"\xff\xe0", b"\xff\xee"):
        stream = without_segment(stream, marker) if marker in stream else stream
    bare = with_numbered_channels(stream)
    assert read_codestream(bare).is_rgb is None
    path = make.dicom(tmp_path / "a", COLOUR, syntax=uid.JPEGBaseline8Bit, streams=[bare])
    assert np.abs(np.int16(read(path)) - COLOUR).max() <= 4


def test_lossless_colour_comes_back_from_jpeg_2000(tmp_path):
    stream = imagecodecs.jpeg2k_encode(COLOUR, mct=True, **J2K)
    elements = {"PhotometricInterpretation": "YBR_RCT"}
    path = make.dicom(tmp_path / "a", COLOUR, syntax=uid.JPEG2000Lossless, streams=[stream], **elements)
    assert np.array_equal(read(path), COLOUR)


def test_lossless_colour_comes_back_from_jpeg_ls(tmp_path):
    path = make.dicom(tmp_path / "a", COLOUR, syntax=uid.JPEGLSLossless, streams=[imagecodecs.jpegls_encode(COLOUR)])
    assert np.array_equal(read(path), COLOUR)


@pytest.mark.parametrize("syntax", ENCODERS, ids=str)
def test_a_codestream_of_another_size_is_refused_before_decoding(tmp_path, syntax, monkeypatch):
    stream = ENCODERS[syntax](GREY)
    path = make.dicom(tmp_path / "a", GREY, Rows=12, syntax=syntax, streams=[stream])
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode", "jpegxl_decode"):
        monkeypatch.setattr(imagecodecs, name, pytest.fail)
    with pytest.raises(DataError, match="codestream is 24 x 32 pixels, its header says 12 x 32"):
        read(path)


@pytest.mark.parametrize("syntax", [*ENCODERS, uid.JPEGBaseline8Bit], ids=str)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_codestream_that_is_cut_off_is_refused(tmp_path, syntax, kept):
    values = BYTES if syntax == uid.JPEGBaseline8Bit else GREY
    stream = imagecodecs.jpeg8_encode(values) if values is BYTES else ENCODERS[syntax](values)
    path = make.dicom(tmp_path / "a", values, syntax=syntax, streams=[stream[: int(len(stream) * kept)]])
    with pytest.raises(DataError):
        read(path)


def test_jpeg_ls_that_is_cut_off_before_a_zero_byte_is_not_decoded(tmp_path, monkeypatch):
    # CharLS 2.4 searches the zeros for five seconds of processor time
    stream = imagecodecs.jpegls_encode(GREY)[:400] + b"\0"
    path = make.dicom(tmp_path / "a", GREY, syntax=uid.JPEGLSLossless, streams=[stream])
    monkeypatch.setattr(imagecodecs, "jpegls_decode", pytest.fail)
    with pytest.raises(DataError, match="without an end marker"):
        read(path)


def test_values_wider_than_the_header_allocates_are_refused(tmp_path):
    path = make.dicom(tmp_path / "a", BYTES, syntax=uid.JPEGLSLossless, streams=[imagecodecs.jpegls_encode(GREY)])
    with pytest.raises(DataError, match="holds 16 bits, its header allocates 8"):
        read(path)


def test_what_is_no_codestream_is_refused(tmp_path):
    path = make.dicom(tmp_path / "a", GREY, syntax=uid.JPEG2000Lossless, streams=[b"no codestream at all"])
    with pytest.raises(DataError, match="neither JPEG"):
        read(path)


def test_an_old_encoders_spectral_selection_is_repaired():
    stream = imagecodecs.jpeg8_encode(BYTES)
    at = stream.index(b"\xff\xda") + 4 + 1 + 2
    assert stream[at : at + 2] == b"\x00\x3f"
    wrong = stream[: at + 1] + b"\x00" + stream[at + 2 :]
    assert repaired(wrong, read_codestream(wrong)) == stream
    assert repaired(stream, read_codestream(stream)) == stream


def test_the_predictor_of_a_lossless_jpeg_is_left_alone():
    stream = ENCODERS[uid.JPEGLossless](GREY)
    assert repaired(stream, read_codestream(stream)) == stream


@pytest.mark.parametrize("shape", [(128, 128), (100, 200), (37, 53), (1000, 17), (256, 512)])
@pytest.mark.parametrize("boxed", [False, True])
def test_the_size_of_a_jpeg_xl_is_read(shape, boxed):
    stream = read_codestream(imagecodecs.jpegxl_encode(np.zeros(shape, np.uint8), usecontainer=boxed))
    assert (stream.rows, stream.columns) == shape


@pytest.mark.parametrize(
    "source", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x04ab", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cJXL "]
)
def test_a_stump_says_nothing_of_itself(source):
    assert read_codestream(source) is None


@pytest.mark.parametrize(("transform", "is_rgb"), [(0, True), (1, False)])
def test_adobes_marker_tells_the_colours(transform, is_rgb):
    plain = without_segment(imagecodecs.jpeg8_encode(COLOUR), b"\xff\xe0")
    adobe = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00" + bytes([transform])
    assert read_codestream(plain[:2] + adobe + plain[2:]).is_rgb is is_rgb


def test_a_jpeg_2000_in_its_container_tells_its_size():
    assert read_codestream(imagecodecs.jpeg2k_encode(BYTES, codecformat="jp2")).rows == 24


def test_a_codestream_of_jpeg_2000_is_found_where_the_boxes_before_it_end():
    bare = imagecodecs.jpeg2k_encode(BYTES, codecformat="j2k")
    boxed = imagecodecs.jpeg2k_encode(BYTES, codecformat="jp2")
    at = boxed.index(b"jp2c") - 4
    far = boxed[:at] + (5008).to_bytes(4, "big") + b"uuid" + b"\xff\x4f\xff\x51" * 1250 + boxed[at:]
    long = boxed[:at] + b"\0\0\0\1jp2c" + (len(boxed) - at + 8).to_bytes(8, "big") + boxed[at + 8 :]
    assert (find_j2k(bare), find_j2k(boxed), find_j2k(far), find_j2k(long)) == (0, at + 8, at + 5016, at + 16)
    assert read_codestream(far).rows == read_codestream(long).rows == 24
    short = boxed[:12] + (4).to_bytes(4, "big") + boxed[at:]
    for wrong in (b"", bare[2:], b"\0" + bare, boxed[:at], boxed[: at + 8], short):
        assert find_j2k(wrong) == -1


def test_simplejpeg_is_never_given_a_lossless_jpeg(monkeypatch):
    # a damaged one crashes it
    given = []
    monkeypatch.setattr("effmed.data.pixels.dicom.codecs.simplejpeg.decode_jpeg", lambda *made: given.append(made))
    for lossless, n_given in ((True, 0), (False, 1)):
        stream = imagecodecs.jpeg8_encode(BYTES, lossless=lossless)
        check_whole(stream, read_codestream(stream))
        assert len(given) == n_given


def test_fill_bytes_and_standalone_markers_are_stepped_over():
    stream = imagecodecs.jpeg8_encode(BYTES)
    assert read_codestream(b"\xff\xd8\xff\xff\xff\x01" + stream[2:]).rows == 24


def test_a_jpeg_without_scan_still_tells_its_size():
    stream = imagecodecs.jpeg8_encode(BYTES)
    assert read_codestream(stream[: stream.index(b"\xff\xda")]).columns == 32


def test_rgb_component_letters_mean_rgb():
    stream = imagecodecs.jpeg8_encode(COLOUR)
    at = stream.index(b"\xff\xc0") + 10
    letters = bytearray(without_segment(stream, b"\xff\xe0"))
    for channel, letter in enumerate(b"RGB"):
        letters[at - (len(stream) - len(letters)) + 3 * channel] = letter
    assert read_codestream(bytes(letters)).is_rgb


def test_registering_twice_changes_nothing():
    register()
    register()
    assert get_decoder(uid.JPEGBaseline8Bit).available_plugins.count(PLUGIN) == 1
    assert is_available(uid.JPEGBaseline8Bit)
