"""Files that are cut off, lie, explode, never end or stand in the way: refused in time, and never half read."""

import io
import os
import struct
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from effmed.data.pixels import Preprocessing, preprocess, read_header, read_image, sniff
from effmed.data.pixels.dicom import dataset
from effmed.data.pixels.dicom.dataset import meta_syntax
from effmed.errors import DataError
from tests.data.pixels import make
from tests.data.pixels.test_fuzz import (
    DEFLATE_END,
    MIB_OF_ZEROS,
    VRS,
    coded_seeds,
    elements,
    flushed,
    memory,
    native_seeds,
    raster_seeds,
    write_seeds,
    zeros,
)

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)
BYTES = np.arange(48, dtype=np.uint8).reshape(6, 8)
MIB = 1 << 20
MAX_MEGAPIXELS = 200
SPEC = Preprocessing(height=8, width=8, channels=1, depth="uint8", window="stored", max_megapixels=MAX_MEGAPIXELS)


def image_of(path, frame=0):
    return read_image(path, frame, window="stored", max_megapixels=MAX_MEGAPIXELS)


@contextmanager
def little_memory(limit=64 * MIB):
    """Fail where more than so much is taken, by whatever library; measured on Linux only."""
    forget = Path("/proc/self/clear_refs")
    if not forget.exists():
        yield
        return
    forget.write_text("5")
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < limit


# ---------------------------------------------------------------- cut off


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    write_seeds(folder)
    return {path.name: path for path in folder.iterdir() if "real" not in path.name}


NAMES = sorted(
    [f"dicom-{made[0]}" for made in (*native_seeds(), *coded_seeds())] + [made[0] for made in raster_seeds()]
)


@pytest.fixture(scope="module")
def whole(seeds):
    return {name: image_of(path).pixels for name, path in seeds.items()}


@settings(max_examples=300)
@given(st.sampled_from(NAMES), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_refused_or_has_the_same_pixels(seeds, whole, name, kept):
    data = seeds[name].read_bytes()
    path = seeds[name].with_name("cut")
    path.write_bytes(data[: int(len(data) * kept)])
    try:
        pixels = image_of(path).pixels
    except DataError:
        return
    assert np.array_equal(pixels, whole[name])


@pytest.mark.parametrize("kept", [0.4, 0.7, 0.95])
@pytest.mark.parametrize("kind", ["jpeg", "dicom"])
def test_a_jpeg_that_was_cut_off_and_closed_by_an_end_marker_is_refused(tmp_path, kind, kept):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80)).astype(np.uint8)
    stream = imagecodecs.jpeg8_encode(pixels)
    stream = stream[: int(len(stream) * kept)] + b"\xff\xd9"
    path = tmp_path / "a"
    path.write_bytes(stream)
    if kind == "dicom":
        make.dicom(path, pixels, syntax=uid.JPEGBaseline8Bit, streams=[stream])
    with pytest.raises(DataError):
        image_of(path)


@pytest.mark.parametrize("kind", ["jpeg", "dicom"])
def test_a_jpeg_that_claims_more_rows_than_it_holds_is_refused(tmp_path, kind):
    stream = bytearray(imagecodecs.jpeg8_encode(BYTES))
    struct.pack_into(">H", stream, stream.find(b"\xff\xc0") + 5, 64)
    path = tmp_path / "a"
    path.write_bytes(stream)
    if kind == "dicom":
        make.dicom(path, BYTES, syntax=uid.JPEGBaseline8Bit, streams=[bytes(stream)], Rows=64)
    with pytest.raises(DataError):
        image_of(path)


@pytest.mark.parametrize("n_bytes", [0, 1, 3, 8, 131, 132])
def test_a_file_of_next_to_nothing_is_refused(tmp_path, n_bytes):
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(128)[:n_bytes] + b"DICM"[: max(n_bytes - 128, 0)])
    for reader in (read_header, image_of):
        with pytest.raises(DataError):
            reader(path)


# ---------------------------------------------------------------- claims


