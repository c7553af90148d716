import numpy as np
import pytest

from effmed.data.pixels.dicom import frame
from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)


def read(path, frame=0, window="stored"):
    return read_image(path, frame, window=window, max_megapixels=1)


@pytest.mark.parametrize("frame", [-1, 2])
def test_a_frame_that_is_not_there_is_refused(tmp_path, frame):
    path = make.dicom(tmp_path / "a", np.stack([RAMP, RAMP]))
    with pytest.raises(DataError, match=f"has 2 frames, frame {frame} was asked for"):
        read(path, frame)


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelSpacing": [0.4, 0.2]},
        {"ImagerPixelSpacing": [0.4, 0.2]},
        {"PixelAspectRatio": [2, 1]},
        {"PixelSpacing": ["2e9", 1], "ImagerPixelSpacing": [0.4, 0.2]},
        {"PixelSpacing": [0.4, 0.2], "ImagerPixelSpacing": [1, 1]},
        {"SharedFunctionalGroupsSequence": make.item(PixelMeasuresSequence=make.item(PixelSpacing=[0.4, 0.2]))},
    ],
)
def test_the_aspect_is_height_over_width(tmp_path, elements):
    assert read(make.dicom(tmp_path / "a", RAMP, **elements)).aspect == pytest.approx(2.0)


@pytest.mark.parametrize("spacing", [None, [0, 1], [-1, 1], [1], ["1e308", 1], [101, 1], [1, 101]])
def test_a_spacing_that_tells_nothing_means_square(tmp_path, spacing):
    elements = {} if spacing is None else {"PixelSpacing": spacing}
    assert read(make.dicom(tmp_path / "a", RAMP, **elements)).aspect == 1.0


def test_provenance_tells_how_the_levels_came_about(tmp_path):
    path = make.dicom(tmp_path / "a", RAMP, BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    found = read(path).provenance
    assert (found.kind, found.syntax, found.photometric, found.bits) == (
        "dicom",
        "1.2.840.10008.1.2.1",
        "MONOCHROME1",
        12,
    )


def test_colour_has_no_window(tmp_path):
    found = read(make.dicom(tmp_path / "a", np.zeros((4, 5, 3), dtype=np.uint8))).provenance
    assert (found.window, found.window_origin, found.table) == ("full", "full", "")


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
def test_colours_are_refused_before_decoding_where_several_windows_are_wanted(tmp_path, monkeypatch, photometric):
    pixels = np.zeros((4, 5, 3) if photometric == "RGB" else (4, 5), dtype=np.uint8)
    path = make.dicom(tmp_path / "a", pixels, PhotometricInterpretation=photometric)
    monkeypatch.setattr(frame, "decode_frame", pytest.fail)
    with pytest.raises(DataError, match="holds colours, from which the windows"):
        read(path, window="40/80,80/200,600/2800")
