"""From file to grey levels: DICOM in the standard's order, raster files at their own depth, bad files as reasons."""

import os
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from effmed.data.pixels import read_header, read_image, sniff
from effmed.data.pixels.codecs import codestream_size
from effmed.data.pixels.header import age_in_years
from effmed.data.pixels.window import apply_window, parse_window
from effmed.errors import DataError, RecipeError
from tests import make

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def read(path, window="stored", frame=0):
    return read_image(path, frame, window=window, max_megapixels=10)


def dicom(tmp_path, pixels=RAMP, **attributes):
    make.dicom(tmp_path / "a.dcm", pixels=pixels, **attributes)
    return tmp_path / "a.dcm"


# ------------------------------------------------------------------ windows


def test_a_width_of_256_covers_exactly_256_integers():
    values = np.arange(-10.0, 300.0)
    shown = apply_window(values, center=128, width=256)
    assert shown[values <= 0].max() == 0
    assert shown[values >= 255].min() == 1
    assert np.allclose(np.diff(shown[10:266]), 1 / 255)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(function):
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 2000, 1500, function
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 12, 0
    expected = pydicom.pixels.apply_windowing(RAMP, dataset) / 4095
    assert np.allclose(apply_window(RAMP.astype(float), 2000, 1500, function), expected, atol=1e-9)


def test_a_window_without_width_is_refused():
    with pytest.raises(ValueError, match="not positive"):
        apply_window(RAMP.astype(float), 0, 0)
    assert set(apply_window(np.array([0.4, 0.6]), 1, 1)) == {0.0, 1.0}


@pytest.mark.parametrize("text", ["lung", "40", "40/0", "1/2/3"])
def test_an_unknown_window_is_a_recipe_error(text):
    with pytest.raises(RecipeError, match=r"data\.window"):
        parse_window(text)


# ------------------------------------------------------------------ DICOM


def test_twelve_bits_keep_their_levels(tmp_path):
    image = read(dicom(tmp_path), "full")
    assert image.pixels.dtype == np.uint16
    assert len(np.unique(image.pixels)) == 4096
    assert (image.pixels.min(), image.pixels.max()) == (0, 65535)


def test_without_a_window_the_percentiles_are_used_and_said(tmp_path):
    provenance = read(dicom(tmp_path)).provenance
    assert (provenance.window_origin, provenance.bits, provenance.kind) == ("percentile", 12, "dicom")


def test_the_files_window_is_applied(tmp_path):
    image = read(dicom(tmp_path, WindowCenter=2000, WindowWidth=1500))
    expected = np.rint(apply_window(RAMP.astype(float), 2000, 1500) * 65535)
    assert np.array_equal(image.pixels, expected)
    assert (image.provenance.window, image.provenance.window_origin) == ("2000/1500", "file")


def test_the_first_of_several_windows_is_the_default(tmp_path):
    one = read(dicom(tmp_path, WindowCenter=2000, WindowWidth=1500)).pixels
    several = read(dicom(tmp_path, WindowCenter=[2000, 10], WindowWidth=[1500, 20])).pixels
    assert np.array_equal(one, several)


def test_the_recipes_window_wins(tmp_path):
    image = read(dicom(tmp_path, WindowCenter=2000, WindowWidth=1500), "1000/500")
    assert image.provenance.window_origin == "recipe"
    assert np.array_equal(image.pixels, np.rint(apply_window(RAMP.astype(float), 1000, 500) * 65535))


def test_monochrome1_is_inverted_once(tmp_path):
    plain = read(dicom(tmp_path, WindowCenter=2000, WindowWidth=1500)).pixels
    inverted = read(
        dicom(
            tmp_path,
            WindowCenter=2000,
            WindowWidth=1500,
            PhotometricInterpretation="MONOCHROME1",
            PresentationLUTShape="INVERSE",
        )
    ).pixels
    assert np.array_equal(inverted, 65535 - plain)


