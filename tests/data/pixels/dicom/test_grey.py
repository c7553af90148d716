import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def read(path, window="stored", frame=0):
    return read_image(path, frame, window=window, max_megapixels=10)


def levels(intensity):
    return np.rint(np.clip(intensity, 0, 1) * 65535).astype(np.uint16)


@settings(max_examples=25, deadline=None)
@given(
    signed=st.booleans(),
    inverse=st.booleans(),
    rescale=st.tuples(st.sampled_from([1.0, -2.5, 0.125]), st.integers(-1024, 100)),
    center=st.integers(-500, 2500),
    width=st.integers(2, 4000),
)
def test_the_table_is_exactly_the_chain_in_floats(tmp_path_factory, signed, inverse, rescale, center, width):
    slope, intercept = rescale
    pixels = RAMP.astype(np.int16) - 2048 if signed else RAMP
    path = make.dicom(
        tmp_path_factory.mktemp("grey") / "a.dcm",
        pixels & 0xFFF if signed else pixels,
        BitsStored=12,
        PixelRepresentation=int(signed),
        PhotometricInterpretation="MONOCHROME1" if inverse else "MONOCHROME2",
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=center,
        WindowWidth=width,
    )
    modality = pixels.astype(np.float64) * slope + intercept
    intensity = np.clip((modality - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    assert np.array_equal(read(path).pixels, levels(1 - intensity if inverse else intensity))


def test_the_files_first_window_is_taken_and_named(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, BitsStored=12, WindowCenter=[1000, 40], WindowWidth=[500, 400])
    provenance = read(path).provenance
    assert (provenance.window, provenance.window_origin) == ("1000/500", "file")


def test_the_recipes_window_wins(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, WindowCenter=1000, WindowWidth=500)
    image = read(path, "2048/4096")
    assert (image.provenance.window, image.provenance.window_origin) == ("2048/4096", "recipe")
    assert image.pixels[-1, -1] == 65535


def test_without_a_window_the_percentiles_are_taken_and_told(tmp_path):
    provenance = read(make.dicom(tmp_path / "a", RAMP)).provenance
    assert (provenance.window, provenance.window_origin) == ("p0.5-p99.5 = 20..4075", "percentile")


def test_the_full_window_is_the_range_of_the_stored_bits(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, BitsStored=12, WindowCenter=40, WindowWidth=4)
    assert np.array_equal(read(path, "full").pixels, levels(RAMP / 4095))


def test_the_full_window_of_signed_values_begins_at_the_lowest(tmp_path):
    pixels = np.array([[-32768, 0, 32767]], dtype=np.int16)
    assert read(make.dicom(tmp_path / "a", pixels), "full").pixels.tolist() == [[0, 32768, 65535]]


@pytest.mark.parametrize("signed", [False, True])
def test_the_full_window_of_32_bits_is_that_of_the_container(tmp_path, signed):
    dtype = np.int32 if signed else np.uint32
    ends = np.iinfo(dtype)
    path = make.dicom(tmp_path / "a", np.array([[ends.min, ends.max]], dtype=dtype))
    assert read(path, "full").pixels.tolist() == [[0, 65535]]


def test_a_window_without_width_is_passed_over(tmp_path):
    assert (
        read(make.dicom(tmp_path / "a", RAMP, WindowCenter=5, WindowWidth=0)).provenance.window_origin == "percentile"
    )


def test_12_bits_keep_4096_grey_levels(tmp_path):
    assert len(np.unique(read(make.dicom(tmp_path / "a", RAMP, BitsStored=12), "full").pixels)) == 4096


def test_8_bits_stay_8_bits(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = read(make.dicom(tmp_path / "a", pixels, WindowCenter=128, WindowWidth=256))
    assert image.pixels.dtype == np.uint8
    assert np.array_equal(image.pixels, pixels)


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME1", None), ("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "INVERSE")]
)
def test_inversion_happens_once(tmp_path, photometric, shape):
    elements = {} if shape is None else {"PresentationLUTShape": shape}
    path = make.dicom(tmp_path / "a", RAMP, BitsStored=12, PhotometricInterpretation=photometric, **elements)
    assert np.array_equal(read(path, "full").pixels, levels(1 - RAMP / 4095))


def test_overlay_bits_above_the_value_are_masked(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP | 0xC000, BitsStored=12)
    assert np.array_equal(read(path, "full").pixels, levels(RAMP / 4095))


