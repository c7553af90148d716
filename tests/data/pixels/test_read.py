import json
import os
import random
from contextlib import suppress
from dataclasses import asdict

import imagecodecs
import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom import uid

from effmed.data.pixels import read, read_header, read_image, sniff
from effmed.data.pixels.dicom.dataset import meta_syntax
from effmed.errors import DataError, RecipeError
from tests.data.pixels import make

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def image_of(path, **options):
    return read_image(path, 0, **({"window": "stored", "max_megapixels": 1.0} | options))


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "bmp", "webp"])
def test_the_kind_is_told_by_content_not_by_name(tmp_path, kind):
    path = tmp_path / "image.dcm"
    PIL.Image.fromarray(GREY).save(path, kind)
    assert sniff(path) == kind
    assert image_of(path).provenance.kind == kind


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_dicom_without_preamble_is_known(tmp_path, syntax):
    path = make.dicom(tmp_path / "a.png", RAMP, syntax=syntax)
    data = path.read_bytes()
    path.write_bytes(data[meta_syntax(data)[1] :])
    assert sniff(path) == "dicom"


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text file called .dcm" * 9, bytes(500), b"\x08\x00", b"BM"[:1]]
)
def test_other_content_is_no_image(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    assert sniff(path) == ""
    with pytest.raises(DataError, match="not an image file"):
        image_of(path)


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.dcm")
    assert sniff(tmp_path / "a.dcm") == ""
    with pytest.raises(DataError):
        image_of(tmp_path / "a.dcm")


def test_folders_and_broken_links_are_no_images(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert [sniff(tmp_path), sniff(tmp_path / "link")] == ["", ""]


def test_a_name_with_a_zero_byte_is_no_image(tmp_path):
    assert sniff(tmp_path / "a\0b") == ""


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        image_of(tmp_path / "a.dcm")


def test_a_forbidden_file_is_told(tmp_path, monkeypatch):
    path = make.dicom(tmp_path / "a.dcm", RAMP)
    monkeypatch.setattr(read, "_kind", lambda _: (_ for _ in ()).throw(PermissionError))
    with pytest.raises(DataError, match="no permission") as caught:
        image_of(path)
    assert caught.value.hint == "allow it: chmod +r a.dcm"


def test_a_wrong_window_is_the_recipes_fault(tmp_path):
    path = make.dicom(tmp_path / "a.dcm", RAMP)
    with pytest.raises(RecipeError, match="lung"):
        image_of(path, window="lung")


def smaller_image_of(path):
    return image_of(path, enough=(3, 4))


def test_only_jpeg_2000_is_decoded_smaller(tmp_path):
    coded = imagecodecs.jpeg2k_encode(np.zeros((24, 32), np.uint8), level=0, codecformat="j2k", reversible=True)
    made = {"pixels": np.zeros((24, 32), np.uint8), "syntax": uid.JPEG2000Lossless, "streams": [coded]}
    assert smaller_image_of(make.dicom(tmp_path / "a.dcm", **made)).pixels.shape == (12, 16)
    assert smaller_image_of(make.dicom(tmp_path / "b.dcm", made["pixels"])).pixels.shape == (24, 32)
    PIL.Image.fromarray(made["pixels"]).save(tmp_path / "a.png")
    assert smaller_image_of(tmp_path / "a.png").pixels.shape == (24, 32)


class Panic(BaseException):
    """As Rust decoders raise."""


@pytest.mark.parametrize(
    ("raised", "problem"),
    [
        (Panic(), r"Panic"),
        (MemoryError(), "more memory"),
        (RecursionError(), "RecursionError"),
        (NotImplementedError(), "no decoder"),
        (ValueError("PatientName DOE^JANE"), "ValueError"),
    ],
)
def test_whatever_a_decoder_raises_becomes_a_reason_without_header_values(tmp_path, monkeypatch, raised, problem):
    def fail(*_args, **_options):
        raise raised

    path = make.dicom(tmp_path / "a.dcm", RAMP)
    monkeypatch.setattr(read, "read_dicom", fail)
    with pytest.raises(DataError, match=problem) as caught:
        image_of(path)
    assert "JANE" not in caught.value.problem + caught.value.hint


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(tmp_path, monkeypatch, signal):
    def fail(*_args, **_options):
        raise signal

    path = make.dicom(tmp_path / "a.dcm", RAMP)
    monkeypatch.setattr(read, "read_dicom", fail)
    with pytest.raises(signal):
        image_of(path)


def test_header_values_reach_neither_warnings_nor_logs_nor_streams(tmp_path, caplog, capfd, recwarn):
    path = make.dicom(tmp_path / "a.dcm", RAMP, syntax=uid.JPEG2000Lossless, streams=[b"rubbish"])
    data = path.read_bytes().replace(b"1.2.3\0", b"J.DOE\0").replace(b"P1", b"D\xff")
    path.write_bytes(data)
    with pytest.raises(DataError):
        image_of(path)
    read_header(path)
    assert (list(recwarn), caplog.records, tuple(capfd.readouterr())) == ([], [], ("", ""))


def test_pydicoms_settings_are_as_before(tmp_path):
    mode = pydicom.config.settings.reading_validation_mode
    image_of(make.dicom(tmp_path / "a.dcm", RAMP))
    assert pydicom.config.settings.reading_validation_mode == mode


def test_headers_are_bounded_only_where_asked(tmp_path):
    path = make.dicom(tmp_path / "a.dcm", RAMP, Rows=60000, Columns=60000)
    assert read_header(path).rows == 60000
    with pytest.raises(DataError, match="megapixels"):
        read_header(path, max_megapixels=200)


def test_raster_headers_are_bounded_too(tmp_path):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="megapixels"):
        read_header(tmp_path / "a.png", max_megapixels=1e-6)


def test_provenance_can_be_written_as_json(tmp_path):
    made = image_of(make.dicom(tmp_path / "a.dcm", RAMP)).provenance
    assert json.loads(json.dumps(asdict(made))) == asdict(made)


def streams():
    smooth = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    yield {"pixels": RAMP, "WindowCenter": 20, "WindowWidth": 30, "RescaleSlope": 2, "RescaleIntercept": 1}
    yield {"pixels": smooth, "syntax": uid.JPEGBaseline8Bit, "streams": [imagecodecs.jpeg8_encode(smooth)]}
    yield {"pixels": smooth, "syntax": uid.JPEGLSLossless, "streams": [imagecodecs.jpegls_encode(smooth)]}
    coded = imagecodecs.jpeg2k_encode(smooth, level=0, codecformat="j2k", reversible=True)
    yield {"pixels": smooth, "syntax": uid.JPEG2000Lossless, "streams": [coded]}
    yield {"pixels": RAMP, "syntax": uid.DeflatedExplicitVRLittleEndian}


@pytest.mark.parametrize("made", list(streams()), ids=lambda made: str(made.get("syntax", "native")))
def test_damaged_files_are_images_or_reasons(tmp_path, made):
    path = make.dicom(tmp_path / "a.dcm", **made)
    whole, dice = path.read_bytes(), random.Random(0)  # noqa: S311  not for secrets
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(132, len(data))] = dice.randrange(256)
        if dice.random() < 0.3:
            del data[dice.randrange(132, len(data)) :]
        path.write_bytes(data)
        for attempt in (image_of, read_header, smaller_image_of):
            with suppress(DataError):
                attempt(path)
