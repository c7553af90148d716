import io
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from effmed.data.pixels.dicom.header import age_in_years, plain_header, read_dicom_header, scan_header
from effmed.errors import DataError

TEXTS = {
    "SOPInstanceUID": "1.2.3",
    "StudyDate": "20200102",
    "Modality": "CR",
    "Manufacturer": "Acme",
    "ManufacturerModelName": "Ray 1",
    "PatientID": "P007",
    "PatientBirthDate": "",
    "PatientSex": "F",
    "PatientAge": "042Y",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "StudyInstanceUID": "1.2.4",
    "SeriesInstanceUID": "1.2.5",
    "ImageLaterality": "L",
}


def dataset(**elements):
    ds = Dataset()
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 2, 3, 1, "MONOCHROME1"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.zeros((2, 3), "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    for name, value in {**TEXTS, **elements}.items():
        if value is not None:
            setattr(ds, name, value)
        elif name in ds:
            delattr(ds, name)
    return ds


def written(path, ds, syntax=ExplicitVRLittleEndian):
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.save_as(path, enforce_file_format=True)
    return path


def header_of(path, max_megapixels=200.0):
    return read_dicom_header(path, max_megapixels)


def scanned(path):
    with path.open("rb") as file:
        return scan_header(file)


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_encoding_gives_the_same_header(tmp_path, syntax):
    header = header_of(written(tmp_path / "a", dataset(), syntax))
    assert header.syntax == syntax
    assert (header.kind, header.rows, header.columns, header.frames, header.bits) == ("dicom", 2, 3, 1, 12)
    assert (header.patient, header.study, header.series, header.instance) == ("P007", "1.2.4", "1.2.5", "1.2.3")
    assert (header.modality, header.manufacturer, header.scanner) == ("CR", "Acme", "Ray 1")
    assert (header.body_part, header.view, header.laterality) == ("CHEST", "PA", "L")
    assert (header.sex, header.age_years) == ("F", 42.0)
    assert (header.photometric, header.colour) == ("MONOCHROME1", False)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_plain_header_needs_no_pydicom(tmp_path, syntax):
    found = scanned(written(tmp_path / "a", dataset(), syntax))
    assert found is not None
    assert {name: found[name] for name in TEXTS} == TEXTS


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_first_bytes_say_what_the_file_says(tmp_path, syntax):
    path = written(tmp_path / "a", dataset(), syntax)
    assert plain_header(path.read_bytes(), 200.0) == astuple(header_of(path))
    assert plain_header(path.read_bytes()[:400], 200.0) is None


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (b"\x10\x00\x20\x00LO\x04\x00", b"\x10\x00\x20\x00UN\x00\x00\x04\x00\x00\x00"),
        (b"\x28\x00\x01\x01US\x02\x00", b"\x28\x00\x01\x01UN\x00\x00\x02\x00\x00\x00"),
    ],
)
def test_values_of_unknown_representation_are_what_their_tags_say(tmp_path, short, long):
    path = written(tmp_path / "a", dataset())
    path.write_bytes(path.read_bytes().replace(short, long))
    assert {**scanned(path), "PatientID": "P007", "BitsStored": "12"} == scanned(path)
    assert (header_of(path).patient, header_of(path).bits) == ("P007", 12)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_number_of_another_length_is_left_to_pydicom(tmp_path, syntax):
    assert scanned(written(tmp_path / "a", dataset(BitsStored=[12, 12]), syntax)) is None


def test_a_sequence_in_place_of_a_text_is_no_text(tmp_path):
    ds = dataset(ViewPosition=None)
    ds.add_new(0x00185101, "SQ", Sequence([Dataset()]))
    ds[0x00185101].is_undefined_length = True
    assert "ViewPosition" not in scanned(written(tmp_path / "a", ds))


def test_the_header_before_compressed_pixels_needs_no_pydicom(tmp_path):
    ds = dataset(PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    assert scanned(written(tmp_path / "a", ds, JPEGBaseline8Bit)) is not None


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_unusual_encodings_are_left_to_pydicom(tmp_path, syntax):
    assert scanned(written(tmp_path / "a", dataset(), syntax)) is None


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_what_is_nested_is_not_taken_for_the_image_itself(tmp_path, syntax, undefined):
    inner = Dataset()
    inner.PatientID, inner.Rows = "OTHER", 99
    inner.is_undefined_length_sequence_item = undefined
    ds = dataset(OtherPatientIDsSequence=Sequence([inner, inner]), ReferencedImageSequence=Sequence([inner]))
    ds["OtherPatientIDsSequence"].is_undefined_length = undefined
    path = written(tmp_path / "a", ds, syntax)
    assert scanned(path) is not None
    assert (header_of(path).patient, header_of(path).rows) == ("P007", 2)


def test_a_header_longer_than_the_first_read_is_scanned(tmp_path):
    ds = dataset(ImageComments="x" * 10000, PatientComments="x" * 10000)
    assert scanned(written(tmp_path / "a", ds)) is not None


def test_a_header_of_megabytes_is_left_to_pydicom(tmp_path):
    ds = dataset()
    ds.add_new(0x00091001, "OB", bytes(2**21))
    path = written(tmp_path / "a", ds)
    assert scanned(path) is None
    assert header_of(path).patient == "P007"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x18\x00\x15\x00CS", b"\x10\x00\x00\x00CS"),  # out of order
        (b"\x18\x00\x15\x00CS", b"\x18\x00\x15\x00ZZ"),  # no VR
        (b"\x08\x00\x16\x00UI", b"\x08\x00\x17\x00UI"),  # no SOP class
    ],
)
def test_what_is_not_well_formed_is_left_to_pydicom(tmp_path, old, new):
    path = written(tmp_path / "a", dataset())
    path.write_bytes(path.read_bytes().replace(old, new))
    assert scanned(path) is None