def test_values_in_the_upper_bits_are_shifted_down(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(read(path, "full").pixels, levels(RAMP / 4095))


def test_padding_is_black_and_left_out_of_the_percentiles(tmp_path):
    pixels = np.full((20, 20), 500, dtype=np.int16)
    pixels[5:, :] = np.arange(300, dtype=np.int16).reshape(15, 20)
    pixels[:3] = -2000
    image = read(make.dicom(tmp_path / "a", pixels, PixelPaddingValue=-2000))
    assert image.pixels[:3].max() == 0
    assert image.provenance.window == "p0.5-p99.5 = 1..500"


def test_padding_of_monochrome1_is_black_too(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, BitsStored=12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    assert read(path, "full").pixels[0, :2].tolist() == [0, 65519]


def test_padding_may_be_a_range_in_either_order(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, BitsStored=12, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000)
    pixels = read(path, "full").pixels.ravel()
    assert pixels[4000:].max() == 0
    assert pixels[3999] > 0


def test_rescale_may_lack_its_intercept(tmp_path):
    path = make.dicom(tmp_path / "a", np.array([[0, 10]], dtype=np.uint16), RescaleSlope=2)
    assert read(path, "10.5/21").pixels.tolist() == [[0, 65535]]


@pytest.mark.parametrize("slope", ["0", "1e308", "nan"])
def test_a_rescale_that_gives_no_values_is_refused(tmp_path, slope):
    path = make.dicom(tmp_path / "a", RAMP, RescaleSlope="1", RescaleIntercept="0")
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x53\x10DS")
    text = slope.ljust(6).encode()
    path.write_bytes(data[: at + 6] + b"\x06\x00" + text + data[at + 10 :])
    with pytest.raises(DataError, match="rescale slope"):
        read(path)


def test_a_modality_lut_is_applied_before_the_window(tmp_path):
    entries = [0, 150, 1000, 10]
    path = make.dicom(
        tmp_path / "a", np.array([[4, 5, 6, 7, 9]], dtype=np.uint16), ModalityLUTSequence=make.lut(4, entries)
    )
    assert read(path, "500.5/1001").pixels.tolist() == [levels(np.array([0, 0.15, 1, 0.01, 0.01])).tolist()]


def test_a_modality_lut_of_signed_values_does_not_wrap(tmp_path):
    pixels = np.array([[-3, -1, 0, 1]], dtype=np.int16)
    path = make.dicom(tmp_path / "a", pixels, ModalityLUTSequence=make.lut(-2, [0, 10, 20, 30]))
    assert read(path, "15.5/31").pixels.tolist() == [levels(np.array([0, 1 / 3, 2 / 3, 1])).tolist()]


@pytest.mark.parametrize("is_xa", [False, True])
def test_the_modality_lut_of_an_angiogram_is_not_for_display(tmp_path, is_xa):
    pixels = np.array([[0, 1]], dtype=np.uint16)
    kind = uid.XRayAngiographicImageStorage if is_xa else uid.SecondaryCaptureImageStorage
    path = make.dicom(tmp_path / "a", pixels, SOPClassUID=kind, ModalityLUTSequence=make.lut(0, [1, 0]))
    assert read(path).pixels.tolist() == ([[0, 65535]] if is_xa else [[65535, 0]])


def test_a_voi_lut_wins_over_the_window(tmp_path):
    path = make.dicom(
        tmp_path / "a",
        np.array([[9, 10, 11, 12]], dtype=np.uint16),
        WindowCenter=5,
        WindowWidth=2,
        VOILUTSequence=make.lut(10, [255, 128, 0], bits=8),
    )
    image = read(path)
    assert image.pixels.tolist() == [levels(np.array([1, 1, 128 / 255, 0])).tolist()]
    assert (image.provenance.window, image.provenance.window_origin) == ("lut", "file")


def test_a_voi_lut_of_bytes_in_words_has_all_its_entries(tmp_path):
    entries = np.arange(512) // 2
    path = make.dicom(
        tmp_path / "a",
        np.array([[0, 256, 511]], dtype=np.uint16),
        VOILUTSequence=make.lut(0, entries, bits=8, value=entries.astype(np.uint8).tobytes(), data_vr="OW"),
    )
    assert read(path).pixels.tolist() == [levels(np.array([0, 128 / 255, 1])).tolist()]


def test_a_voi_lut_that_says_16_bits_and_holds_12_reaches_white(tmp_path):
    path = make.dicom(tmp_path / "a", np.array([[0, 1]], dtype=np.uint16), VOILUTSequence=make.lut(0, [0, 4095]))
    assert read(path).pixels.tolist() == [[0, 65535]]


def test_an_empty_voi_lut_is_passed_over(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, VOILUTSequence=make.item(LUTExplanation="none"))
    assert read(path).provenance.window_origin == "percentile"


def test_a_voi_lut_without_descriptor_is_passed_over(tmp_path):
    sequence = make.lut(0, [0, 1])
    del sequence[0].LUTDescriptor
    assert read(make.dicom(tmp_path / "a", RAMP, VOILUTSequence=sequence)).provenance.window_origin == "percentile"


@pytest.mark.parametrize("place", ["frame", "shared"])
def test_functional_groups_rescale_and_window_a_frame(tmp_path, place):
    group = make.item(
        PixelValueTransformationSequence=make.item(RescaleSlope=1, RescaleIntercept=-1024),
        FrameVOILUTSequence=make.item(WindowCenter=0, WindowWidth=2, VOILUTFunction="LINEAR_EXACT"),
    )
    frames = np.array([[[1023, 1024, 1025, 0]], [[0, 0, 0, 0]]], dtype=np.uint16)
    sequence = "PerFrameFunctionalGroupsSequence" if place == "frame" else "SharedFunctionalGroupsSequence"
    image = read(make.dicom(tmp_path / "a", frames, **{sequence: group}))
    assert image.pixels.tolist() == [[0, 32768, 65535, 0]]
    assert image.provenance.window == "0/2"


def test_a_mask_of_one_bit_keeps_its_small_objects(tmp_path):
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[5, 5] = 1
    path = make.dicom(
        tmp_path / "a",
        np.packbits(mask, bitorder="little").reshape(8, 64),
        BitsAllocated=1,
        BitsStored=1,
        Rows=64,
        Columns=64,
    )
    image = read(path)
    assert np.array_equal(image.pixels, mask * 255)


def test_floats_are_windowed_without_what_is_not_a_number(tmp_path):
    values = np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)
    path = make.dicom(tmp_path / "a", values, FloatPixelData=values.tobytes(), PixelRepresentation=None, BitsStored=32)
    assert read(path).pixels.tolist() == [[0, 32768, 65535, 0]]
    assert read(path, "full").pixels.tolist() == [[0, 32768, 65535, 0]]


def test_32_bits_are_windowed_by_what_occurs(tmp_path):
    image = read(make.dicom(tmp_path / "a", np.array([[0, 50_000, 100_000]], dtype=np.uint32)))
    assert image.pixels.tolist() == [[0, 32768, 65535]]
    assert image.provenance.table == ""


def test_the_hash_of_the_table_tells_windows_apart(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP)
    first, again, other = (read(path, window).provenance.table for window in ("40/400", "40/400", "50/400"))
    assert first == again != other
    assert len(first) == 16


BRAIN_WINDOWS = "40/80,80/200,600/2800"


def test_several_windows_of_hounsfield_units_are_channels(tmp_path):
    stored = np.array([[0, 1024, 1064, 1103, 1104, 1204, 3024, -2000]], dtype=np.int16)  # -1024, 0, 40, 79, 80, 180 HU
    path = make.dicom(tmp_path / "a", stored, RescaleSlope=1, RescaleIntercept=-1024, PixelPaddingValue=-2000)
    by_hand = [
        [0, 0, 0.5 + 0.5 / 79, 1, 1, 1, 1, 0],  # 0 HU is 0 and 79 HU is 1 by the half-unit offsets
        [0, 0.5 - 79.5 / 199, 0.5 - 39.5 / 199, 0.5 - 0.5 / 199, 0.5 + 0.5 / 199, 1, 1, 0],
        [0, 0.5 - 599.5 / 2799, 0.5 - 559.5 / 2799, 0.5 - 520.5 / 2799, 0.5 - 519.5 / 2799, 0.5 - 419.5 / 2799, 1, 0],
    ]
    image = read(path, BRAIN_WINDOWS)
    assert image.has_windows
    assert np.array_equal(image.pixels[0].T, levels(np.array(by_hand)))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_each_channel_is_what_its_window_alone_gives(tmp_path, dtype, photometric):
    pixels = np.random.default_rng(0).integers(0, 127, (6, 8)).astype(dtype)
    path = make.dicom(tmp_path / "a", pixels, PhotometricInterpretation=photometric, RescaleIntercept=-20)
    image = read(path, BRAIN_WINDOWS)
    assert image.pixels.dtype == (np.uint8 if dtype == np.uint8 else np.uint16)
    for channel, window in enumerate(BRAIN_WINDOWS.split(",")):
        assert np.array_equal(image.pixels[..., channel], read(path, window).pixels)


def test_floats_take_several_windows_too(tmp_path):
    values = np.array([[0.0, 20.0, np.nan]], dtype=np.float32)
    path = make.dicom(tmp_path / "a", values, FloatPixelData=values.tobytes(), PixelRepresentation=None, BitsStored=32)
    assert read(path, "10.5/21,100/2").pixels.tolist() == [[[0, 0], [65535, 0], [0, 0]]]


def test_equal_windows_stay_channels(tmp_path):
    image = read(make.dicom(tmp_path / "a", RAMP.astype(np.uint8)), "40/80,40/80,40/80")
    assert (image.pixels.shape, image.has_windows) == ((64, 64, 3), True)
    assert not read(make.dicom(tmp_path / "b", RAMP), "40/80").has_windows


def test_the_provenance_names_all_windows_and_hashes_all_tables(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP)
    found = read(path, BRAIN_WINDOWS).provenance
    assert (found.window, found.window_origin) == ("40/80, 80/200, 600/2800", "recipe")
    others = ("40/80,80/200,600/2801", "40/80,81/200,600/2800", "80/200,40/80,600/2800", "40/80,80/200", "40/80")
    assert len({found.table, *(read(path, window).provenance.table for window in others)}) == 6