def png_of(width, height):
    plain = io.BytesIO()
    PIL.Image.fromarray(BYTES).save(plain, "png")
    data = bytearray(plain.getvalue())
    struct.pack_into(">II", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def tiff_of(width, height):
    plain = io.BytesIO()
    PIL.Image.fromarray(BYTES).save(plain, "tiff")
    data = bytearray(plain.getvalue())
    for tag, number in ((256, width), (257, height)):
        at = data.find(struct.pack("<HHI", tag, 4, 1))
        at = at if at > 0 else data.find(struct.pack("<HHI", tag, 3, 1))
        struct.pack_into("<HHII", data, at, tag, 4, 1, number)
    return bytes(data)


def bmp_of(width, height):
    plain = io.BytesIO()
    PIL.Image.fromarray(BYTES).save(plain, "bmp")
    data = bytearray(plain.getvalue())
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


def webp_of(width, height):
    """The lossless header: 14 bits less one for either side."""
    plain = io.BytesIO()
    PIL.Image.fromarray(BYTES).convert("RGB").save(plain, "webp", lossless=True)
    data = bytearray(plain.getvalue())
    at = data.find(b"VP8L") + 9
    bits = struct.unpack_from("<I", data, at)[0] >> 28 << 28
    struct.pack_into("<I", data, at, bits | (width - 1) | (height - 1) << 14)
    return bytes(data)


def jpeg_of(width, height):
    data = bytearray(imagecodecs.jpeg8_encode(BYTES))
    struct.pack_into(">HH", data, data.find(b"\xff\xc0") + 5, height, width)
    return bytes(data)


CLAIMS = {
    "png": png_of(100_000, 100_000),
    "tiff": tiff_of(100_000, 100_000),
    "bmp": bmp_of(100_000, 100_000),
    "webp": webp_of(16383, 16383),
    "jpeg": jpeg_of(65500, 65500),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_picture_that_claims_to_be_huge_is_refused_before_anything_is_allocated(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(CLAIMS[kind])
    assert sniff(path) == kind
    with little_memory():
        for reader in (image_of, lambda path: read_header(path, max_megapixels=MAX_MEGAPIXELS)):
            with pytest.raises(DataError, match="megapixels"):
                reader(path)


@pytest.mark.parametrize("kind", CLAIMS)
def test_the_header_of_a_picture_that_claims_to_be_huge_takes_no_memory(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(CLAIMS[kind])
    with little_memory():
        assert read_header(path).rows > 16000


CODED = {name: (syntax, pixels, encode) for name, syntax, pixels, encode in coded_seeds() if pixels.ndim == 2}


@pytest.mark.parametrize("claim", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2_000_000_000}])
@pytest.mark.parametrize("name", ["native", "big", "deflated", *CODED])
def test_dicom_that_claims_to_be_huge_is_refused_before_anything_is_allocated(tmp_path, name, claim):
    made = {
        "native": {"pixels": RAMP},
        "big": {"pixels": RAMP, "syntax": uid.ExplicitVRBigEndian},
        "deflated": {"pixels": RAMP, "syntax": uid.DeflatedExplicitVRLittleEndian},
    }
    for coded, (syntax, pixels, encode) in CODED.items():
        made[coded] = {"pixels": pixels, "syntax": syntax, "streams": [encode(pixels)]}
    path = make.dicom(tmp_path / "a", **made[name], **claim)
    with little_memory():
        for reader in (image_of, lambda path: read_header(path, max_megapixels=MAX_MEGAPIXELS)):
            with pytest.raises(DataError, match="megapixels"):
                reader(path)


# ---------------------------------------------------------------- bombs


def with_data_set(path, data, syntax=uid.DeflatedExplicitVRLittleEndian):
    """Replace the data set of a small file by bytes."""
    whole = make.dicom(path, RAMP, syntax=syntax).read_bytes()
    path.write_bytes(whole[: meta_syntax(whole)[1]] + data)
    return path


def header_bytes(path, **options):
    """The data set of a small file, without its pixels' bytes, which may follow in any number."""
    whole = make.dicom(path, RAMP, **options).read_bytes()
    return whole[meta_syntax(whole)[1] : whole.rfind(b"\xe0\x7f\x10\x00")]


@pytest.mark.parametrize("reader", [read_header, image_of])
def test_zeros_that_inflate_without_end_are_refused(tmp_path, reader):
    path = with_data_set(tmp_path / "a", MIB_OF_ZEROS * 2000 + DEFLATE_END)
    with little_memory(300 * MIB), pytest.raises(DataError, match="zero from some byte on"):
        reader(path)


def test_pixels_that_inflate_without_end_are_inflated_as_far_as_the_header_needs(tmp_path):
    head = header_bytes(tmp_path / "plain") + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 2**31 - 2)
    path = with_data_set(tmp_path / "a", flushed(head) + MIB_OF_ZEROS * 2047 + DEFLATE_END)
    with little_memory(300 * MIB):
        assert read_header(path).rows == 6
        assert image_of(path).pixels.shape == (6, 8)


@pytest.mark.parametrize("reader", [read_header, image_of])
def test_a_deflated_syntax_that_only_pydicom_finds_is_not_inflated(tmp_path, reader):
    path = with_data_set(tmp_path / "a", MIB_OF_ZEROS * 2000 + DEFLATE_END)
    data = path.read_bytes()
    at = data.find(b"\x02\x00\x10\x00UI")
    filler = b"\x02\x00\x02\x01OB\0\0" + struct.pack("<I", 70_000) + bytes(70_000)  # longer than what is looked at
    path.write_bytes(data[:132] + data[144:at] + filler + data[at:])  # and without the length of the group
    with little_memory(300 * MIB), pytest.raises(DataError):
        reader(path)


@pytest.mark.parametrize("reader", [read_header, image_of])
def test_a_copy_that_was_never_finished_and_is_zero_from_some_byte_on_is_refused(tmp_path, reader):
    whole = make.dicom(tmp_path / "a", RAMP).read_bytes()
    path = tmp_path / "b"
    with path.open("wb") as file:
        file.write(whole[: meta_syntax(whole)[1]])
        file.truncate(1 << 28)
    with little_memory(300 * MIB), pytest.raises(DataError, match="zero from some byte on"):
        reader(path)


@pytest.mark.parametrize("reader", [read_header, image_of])
def test_a_header_of_more_elements_than_any_real_one_is_refused(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_READS", 1000)
    few, many = (
        b"".join(struct.pack("<HH2sH", 9, k, b"LO", 0) for k in range(0x1000, 0x1000 + n)) for n in (100, 2000)
    )
    head = header_bytes(tmp_path / "b")
    at = head.find(b"\x10\x00\x20\x00")
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 96) + RAMP.tobytes()
    path = with_data_set(tmp_path / "a", flushed(head[:at] + few + head[at:] + pixels) + DEFLATE_END)
    reader(path)
    path = with_data_set(tmp_path / "a", flushed(head[:at] + many + head[at:] + pixels) + DEFLATE_END)
    with pytest.raises(DataError, match="larger than any real one"):
        reader(path)


@pytest.mark.parametrize("length", [2**32 - 2, 2**31, 2**30 + 2])
def test_an_element_that_claims_gigabytes_is_refused(tmp_path, length):
    head = b"\x08\x00\x08\x00UT\0\0" + struct.pack("<I", length)
    path = with_data_set(tmp_path / "a", head + bytes(1000), uid.ExplicitVRLittleEndian)
    with little_memory():
        for reader in (read_header, image_of):
            with pytest.raises(DataError, match="larger than any real one"):
                reader(path)


@pytest.mark.parametrize("chunk", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_inside_a_png_that_explodes_takes_no_memory(tmp_path, chunk):
    plain = io.BytesIO()
    PIL.Image.fromarray(BYTES).save(plain, "png")
    data = plain.getvalue()
    body = chunk + b"Comment\0" + (b"\1\0\0\0" if chunk == b"iTXt" else b"\0") + zeros(1000)
    bomb = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path = tmp_path / "a"
    path.write_bytes(data[:33] + bomb + data[33:])
    with little_memory():
        for reader in (read_header, image_of):
            with suppress(DataError):
                reader(path)


def test_pixels_of_a_png_that_explode_are_inflated_as_far_as_the_header_needs(tmp_path):
    plain = io.BytesIO()
    PIL.Image.fromarray(BYTES).save(plain, "png")
    data = plain.getvalue()
    at = data.find(b"IDAT")
    body = b"IDAT" + zeros(2000)
    bomb = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path = tmp_path / "a"
    path.write_bytes(data[: at - 4] + bomb + data[-12:])
    with little_memory(), suppress(DataError):
        assert image_of(path).pixels.shape == (6, 8)


@pytest.mark.parametrize("ends", ["open", "closed", "counted"])
@pytest.mark.parametrize("depth", [1000, 10_000, 100_000])
def test_sequences_nested_without_end_are_refused(tmp_path, depth, ends):
    opening = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nested = opening * depth
    if ends == "closed":
        nested += b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    if ends == "counted":
        sizes = [20 * k for k in range(depth, 0, -1)]
        form = struct.Struct("<8sI4sI")
        nested = b"".join(form.pack(opening[:8], size - 12, opening[12:16], size - 20) for size in sizes)
    path = with_data_set(tmp_path / "a", nested + header_bytes(tmp_path / "b"), uid.ExplicitVRLittleEndian)
    with little_memory(200 * MIB):
        for reader in (read_header, image_of):
            with pytest.raises(DataError):
                reader(path)


# ---------------------------------------------------------------- lies


@pytest.mark.parametrize("name", ["explicit", "voi-lut", "enhanced", "palette", "j2k", "rle"])
def test_elements_of_another_kind_than_the_standards_are_images_or_reasons(seeds, name):
    data = seeds[f"dicom-{name}"].read_bytes()
    path = seeds[f"dicom-{name}"].with_name("vr")
    for _, at, _, _ in elements(data):
        for vr in VRS:
            path.write_bytes(data[: at + 4] + vr + data[at + 6 :])
            for reader in (read_header, image_of):
                with suppress(DataError):
                    reader(path)


EXTREME = ["nan", "inf", "-inf", "1e308", "-1e308", "1e-308", "0", "-1", "1e20", "abc", ""]


NUMBERS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelSpacing")
CASES = [(keyword, text) for keyword in NUMBERS for text in EXTREME]


@pytest.mark.parametrize(("keyword", "text"), CASES)
def test_numbers_that_no_scanner_writes_are_images_or_reasons(tmp_path, keyword, text):
    marker = "7.654321"
    made = {"WindowCenter": "20", "WindowWidth": "30", "RescaleSlope": "2", "RescaleIntercept": "-5"}
    made |= {keyword: [marker, "1"] if keyword == "PixelSpacing" else marker}
    path = make.dicom(tmp_path / "a", RAMP, **made)
    path.write_bytes(path.read_bytes().replace(marker.encode(), text.encode().ljust(len(marker)), 1))
    with suppress(DataError):
        assert preprocess(image_of(path), SPEC).shape == (8, 8)


# ---------------------------------------------------------------- places and names


def test_a_link_to_itself_is_refused(tmp_path):
    path = tmp_path / "a.dcm"
    path.symlink_to(path)
    assert sniff(path) == ""
    for reader in (read_header, image_of):
        with pytest.raises(DataError):
            reader(path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/dev/full"])
def test_a_link_to_a_device_is_never_read(tmp_path, device):
    path = tmp_path / "a.dcm"
    path.symlink_to(device)
    assert sniff(path) == ""
    for reader in (read_header, image_of):
        with pytest.raises(DataError):
            reader(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused_with_the_way_to_allow_it(tmp_path):
    path = make.dicom(tmp_path / "a.dcm", RAMP)
    path.chmod(0)
    for reader in (read_header, image_of):
        with pytest.raises(DataError, match="no permission"):
            reader(path)


@pytest.mark.parametrize("name", [b"two\nlines", b"\xff\xfe\x80.dcm", b"-rf", b"a\tb", b"\xe2\x80\xae.dcm", b"x" * 255])
def test_any_name_that_a_file_can_have_is_read(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    try:
        make.dicom(path, RAMP)
    except (OSError, ValueError):
        pytest.skip("this file system knows no such name")
    assert read_header(path).rows == 6
    assert image_of(path).pixels.shape == (6, 8)
