import io

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from effmed.data.pixels.dicom import dataset as module
from effmed.data.pixels.dicom.dataset import (
    clean,
    count,
    first_numbers,
    lut_entries,
    meta_syntax,
    numbers,
    open_dicom,
    pixel_layout,
    text,
)
from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)


def layout_of(path, max_megapixels=1.0):
    with path.open("rb") as file:
        return pixel_layout(open_dicom(file), max_megapixels)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_the_encoding_of_a_file_without_preamble_is_found(tmp_path, syntax):
    path = make.dicom(tmp_path / "a", RAMP, syntax=syntax)
    data = path.read_bytes()
    path.write_bytes(data[meta_syntax(data)[1] :])
    with path.open("rb") as file:
        opened = open_dicom(file)
        assert (opened.syntax, opened.length, opened.keyword) == (syntax, 96, "PixelData")


def test_the_pixels_stay_on_disk(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP)
    with path.open("rb") as file:
        opened = open_dicom(file)
        assert "PixelData" not in opened.dataset
        assert opened.source.read(4) == RAMP.tobytes()[:4]


def test_an_object_without_pixels_is_refused_with_its_modality(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, Modality="SR")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\xe0\x7f\x10\x00")])
    with path.open("rb") as file, pytest.raises(DataError, match=r"without pixels \(modality SR\)"):
        open_dicom(file)


@pytest.mark.parametrize("end", [b"", b"\x02\x00", b"\x02\x00\x10\x00UI", b"\x02\x00\x01\x00OB\0\0\2\0\0"])
def test_meta_information_that_is_cut_off_states_no_syntax(end):
    begin = bytes(128) + b"DICM\x02\x00\x10\x00UI\x06\x001.2.3\0"
    assert meta_syntax(begin + end) == ("1.2.3" if not end else "", len(begin))


@pytest.mark.parametrize(
    ("elements", "problem"),
    [
        ({"Rows": None}, "Rows is missing"),
        ({"NumberOfFrames": "-1"}, "in -1 frames"),
        ({"BitsAllocated": 12}, "12 bits allocated"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
        ({"SamplesPerPixel": 3}, "3 channels, which do not fit photometric interpretation MONOCHROME2"),
        ({"PhotometricInterpretation": "RGB"}, "1 channels"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(tmp_path, elements, problem):
    with pytest.raises(DataError, match=problem):
        layout_of(make.dicom(tmp_path / "a", RAMP, **elements))


def test_the_claimed_size_is_checked_before_anything_is_decoded(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, Rows=65535, Columns=65535, NumberOfFrames=10000)
    with pytest.raises(DataError, match="65535 x 65535 pixels x 10000 frames") as caught:
        layout_of(path, 200.0)
    assert "data.max_megapixels=42948363" in caught.value.hint


@pytest.mark.parametrize("high_bit", [3, 16, 40])
def test_an_impossible_high_bit_is_passed_over(tmp_path, high_bit):
    assert layout_of(make.dicom(tmp_path / "a", RAMP, BitsStored=12, HighBit=high_bit)).high_bit == 11


def test_a_missing_photometric_interpretation_is_grey(tmp_path):
    assert layout_of(make.dicom(tmp_path / "a", RAMP, PhotometricInterpretation=None)).photometric == "MONOCHROME2"


def deflated_bomb(path, *, header_bytes=0, pixel_bytes=0, **elements):
    made = make.dataset(RAMP, **elements)
    if header_bytes:
        made.add_new(0x00091001, "OB", bytes(header_bytes))
    plain = io.BytesIO()
    made.PixelData = bytes(pixel_bytes or 96)
    made["PixelData"].VR = "OW"
    made.save_as(plain, implicit_vr=False, little_endian=True, enforce_file_format=False)
    meta = make.dicom(path, RAMP, syntax=uid.DeflatedExplicitVRLittleEndian).read_bytes()
    path.write_bytes(meta[: meta_syntax(meta)[1]] + make.deflated(plain.getvalue()))
    return path


def test_a_deflated_header_that_explodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HEADER_LIMIT_BYTES", 1 << 20)
    path = deflated_bomb(tmp_path / "a", header_bytes=3 << 20)
    with path.open("rb") as file, pytest.raises(DataError, match="inflates to more than"):
        open_dicom(file)


def test_deflated_pixels_are_inflated_as_far_as_the_header_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HEADER_LIMIT_BYTES", 1000)
    asked = []
    inflate = module.inflate
    monkeypatch.setattr(module, "inflate", lambda data, limit: asked.append(limit) or inflate(data, limit))
    path = deflated_bomb(tmp_path / "a", pixel_bytes=1 << 22, Rows=600, Columns=800)
    assert read_image(path, 0, window="full", max_megapixels=1).pixels.shape == (600, 800)
    assert max(asked) < 600 * 800 * 2 + 1000


def test_control_characters_are_left_out():
    assert clean(" A\x1b\r\nB\0 ") == "AB"


def test_the_first_of_several_values_is_the_text():
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    assert (text(header, "ImageType"), text(header, "Modality")) == ("ORIGINAL", "")


@pytest.mark.parametrize(("value", "wanted"), [(None, []), ("", []), ("7", [7.0]), ([1, "2.5"], [1.0, 2.5])])
def test_numbers_are_read_where_they_are_some(value, wanted):
    header = Dataset()
    header.WindowCenter = value
    assert numbers(header, "WindowCenter") == wanted


def test_what_is_no_number_is_none():
    assert numbers({"WindowCenter": "abc"}, "WindowCenter") == []


@pytest.mark.parametrize("value", [[3, 4], "abc", None])
def test_a_count_is_one_number(value):
    with pytest.raises(DataError, match="Rows is missing or not one number"):
        count({"Rows": value}, "Rows")


def test_the_nearest_functional_group_wins():
    header = Dataset()
    header.RescaleSlope = 3
    header.SharedFunctionalGroupsSequence = make.item(
        PixelValueTransformationSequence=make.item(RescaleSlope=2, RescaleIntercept=5)
    )
    header.PerFrameFunctionalGroupsSequence = make.item(PixelValueTransformationSequence=make.item(RescaleSlope=1))
    where = "PixelValueTransformationSequence"
    assert first_numbers(header, 0, where, "RescaleSlope") == [1.0]
    assert first_numbers(header, 1, where, "RescaleSlope") == [2.0]
    assert first_numbers(header, 0, where, "RescaleIntercept") == [5.0]
    assert first_numbers(header, 0, where, "RescaleType") == []
    assert first_numbers(header, 0, "PixelMeasuresSequence", "RescaleSlope") == [3.0]


@pytest.mark.parametrize("value", [[1, 2, 3], b"\1\0\2\0\3\0", b"\1\2\3"])
def test_lookup_tables_come_as_numbers_words_or_bytes(value):
    assert lut_entries(value, 3, is_big=False).tolist() == [1, 2, 3]


def test_lookup_tables_of_negative_numbers_are_words():
    assert lut_entries([-1], 1, is_big=False).tolist() == [65535]


def test_a_missing_lookup_table_is_refused():
    with pytest.raises(DataError, match="0 entries of 4"):
        lut_entries(None, 4, is_big=False)