def test_rescale_comes_before_the_window(tmp_path):
    image = read(dicom(tmp_path, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=2000))
    assert np.array_equal(image.pixels, np.rint(apply_window(RAMP * 2.0 - 1024, 0, 2000) * 65535))


def test_signed_values_are_negative(tmp_path):
    signed = RAMP.astype(np.int16) - 2048
    path = dicom(tmp_path, pixels=signed.view(np.uint16), BitsStored=16, HighBit=15, PixelRepresentation=1)
    assert np.array_equal(read(path, "0/4096").pixels, np.rint(apply_window(signed.astype(float), 0, 4096) * 65535))


def test_overlay_bits_above_the_stored_ones_do_not_count(tmp_path):
    plain = read(dicom(tmp_path), "full").pixels
    assert np.array_equal(read(dicom(tmp_path, pixels=RAMP | np.uint16(0x8000)), "full").pixels, plain)


def test_a_high_bit_of_15_with_12_bits_stored_is_shifted(tmp_path):
    plain = read(dicom(tmp_path), "full").pixels
    assert np.array_equal(read(dicom(tmp_path, pixels=RAMP << 4, HighBit=15), "full").pixels, plain)


def test_padding_is_background_and_counts_for_no_percentile(tmp_path):
    padded = RAMP.copy()
    padded[:8] = 4095
    path = dicom(tmp_path, pixels=padded, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4095)
    image = read(path)
    assert image.pixels[:8].max() == 0
    assert "4095" not in image.provenance.window


def test_a_voi_lut_is_applied(tmp_path):
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = np.arange(4095, -1, -1, dtype=np.uint16).tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    image = read(dicom(tmp_path, VOILUTSequence=[item]))
    assert np.array_equal(image.pixels, np.rint((4095 - RAMP) / 4095 * 65535))


def test_a_modality_lut_is_applied(tmp_path):
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = (np.arange(4096, dtype=np.uint16) * 3).tobytes()
    item.ModalityLUTType = "US"
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    path = dicom(tmp_path, ModalityLUTSequence=[item])
    assert np.array_equal(read(path, "6000/9000").pixels, np.rint(apply_window(RAMP * 3.0, 6000, 9000) * 65535))


def test_functional_groups_come_before_the_top_level(tmp_path):
    group, transformation = Dataset(), Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1000
    group.PixelValueTransformationSequence = [transformation]
    path = dicom(tmp_path, SharedFunctionalGroupsSequence=[group], RescaleSlope=1, RescaleIntercept=0)
    assert np.array_equal(read(path, "0/2000").pixels, np.rint(apply_window(RAMP - 1000.0, 0, 2000) * 65535))


def test_eight_bits_stay_eight_bits(tmp_path):
    path = tmp_path / "a.dcm"
    make.dicom(path, pixels=RAMP, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(range(256)) * 16)
    image = read(path, "full")
    assert (image.pixels.dtype, len(np.unique(image.pixels))) == (np.uint8, 256)


def test_pixel_spacing_gives_the_aspect(tmp_path):
    assert read(dicom(tmp_path, PixelSpacing=[2, 1])).aspect == 2
    assert read(dicom(tmp_path, PixelAspectRatio=["1", "2"])).aspect == 0.5
    assert read(dicom(tmp_path, PixelSpacing=[0, 0])).aspect == 1


def test_one_frame_of_several_is_read(tmp_path):
    path = dicom(tmp_path, frames=3)
    assert read_header(path, max_megapixels=10).frames == 3
    assert read(path, frame=2).pixels.shape == (64, 64)
    with pytest.raises(DataError, match="3 frames"):
        read(path, frame=3)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_lossless_compression_changes_nothing(tmp_path, syntax):
    plain = read(dicom(tmp_path), "full").pixels
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    else:
        encode = imagecodecs.jpeg2k_encode if syntax == JPEG2000Lossless else imagecodecs.jpegls_encode
        options = {"level": 0, "reversible": True} if syntax == JPEG2000Lossless else {}
        dataset.PixelData = encapsulate([encode(RAMP, **options)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "b.dcm")
    image = read(tmp_path / "b.dcm", "full")
    assert np.array_equal(image.pixels, plain)
    assert image.provenance.syntax == syntax


def colour_dataset(tmp_path, data, photometric, syntax=None):
    make.dicom(tmp_path / "c.dcm", pixels=np.zeros((16, 16), np.uint16))
    dataset = pydicom.dcmread(tmp_path / "c.dcm")
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB"
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "c.dcm")
    return tmp_path / "c.dcm"


