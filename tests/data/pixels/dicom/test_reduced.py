"""JPEG 2000 at a lower resolution; the oracle is the low-pass band of the reversible 5/3 wavelet (T.800 annex F)."""

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from effmed.data.pixels import Preprocessing, preprocess
from effmed.data.pixels.dicom import codecs
from effmed.data.pixels.dicom.codecs import Codestream, _in_place, find_halvings, read_codestream
from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

ENOUGH = (8, 10)  # of a picture of 64 x 80 pixels: a quarter is decoded, 16 x 20
SYNTAXES = (uid.JPEG2000Lossless, uid.JPEG2000)


def ramp(dtype, bits, shape=(64, 80), low=0):
    """Noise on a ramp of values that fill ``bits`` bits from ``low`` up."""
    slope = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) / sum(shape)
    noise = np.random.default_rng(0).random(shape)
    return (low + (0.8 * slope + 0.2 * noise) * ((1 << bits) - 1)).astype(dtype)


def stream_of(values, **options):
    return imagecodecs.jpeg2k_encode(values, **({"level": 0, "codecformat": "j2k", "reversible": True} | options))


def coded(path, values, *, stream=None, syntax=uid.JPEG2000Lossless, **elements):
    return make.dicom(path, values, syntax=syntax, streams=[stream or stream_of(values)], **elements)


def read(path, *, enough=ENOUGH, window="full", frame=0):
    return read_image(path, frame, window=window, max_megapixels=10, enough=enough)


def low_band(values):
    """Low-pass band along the first axis, then along the second."""
    for _ in range(2):
        values = low_pass(values).T
    return values


def low_pass(values):
    x = values.astype(np.int64)
    mirrored = np.concatenate([x, x[-2:-1]]) if len(x) % 2 == 0 else x
    high = mirrored[1::2] - (mirrored[:-1:2] + mirrored[2::2]) // 2
    before, after = np.concatenate([high[:1], high]), np.concatenate([high, high[-1:]])
    n_low = (len(x) + 1) // 2
    return x[::2] + (before[:n_low] + after[:n_low] + 2) // 4


def quarter(values):
    """The low band of the low band, whose value i is about pixel 4 i, moved to the middle of its four, 4 i + 1.5."""
    band = low_band(low_band(values)).astype(float)
    for _ in range(2):
        band = (0.625 * band + 0.375 * np.concatenate([band[1:], band[-1:]])).T
    return np.rint(band)


