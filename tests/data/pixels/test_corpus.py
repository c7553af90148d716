"""Real files of many vendors and test suites: each is an image or has a reason, and lossless is lossless."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from effmed.data.pixels import Preprocessing, preprocess, read_header, read_image, sniff
from effmed.data.pixels.dicom.dataset import open_dicom, pixel_layout
from effmed.data.pixels.dicom.decode import decode_frame
from effmed.data.pixels.dicom.grey import stored_values
from effmed.errors import DataError

ROOT = Path(os.environ.get("EFFMED_CORPUS", "")) / "dicom_corpus"
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif("EFFMED_CORPUS" not in os.environ, reason="needs real files: set EFFMED_CORPUS"),
]
MAX_MEGAPIXELS = 200
SPEC = Preprocessing(height=32, width=32, channels=1, depth="uint8", window="stored", max_megapixels=MAX_MEGAPIXELS)
# A sequence in its header is shorter than it says: the prototype refused the file, here all ten frames are right.
READ_NOW = {"pydicom_pydicom-data/data_store/data/emri_small_jpeg_2k_lossless_too_short.dcm"}
TO_BE_READ = {
    "TOSHIBA_J2K_SIZ0_PixRep1 TOSHIBA_J2K_SIZ1_PixRep0": "its codestream is signed, its header is not",
}
# Files that tell the same picture: the first in full, the others after a lossless codec or in another byte order. What
# DCMTK made of a lossy JPEG is a reference, too: libjpeg's arithmetic is the same everywhere.
SAME = (
    "emri_small emri_small_RLE emri_small_big_endian emri_small_jpeg_2k_lossless emri_small_jpeg_ls_lossless",
    "OBXXXX1A OBXXXX1A_rle OBXXXX1A_expb",
    "OBXXXX1A_2frame OBXXXX1A_rle_2frame OBXXXX1A_expb_2frame",
    "SC_rgb SC_rgb_expb SC_rgb_rle SC_rgb_jpeg_gdcm",
    "SC_rgb_2frame SC_rgb_expb_2frame SC_rgb_rle_2frame",
    "SC_rgb_16bit SC_rgb_expb_16bit SC_rgb_rle_16bit",
    "SC_rgb_16bit_2frame SC_rgb_expb_16bit_2frame SC_rgb_rle_16bit_2frame",
    "SC_rgb_32bit SC_rgb_expb_32bit SC_rgb_rle_32bit",
    "SC_rgb_32bit_2frame SC_rgb_expb_32bit_2frame SC_rgb_rle_32bit_2frame",
    "SC_rgb_gdcm2k_uncompressed SC_rgb_gdcm_KY",
    "SC_rgb_dcmtk_ebcr_dcmd SC_rgb_dcmtk_+eb+cr",
    "SC_rgb_dcmtk_ebcyn1_dcmd SC_rgb_dcmtk_+eb+cy+n1",
    "SC_rgb_dcmtk_ebcyn2_dcmd SC_rgb_dcmtk_+eb+cy+n2",
    "SC_rgb_dcmtk_ebcynp_dcmd SC_rgb_dcmtk_+eb+cy+np",
    "SC_rgb_dcmtk_ebcys2_dcmd SC_rgb_dcmtk_+eb+cy+s2",
    "SC_rgb_dcmtk_ebcys4_dcmd SC_rgb_dcmtk_+eb+cy+s4",
    "color-px color-pl",
    "liver liver_deflate liver_expb liver_j2k",
    "liver_nonbyte_aligned liver_nonbyte_aligned_deflate liver_nonbyte_aligned_j2k",
    "MR_small MR_small_RLE MR_small_jp2klossless MR_small_jpeg_ls_lossless",
    "MR2_UNCR MR2_J2KR",
    "MR2_UNCI MR2_J2KI",
    "693_UNCR 693_J2KR",
    "693_UNCI 693_J2KI",
    "US1_UNCR US1_J2KR",
    "US1_UNCI US1_J2KI",
    "RG2_JLSL RG2_JPLL",
    "RG2_JPLY RG2_JPLY_fixed",
    "JLSL_RGB_ILV0 JLSL_RGB_ILV1 JLSL_RGB_ILV2",
    "rtdose rtdose_rle",
    "rtdose_1frame rtdose_rle_1frame",
    "sm_image sm_image_jpegls sm_image_jpegls_nobot",
    "gdcm-US-ALOKA-16 gdcm-US-ALOKA-16_big",
    "emri_small_jpeg_2k_lossless emri_small_jpeg_2k_lossless_too_short",
    "TOSHIBA_J2K_SIZ0_PixRep1 TOSHIBA_J2K_SIZ1_PixRep0",
)
LOSSLESS = ("1.2.1", "1.2.2", "99", "90", "80", "57", "70", "1.2.5", "1.2")


def all_rows():
    if "EFFMED_CORPUS" not in os.environ:
        return []
    with (ROOT / "corpus.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def rows():
    return [row for row in all_rows() if not row["duplicate_of"]]


def is_refused(row):
    return row["prototype_result"] == "reject" and row["file"] not in READ_NOW


def image_of(path, frame=0):
    return read_image(path, frame, window="stored", max_megapixels=MAX_MEGAPIXELS)


def stored(path, frame):
    """Values as they were before they were encoded; and how many frames there are."""
    with path.open("rb") as file:
        opened = open_dicom(file)
        layout = pixel_layout(opened, MAX_MEGAPIXELS)
        pixels, bits = decode_frame(opened, layout, frame)
    return stored_values(pixels, bits), layout.frames


def paths_of(name):
    return [ROOT / row["file"] for row in all_rows() if Path(row["file"]).name == f"{name}.dcm"]


def names(rows_):
    return [row["file"] for row in rows_]


def expected(name):
    """A parameter, marked where it is known to fail still."""
    reason = TO_BE_READ.get(name)
    return pytest.param(name, marks=[pytest.mark.xfail(reason=reason)] if reason else [])


@pytest.mark.parametrize("name", [expected(name) for name in names(row for row in rows() if not is_refused(row))])
def test_every_image_becomes_an_image_of_the_size_that_its_header_states(name):
    path = ROOT / name
    header = read_header(path, max_megapixels=MAX_MEGAPIXELS)
    for frame in {0, header.frames - 1}:
        image = image_of(path, frame)
        assert image.pixels.shape[:2] == (header.rows, header.columns)
        assert preprocess(image, SPEC).shape == (32, 32)
    with pytest.raises(DataError):
        image_of(path, header.frames)


@pytest.mark.parametrize("name", names(row for row in rows() if is_refused(row)))
def test_everything_else_is_refused_with_a_reason_and_a_remedy(name):
    with pytest.raises(DataError) as caught:
        image_of(ROOT / name)
    assert caught.value.problem
    assert caught.value.hint


def test_the_corpus_is_whole_and_known_by_its_content():
    found = {path for path in ROOT.rglob("*") if path.is_file() and path.suffix not in (".txt", ".csv")}
    assert found == {ROOT / name for name in names(all_rows())}
    assert {path for path in ROOT.rglob("*") if sniff(path) == "dicom"} == found


@pytest.mark.parametrize("group", [expected(group) for group in SAME])
def test_lossless_files_hold_exactly_the_values_of_their_references(group):
    reference, *others = group.split()
    (plain, *_), paths = paths_of(reference), [path for name in others for path in paths_of(name)]
    assert len(paths) >= len(others)
    for path in paths:
        for frame in range(stored(plain, 0)[1]):
            assert np.array_equal(stored(path, frame)[0], stored(plain, frame)[0]), (path.name, frame)


@pytest.mark.parametrize("folder", ["examples/test-images", "testImages"])
def test_one_slice_has_the_same_grey_levels_in_every_lossless_syntax(folder):
    place = ROOT / "cornerstonejs_cornerstoneWADOImageLoader" / folder
    plain = image_of(place / "CTImage.dcm").pixels
    paths = [place.glob(f"CTImage.dcm_*_1.2.840.10008.*{end}.dcm") for end in LOSSLESS]
    same = {path for found in paths for path in found}
    assert len(same) == len(LOSSLESS)
    for path in same:
        assert np.array_equal(stored(path, 0)[0], stored(place / "CTImage.dcm", 0)[0]), path.name
        assert np.array_equal(image_of(path).pixels, plain), path.name


@pytest.mark.parametrize(
    ("name", "reference", "limit"),
    [("JLSN_RGB_ILV0", "JLSL_RGB_ILV0", 3), ("RG2_JLSN", "RG2_JLSL", 4), ("HTJ2K_08_RGB", "HTJ2KLossless_08_RGB", 4)],
)
def test_nearly_lossless_files_are_as_near_as_their_encoder_promised(name, reference, limit):
    values, wanted = (stored(paths_of(each)[0], 0)[0].astype(np.int64) for each in (name, reference))
    assert 0 < np.abs(values - wanted).max() <= limit