def test_colour_becomes_rgb(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert np.array_equal(read(colour_dataset(tmp_path, red.tobytes(), "RGB")).pixels, red)
    stream = encapsulate([imagecodecs.jpeg8_encode(red, level=95)])
    jpeg = read(colour_dataset(tmp_path, stream, "YBR_FULL_422", JPEGBaseline8Bit)).pixels
    assert np.abs(jpeg.astype(int) - red).max() < 6


def test_a_codestream_of_another_size_than_the_header_is_refused(tmp_path):
    stream = encapsulate([imagecodecs.jpeg8_encode(np.zeros((32, 16, 3), np.uint8))])
    with pytest.raises(DataError):
        read(colour_dataset(tmp_path, stream, "YBR_FULL_422", JPEGBaseline8Bit))


@pytest.mark.parametrize("encode", [imagecodecs.jpeg8_encode, imagecodecs.jpegls_encode, imagecodecs.jpeg2k_encode])
def test_a_codestream_tells_its_size(encode):
    assert codestream_size(encode(np.zeros((24, 40), np.uint8))) == (24, 40)
    assert codestream_size(b"nothing of the kind") is None


def test_a_file_without_preamble_is_read(tmp_path):
    path = dicom(tmp_path)
    dataset = pydicom.dcmread(path)
    del dataset.file_meta
    dataset.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True)
    assert sniff(tmp_path / "bare") == "dicom"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert read_header(tmp_path / "bare", max_megapixels=10).rows == 64


def test_a_deflated_file_is_read_only_up_to_the_limit(tmp_path):
    dataset = pydicom.dcmread(dicom(tmp_path))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "d.dcm")
    assert read(tmp_path / "d.dcm").pixels.shape == (64, 64)
    with pytest.raises(DataError, match="inflates"):
        read_image(tmp_path / "d.dcm", 0, window="stored", max_megapixels=0.0001)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Rows": 60000, "Columns": 60000}, "million pixels"),
        ({"Rows": 0}, "0 x 64"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "Rescale"),
        ({"PixelData": b"too short"}, "damaged"),
    ],
)
def test_impossible_headers_are_reasons(tmp_path, change, says):
    with pytest.raises(DataError, match=says):
        read(dicom(tmp_path, **change))


def test_an_object_without_pixels_is_a_reason(tmp_path):
    dataset = pydicom.dcmread(dicom(tmp_path))
    del dataset.PixelData
    dataset.save_as(tmp_path / "n.dcm")
    with pytest.raises(DataError, match="no image"):
        read_header(tmp_path / "n.dcm", max_megapixels=10)


def test_the_header_is_read(tmp_path):
    attributes = {"ViewPosition": "PA", "PatientSex": "F", "PatientAge": "042Y", "Manufacturer": "Maker"}
    header = read_header(dicom(tmp_path, patient="P7", **attributes), max_megapixels=10)
    assert (header.patient, header.view, header.sex, header.age_years) == ("P7", "PA", "F", 42)
    assert (header.rows, header.columns, header.bits, header.colour) == (64, 64, 12, False)


@pytest.mark.parametrize(("text", "years"), [("042Y", 42), ("006M", 0.5), ("old", None), ("999Y", None), (None, None)])
def test_ages_are_read_in_years(text, years):
    assert age_in_years(text) == years