STORED = [
    (ramp(np.uint16, 16), {}, {}),
    (ramp(np.uint16, 12), {"bitspersample": 12}, {"BitsStored": 12}),
    (ramp(np.uint16, 12), {}, {"BitsStored": 12}),
    (ramp(np.int16, 16, low=-32768), {}, {}),
    (ramp(np.int16, 12, low=-2048), {"bitspersample": 12}, {"BitsStored": 12}),
    (ramp(np.int16, 12, low=-2048), {}, {}),
    (ramp(np.uint8, 8), {}, {}),
    (ramp(np.uint8, 5), {"bitspersample": 5}, {"BitsStored": 5}),
    (ramp(np.int8, 8, low=-128), {}, {}),
    (ramp(np.uint8, 8), {}, {"BitsAllocated": 16, "BitsStored": 8, "PixelRepresentation": 0}),
]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("values", "options", "elements"), STORED)
def test_a_quarter_is_the_low_band_of_the_low_band_in_its_place(tmp_path, values, options, elements, photometric):
    elements = {**elements, "PhotometricInterpretation": photometric, "RescaleSlope": 2, "RescaleIntercept": -7}
    path = coded(tmp_path / "a", values, stream=stream_of(values, **options), **elements)
    image = read(path)
    n_bytes = elements.get("BitsAllocated", values.itemsize * 8) // 8
    plain = make.dicom(tmp_path / "b", quarter(values).astype(f"{values.dtype.kind}{n_bytes}"), **elements)
    assert image.pixels.shape == (16, 20)
    assert np.array_equal(image.pixels, read(plain).pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_high_throughput_jpeg_2000_is_decoded_smaller_too(tmp_path, dtype):
    values = ramp(dtype, 15)
    path = coded(tmp_path / "a", values, stream=imagecodecs.htj2k_encode(values), syntax=uid.HTJ2KLossless)
    wide = quarter(values).astype(dtype)
    assert np.array_equal(read(path).pixels, read(make.dicom(tmp_path / "b", wide)).pixels)


@pytest.mark.parametrize(("mct", "photometric"), [(False, "RGB"), (True, "YBR_RCT")])
def test_colours_are_decoded_smaller(tmp_path, mct, photometric):
    colour = np.stack([ramp(np.uint8, 8), ramp(np.uint8, 8)[::-1], ramp(np.uint8, 7)], axis=-1)
    stream = stream_of(colour, mct=mct)
    path = coded(tmp_path / "a", colour, stream=stream, PhotometricInterpretation=photometric)
    wanted = np.stack([quarter(colour[..., channel]) for channel in range(3)], axis=-1)
    assert np.abs(read(path).pixels.astype(int) - wanted).max() <= (4 if mct else 0)  # mct rounds before


def test_lossy_colours_are_decoded_smaller(tmp_path):
    smooth = np.stack([np.add.outer(np.arange(64), np.arange(80)), *[np.full((64, 80), 90)] * 2], axis=-1)
    stream = stream_of(smooth.astype(np.uint8), level=60, mct=True, reversible=False)
    elements = {"syntax": uid.JPEG2000, "PhotometricInterpretation": "YBR_ICT"}
    path = coded(tmp_path / "a", smooth.astype(np.uint8), stream=stream, **elements)
    image = read(path)
    assert image.pixels.shape == (16, 20, 3)
    assert np.abs(image.pixels.astype(int) - (smooth[::4, ::4] + [3, 0, 0])).max() <= 6


def test_the_frame_that_is_asked_for_is_decoded(tmp_path):
    frames = np.stack([ramp(np.uint16, 16), ramp(np.uint16, 16)[::-1]])
    streams = [stream_of(np.ascontiguousarray(frame)) for frame in frames]
    path = make.dicom(tmp_path / "a", frames, syntax=uid.JPEG2000Lossless, streams=streams)
    for frame in (0, 1):
        wide = quarter(frames[frame]).astype(np.uint16)
        assert np.array_equal(read(path, frame=frame).pixels, read(make.dicom(tmp_path / "b", wide)).pixels)


def test_by_default_everything_is_decoded_whole(tmp_path):
    image = read(coded(tmp_path / "a", ramp(np.uint16, 16)), enough=None)
    assert (image.pixels.shape, image.full_size, image.size) == ((64, 80), None, (64, 80))


@pytest.mark.parametrize(("signed_header", "dtype"), [(1, np.uint16), (0, np.int16)])
def test_a_sign_that_only_header_or_stream_knows_means_decoding_whole(tmp_path, signed_header, dtype):
    values = (np.indices((64, 80)).sum(axis=0) % 2 - 1).astype(np.int16)  # 0 and -1, hence 0 and 65535 without a sign
    stream = stream_of(values.view(dtype))
    path = coded(tmp_path / "a", values, stream=stream, PixelRepresentation=signed_header)
    whole = read(path, enough=None)
    assert np.array_equal(read(path).pixels, whole.pixels)
    assert whole.pixels.shape == (64, 80)


def test_indices_of_a_palette_are_never_averaged(tmp_path):
    indices, entries = ramp(np.uint8, 8), (np.arange(256) * 257).astype("<u2").tobytes()
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", entries))
    }
    path = coded(tmp_path / "a", indices, PhotometricInterpretation="PALETTE COLOR", **palette)
    assert np.array_equal(read(path).pixels, indices)


@pytest.mark.parametrize(
    ("photometric", "padding", "slope", "is_whole"),
    [
        ("MONOCHROME2", 0, 1, False),
        ("MONOCHROME2", 65535, 1, True),
        ("MONOCHROME1", 0, 1, True),
        ("MONOCHROME1", 65535, 1, False),
        ("MONOCHROME2", 0, -1, True),
    ],
)
def test_padding_that_would_leave_a_bright_rim_means_decoding_whole(tmp_path, photometric, padding, slope, is_whole):
    values = ramp(np.uint16, 12, low=9000)
    values[:, :30] = padding
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": padding, "RescaleSlope": slope}
    image = read(coded(tmp_path / "a", values, **elements))
    assert image.pixels.shape == ((64, 80) if is_whole else (16, 20))
    whole = read(make.dicom(tmp_path / "b", values, **elements))
    if is_whole:
        assert np.array_equal(image.pixels, whole.pixels)
    else:
        assert image.pixels[:, 7].max() <= whole.pixels[:, 31:].max()


def test_the_smaller_picture_takes_several_windows(tmp_path):
    image = read(coded(tmp_path / "a", ramp(np.uint16, 12)), window="500/900,2000/4000")
    assert (image.pixels.shape, image.full_size, image.has_windows) == ((16, 20, 2), (64, 80), True)


def failing(*_args):
    raise OSError("broken data stream")