def test_letters_beyond_ascii_are_read(tmp_path):
    path = written(tmp_path / "a", dataset(SpecificCharacterSet="ISO_IR 192", Manufacturer="Müller"))
    assert header_of(path).manufacturer == "Müller"


def test_character_sets_behind_escapes_are_read(tmp_path):
    sets = ["", "ISO 2022 IR 87"]
    path = written(tmp_path / "a", dataset(SpecificCharacterSet=sets, Manufacturer="山田"))
    assert header_of(path).manufacturer == "山田"


def test_control_characters_are_dropped(tmp_path):
    assert header_of(written(tmp_path / "a", dataset(PatientID="P\r\n7"))).patient == "P7"


def test_several_values_count_by_their_first(tmp_path):
    assert header_of(written(tmp_path / "a", dataset(PatientID=["P1", "P2"]))).patient == "P1"


def test_laterality_of_the_series_stands_in_for_that_of_the_image(tmp_path):
    path = written(tmp_path / "a", dataset(ImageLaterality=None, Laterality="R"))
    assert header_of(path).laterality == "R"


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR", "YBR_FULL"])
def test_colour_is_told_by_the_photometric_interpretation(tmp_path, photometric):
    assert header_of(written(tmp_path / "a", dataset(PhotometricInterpretation=photometric))).colour


def test_frames_are_counted(tmp_path):
    assert header_of(written(tmp_path / "a", dataset(NumberOfFrames="7"))).frames == 7


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_an_object_without_pixels_is_refused(tmp_path, syntax):
    with pytest.raises(DataError, match="without pixels"):
        header_of(written(tmp_path / "a", dataset(PixelData=None), syntax))


def test_an_image_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="Rows"):
        header_of(written(tmp_path / "a", dataset(Rows=None)))


def test_rows_of_two_values_are_refused(tmp_path):
    with pytest.raises(DataError, match="Rows"):
        header_of(written(tmp_path / "a", dataset(Rows=[2, 3])))


@pytest.mark.parametrize("frames", ["1A", "x"])
def test_a_number_of_frames_that_is_none_is_refused(tmp_path, frames):
    path = written(tmp_path / "a", dataset(NumberOfFrames="1 "))
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00" + frames.ljust(2).encode()))
    with pytest.raises(DataError, match="NumberOfFrames"):
        header_of(path)


def test_a_claim_beyond_the_limit_is_refused(tmp_path):
    with pytest.raises(DataError, match="65535 x 65535") as raised:
        header_of(written(tmp_path / "a", dataset(Rows=65535, Columns=65535, NumberOfFrames="10000")))
    assert "data.max_megapixels" in raised.value.hint


@pytest.mark.parametrize(
    ("age", "years"), [("045Y", 45.0), ("018M", 1.5), ("007D", 7 / 365.25), ("001W", 7 / 365.25), ("095Y", 90.0)]
)
def test_ages_are_years_and_capped_at_ninety(age, years):
    assert age_in_years({"PatientAge": age}) == pytest.approx(years)


def test_an_age_that_nobody_reaches_is_none():
    assert age_in_years({"PatientAge": "999Y"}) is None


def test_an_age_that_is_not_stated_follows_from_the_dates():
    assert age_in_years({"PatientBirthDate": "19600102", "StudyDate": "20200102"}) == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"PatientAge": "old"},
        {"PatientBirthDate": "19600102"},
        {"PatientBirthDate": "19601399", "StudyDate": "20200102"},
        {"PatientBirthDate": "20300102", "StudyDate": "20200102"},
    ],
)
def test_an_age_that_cannot_be_known_is_none(values):
    assert age_in_years(values) is None


@given(st.binary(max_size=300))
def test_the_scanner_never_fails_on_any_bytes(noise):
    scan_header(io.BytesIO(b"\0" * 128 + b"DICM\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00" + noise))


@given(st.integers(132, 900), st.binary(min_size=1, max_size=4))
def test_the_scanner_never_fails_on_a_changed_header(plain_bytes, at, change):
    changed = plain_bytes[:at] + change + plain_bytes[at + len(change) :]
    scan_header(io.BytesIO(changed))


@pytest.fixture(scope="module")
def plain_bytes(tmp_path_factory):
    return written(tmp_path_factory.mktemp("plain") / "a", dataset()).read_bytes()
