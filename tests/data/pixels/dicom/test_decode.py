import numpy as np
import pytest
from pydicom import uid
from pydicom.pixels.encoders import RLELosslessEncoder

from effmed.data.pixels.dicom import decode as module
from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


def read(path, frame=0):
    return read_image(path, frame, window="full", max_megapixels=10).pixels


def rle(values, **options):
    return RLELosslessEncoder.encode(
        values.astype(values.dtype.newbyteorder("<")).tobytes(),
        rows=values.shape[0],
        columns=values.shape[1],
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
        **options,
    )


@pytest.mark.parametrize("syntax", NATIVE, ids=str)
def test_uncompressed_values_are_read(tmp_path, syntax):
    assert np.array_equal(read(make.dicom(tmp_path / "a", RAMP, syntax=syntax)), RAMP)


@pytest.mark.parametrize("syntax", NATIVE, ids=str)
def test_every_frame_is_read_by_its_index(tmp_path, syntax):
    frames = np.stack([RAMP, RAMP[::-1]])
    path = make.dicom(tmp_path / "a", frames, syntax=syntax)
    assert np.array_equal(read(path, 1), RAMP[::-1])


def test_run_lengths_are_read_frame_by_frame(tmp_path):
    frames = np.stack([RAMP, RAMP[::-1]])
    path = make.dicom(tmp_path / "a", frames, syntax=uid.RLELossless, streams=[rle(RAMP), rle(RAMP[::-1].copy())])
    assert np.array_equal(read(path, 1), RAMP[::-1])


def test_an_extended_offset_table_is_used(tmp_path):
    streams = [rle(RAMP), rle(RAMP[::-1].copy())]
    offsets = np.array([0, 8 + len(streams[0])], dtype="<u8")
    lengths = np.array([len(stream) for stream in streams], dtype="<u8")
    path = make.dicom(
        tmp_path / "a",
        np.stack([RAMP, RAMP]),
        syntax=uid.RLELossless,
        streams=streams,
        ExtendedOffsetTable=offsets.tobytes(),
        ExtendedOffsetTableLengths=lengths.tobytes(),
    )
    # an extended table goes with an empty basic one
    data = path.read_bytes()
    at = data.index(b"\xfe\xff\x00\xe0\x08\x00\x00\x00")
    path.write_bytes(data[: at + 4] + bytes(4) + data[at + 16 :])
    assert np.array_equal(read(path, 1), RAMP[::-1])


def test_deflated_frames_are_read(tmp_path):
    frames = np.stack([RAMP, RAMP[::-1]])
    streams = [make.deflated(frame.tobytes()) for frame in frames]
    path = make.dicom(tmp_path / "a", frames, syntax=make.DEFLATED_FRAMES, streams=streams)
    assert np.array_equal(read(path, 1), RAMP[::-1])


def test_plain_pixels_under_a_compressed_syntax_are_read(tmp_path):
    path = make.relabel(make.dicom(tmp_path / "a", RAMP), uid.JPEGLSLossless)
    assert np.array_equal(read(path), RAMP)


def test_a_file_of_more_frames_than_it_says_gives_the_first(tmp_path):
    # pydicom 3 returns them all by default
    path = make.dicom(tmp_path / "a", np.stack([RAMP, RAMP[::-1], RAMP]), NumberOfFrames=1)
    assert np.array_equal(read(path), RAMP)


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=str)
@pytest.mark.parametrize("n_bytes", [1, 40, 95])
def test_pixels_that_are_cut_off_are_refused(tmp_path, syntax, n_bytes):
    path = make.dicom(tmp_path / "a", RAMP, syntax=syntax)
    path.write_bytes(path.read_bytes()[:-n_bytes])
    with pytest.raises(DataError, match=f"cut off: {96 - n_bytes} bytes of pixels, 96 expected"):
        read(path)


def test_a_last_frame_that_is_missing_costs_only_itself(tmp_path):
    path = make.dicom(tmp_path / "a", np.stack([RAMP, RAMP]), syntax=uid.RLELossless, streams=[rle(RAMP)])
    assert np.array_equal(read(path, 0), RAMP)
    with pytest.raises(DataError):
        read(path, 1)


def test_an_unknown_transfer_syntax_is_refused_with_a_remedy(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, syntax=uid.MPEG2MPML, streams=[b"film"])
    with pytest.raises(DataError, match="no decoder") as caught:
        read(path)
    assert "uncompressed" in caught.value.hint


def test_a_run_length_that_lies_about_its_size_is_refused(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, Rows=3000, Columns=3000, syntax=uid.RLELossless, streams=[rle(RAMP)])
    with pytest.raises(DataError):
        read(path)


def test_a_file_that_shrinks_while_it_is_read_is_cut_off(tmp_path, monkeypatch):
    path = make.dicom(tmp_path / "a", np.zeros((4, 6), np.uint16))
    monkeypatch.setattr(module, "bytes_left", lambda source: 48)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="is cut off: 40 bytes of pixels, 48 expected"):
        read_image(path, 0, window="stored", max_megapixels=1)