def test_where_the_smaller_picture_fails_the_whole_is_decoded(tmp_path, monkeypatch):
    path = coded(tmp_path / "a", ramp(np.uint16, 16))
    monkeypatch.setattr(codecs, "Jpeg2KImageFile", failing)
    assert np.array_equal(read(path).pixels, read(path, enough=None).pixels)


def test_a_smaller_picture_of_another_size_is_not_taken(tmp_path, monkeypatch):
    path = coded(tmp_path / "a", ramp(np.uint16, 16))
    monkeypatch.setattr(codecs, "_decode_smaller", lambda *_: np.zeros((3, 4), np.uint16))
    assert np.array_equal(read(path).pixels, read(path, enough=None).pixels)


def test_a_codestream_of_another_size_is_refused_as_ever(tmp_path, monkeypatch):
    path = coded(tmp_path / "a", ramp(np.uint16, 16), Rows=65)
    for module, name in ((codecs, "Jpeg2KImageFile"), (imagecodecs, "jpeg2k_decode")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match="codestream is 64 x 80 pixels, its header says 65 x 80"):
        read(path)


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.6, 0.99])
def test_a_codestream_that_is_cut_off_is_refused_even_where_the_low_band_is_whole(tmp_path, kept):
    whole = stream_of(ramp(np.uint16, 16, (256, 320)))
    cut = whole[: int(len(whole) * kept)]
    with pytest.raises(DataError):
        read(coded(tmp_path / "a", ramp(np.uint16, 16, (256, 320)), stream=cut))


def test_a_frame_that_is_missing_is_refused(tmp_path):
    frames = np.stack([ramp(np.uint16, 16)] * 2)
    path = make.dicom(tmp_path / "a", frames, syntax=uid.JPEG2000Lossless, streams=[stream_of(frames[0])])
    reasons = []
    for enough in (None, ENOUGH):
        with pytest.raises(DataError) as caught:
            read(path, frame=1, enough=enough)
        reasons.append(caught.value.problem)
    assert reasons[0] == reasons[1]


def test_other_codecs_are_decoded_whole(tmp_path):
    values = ramp(np.uint16, 16)
    path = coded(tmp_path / "a", values, stream=imagecodecs.jpegls_encode(values), syntax=uid.JPEGLSLossless)
    assert read(path).pixels.shape == (64, 80)


@pytest.mark.parametrize(
    ("values", "options", "halvings"),
    [
        (np.zeros((64, 80), np.uint8), {"resolutions": 3}, 2),
        (np.zeros((64, 80), np.uint8), {"resolutions": 1}, 0),
        (np.zeros((64, 80), np.uint8), {"codecformat": "jp2"}, 0),
        (np.zeros((64, 80), np.uint32), {"bitspersample": 20}, 0),
        (np.zeros((64, 80, 3), np.uint16), {}, 0),
        (np.zeros((64, 80, 4), np.uint8), {}, 0),
    ],
)
def test_the_codestream_tells_how_often_it_can_be_halved(values, options, halvings):
    assert read_codestream(stream_of(values, **options)).halvings == halvings


def test_channels_that_differ_or_are_subsampled_are_decoded_whole():
    whole = stream_of(np.zeros((64, 80, 3), np.uint8))
    kinds = whole.index(b"\x07\x01\x01" * 3)
    assert read_codestream(whole).halvings == 3
    for at, value in ((3, 0x0B), (1, 2), (0, 0x87)):
        channels = range(0, 9, 3) if at < 3 else (3,)
        changed = bytearray(whole)
        for channel in channels:
            changed[kinds + channel + at % 3] = value
        assert read_codestream(bytes(changed)).halvings == 0


@pytest.mark.parametrize("marker", [b"\xff\x52", b"\xff\x90"])
def test_a_codestream_that_ends_before_its_coding_style_is_decoded_whole(marker):
    whole = stream_of(np.zeros((64, 80), np.uint8))
    at = whole.index(b"\xff\x52")
    assert read_codestream(whole[:at]).halvings == 0
    assert read_codestream(whole[:at] + marker).halvings == 0
    assert read_codestream(whole[:at] + b"\xff\x90\x00\x0a" + bytes(8) + whole[at:]).halvings == 0