def test_no_header_value_reaches_stderr_or_a_reason(tmp_path, capfd):
    path = dicom(tmp_path, patient="SECRET^NAME", PixelData=b"x")
    with pytest.raises(DataError) as caught:
        read(path)
    assert "SECRET" not in caught.value.problem + caught.value.hint + capfd.readouterr().err


@pytest.mark.corpus
@pytest.mark.skipif("EFFMED_CORPUS" not in os.environ, reason="real files lie outside the repository")
def test_real_files_are_read_or_refused_with_a_reason():
    root = Path(os.environ["EFFMED_CORPUS"]) / "dicom_corpus"
    n_read, reasons = 0, []
    for path in sorted(root.rglob("*.dcm")):
        try:
            read_image(path, 0, window="stored", max_megapixels=100)
            n_read += 1
        except DataError as error:
            reasons.append((error.problem, error.hint))
    assert n_read >= 200
    assert all(problem and hint for problem, hint in reasons)


# ------------------------------------------------------------------ raster files


def test_sixteen_bit_png_keeps_its_levels(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), RAMP)
    assert len(np.unique(read(tmp_path / "a.png").pixels)) > 1000
    assert np.array_equal(read(tmp_path / "a.png", "full").pixels, RAMP)
    assert read(tmp_path / "a.png").provenance.window_origin == "percentile"
    assert read(tmp_path / "a.png", "2000/1500").provenance.window_origin == "recipe"


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "jpg"])
def test_eight_bit_files_are_read(tmp_path, suffix):
    grey = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (24, 1))
    PIL.Image.fromarray(grey).save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    image = read(tmp_path / f"a.{suffix}")
    assert image.pixels.shape == (24, 24)
    assert np.abs(image.pixels.astype(int) - grey).max() <= (12 if suffix == "jpg" else 0)


def test_palette_alpha_and_one_bit_are_understood(tmp_path):
    PIL.Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "alpha.png")
    assert read(tmp_path / "alpha.png").pixels.max() == 0
    PIL.Image.new("1", (4, 4), 1).save(tmp_path / "bit.png")
    assert read(tmp_path / "bit.png").pixels.min() == 255
    PIL.Image.new("RGB", (4, 4), (9, 200, 9)).quantize(4).save(tmp_path / "palette.png")
    assert read(tmp_path / "palette.png").pixels.shape == (4, 4, 3)


def test_grey_stored_as_rgb_is_grey(tmp_path):
    PIL.Image.new("RGB", (4, 4), (7, 7, 7)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").pixels.shape == (4, 4)


def test_exif_orientation_is_followed(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("L", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").pixels.shape == (20, 10)


def test_pages_are_frames(tmp_path):
    pages = [PIL.Image.new("L", (4, 4), level) for level in (1, 2, 3)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    assert read_header(tmp_path / "a.tiff", max_megapixels=1).frames == 3
    assert read(tmp_path / "a.tiff", frame=2).pixels.max() == 3
    with pytest.raises(DataError, match="3 frames"):
        read(tmp_path / "a.tiff", frame=3)


def test_float_tiff_is_windowed(tmp_path):
    PIL.Image.fromarray(np.linspace(-5, 5, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "a.tiff")
    assert read(tmp_path / "a.tiff").pixels.dtype == np.uint16


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_file_is_a_reason(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / f"b.{suffix}")


def test_a_picture_that_is_too_large_is_refused_before_decoding(tmp_path):
    PIL.Image.new("L", (2000, 2000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="million pixels"):
        read_image(tmp_path / "a.png", 0, window="stored", max_megapixels=1)


# ------------------------------------------------------------------ kinds of file


def test_kinds_are_told_by_content(tmp_path):
    make.png(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "really.dcm")
    assert sniff(tmp_path / "really.dcm") == "png"
    (tmp_path / "text.dcm").write_text("hello")
    assert sniff(tmp_path / "text.dcm") == ""
    with pytest.raises(DataError, match="not an image"):
        read(tmp_path / "text.dcm")


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    assert sniff(tmp_path / "pipe.dcm") == ""
    assert sniff(tmp_path / "nothing") == ""