@given(
    rows=st.integers(1, 600),
    columns=st.integers(1, 600),
    least=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    most=st.integers(0, 6),
)
def test_the_lowest_resolution_that_is_enough_is_found(rows, columns, least, most):
    stream = Codestream(rows, columns, halvings=most)
    found = find_halvings(stream, least)
    assert 0 <= found <= most
    if found:
        assert all(side >= wanted for side, wanted in zip(stream.size(found), least, strict=True))
    elif most and rows >= 2 * least[0] and columns >= 2 * least[1]:
        pytest.fail("it could have been halved")


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 70), columns=st.integers(1, 70))
def test_pillow_decodes_every_resolution_that_is_chosen(rows, columns):
    source = stream_of(np.zeros((rows, columns), np.uint8), resolutions=4)
    stream = read_codestream(source)
    for least in (1, 2, 3, 5, 9):
        if halvings := find_halvings(stream, (least, least)):
            assert codecs._decode_smaller(source, stream, halvings).shape == stream.size(halvings)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(16, 200),
    columns=st.integers(16, 200),
    box=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    spacing=st.sampled_from([[1, 1], [2, 1], [1, 3]]),
)
def test_what_is_decoded_is_at_least_twice_the_letterboxed_picture_and_letterboxed_alike(
    tmp_path_factory, rows, columns, box, spacing
):
    values = np.full((rows, columns), 40000, np.uint16)
    path = coded(tmp_path_factory.mktemp("r") / "a", values, PixelSpacing=spacing)
    spec = Preprocessing(
        height=box[0],
        width=box[1],
        channels=1,
        depth="uint16",
        window="full",
        max_megapixels=1,
        reduced_decode=True,
    )
    image, whole = read(path, enough=spec.enough), read(path, enough=None)
    boxed = preprocess(whole, spec)
    fitted = np.count_nonzero(boxed.max(axis=1)), np.count_nonzero(boxed.max(axis=0))
    assert all(
        side >= min(2 * wanted, most)
        for side, wanted, most in zip(image.pixels.shape, fitted, values.shape, strict=True)
    )
    assert image.size == (rows, columns)
    assert np.array_equal(preprocess(image, spec), boxed)


@pytest.mark.parametrize(
    ("rows", "columns", "halvings"), [(8, 64, 1), (9, 64, 1), (64, 9, 1), (22, 19, 2), (50, 43, 3)]
)
def test_every_pixel_of_the_smaller_picture_is_about_its_middle_in_the_whole(rows, columns, halvings):
    stream = Codestream(rows, columns)
    height, width = stream.size(halvings)
    down, right = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for band, n_whole, n_band in ((down, rows, height), (right.T, columns, width)):
        about = (band << halvings) * 1000  # where value i of the band lies in the whole, in thousandths of a pixel
        moved = _in_place(about if band is down else about.T, stream, halvings)
        found = (moved if band is down else moved.T)[:, 0]
        middles = (np.arange(n_band) + 0.5) * n_whole / n_band - 0.5
        inside = middles <= (n_band - 1 << halvings)
        assert np.abs(found - 1000 * middles)[inside].max() <= 20 << halvings


@pytest.mark.parametrize("shape", [(640, 640), (641, 639)])
@pytest.mark.parametrize("side", [160, 80, 40])
def test_decoding_smaller_does_not_move_the_picture(tmp_path, shape, side):
    distance = np.hypot(np.arange(shape[0])[:, np.newaxis] - 301, np.arange(shape[1]) - 257)
    path = coded(tmp_path / "a", (60000 * np.exp(-((distance / 60) ** 2))).astype(np.uint16))
    centres = []
    for enough in (None, (side, side)):
        pixels = cv2.resize(read(path, enough=enough).pixels, (side, side), interpolation=cv2.INTER_AREA).astype(float)
        centres.append([(np.arange(side) * pixels.sum(axis=axis)).sum() / pixels.sum() for axis in (0, 1)])
    assert centres[0] == pytest.approx(centres[1], abs=0.02)


def test_decoding_smaller_changes_little_after_preprocessing(tmp_path):
    shape = (1000, 801)
    smooth = np.abs(np.sin(np.outer(np.arange(shape[0]), np.arange(shape[1])) / 90000)) * 60000
    path = coded(tmp_path / "a", smooth.astype(np.uint16))
    spec = Preprocessing(
        height=224, width=224, channels=1, depth="uint16", window="stored", max_megapixels=1, reduced_decode=True
    )
    small = preprocess(read(path, enough=spec.enough, window="stored"), spec).astype(float)
    whole = preprocess(read(path, enough=None, window="stored"), spec)
    assert 0 < np.abs(small - whole).mean() < 0.002 * 65535


def test_without_reduced_decoding_there_is_never_enough():
    spec = Preprocessing(height=9, width=7, channels=1, depth="uint8", window="stored", max_megapixels=1)
    assert spec.enough is None
    assert spec.model_copy(update={"reduced_decode": True}).enough == (9, 7)
