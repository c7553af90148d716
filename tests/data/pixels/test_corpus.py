"""Real files of many vendors and test suites: each is an image or has a reason."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from effmed.data.pixels import read_header, read_image
from effmed.errors import DataError

ROOT = Path(os.environ.get("EFFMED_CORPUS", "")) / "dicom_corpus"
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif("EFFMED_CORPUS" not in os.environ, reason="needs real files: set EFFMED_CORPUS"),
]
# Two of ten frames are there: the prototype refused the file, here only the missing frames are refused.
PARTLY_READ = {"pydicom_pydicom-data/data_store/data/emri_small_jpeg_2k_lossless_too_short.dcm"}


def rows():
    if "EFFMED_CORPUS" not in os.environ:
        return []
    with (ROOT / "corpus.csv").open(newline="") as file:
        unique = [row for row in csv.DictReader(file) if not row["duplicate_of"]]
    return [row for row in unique if row["prototype_result"]]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_every_image_of_the_corpus_is_read_and_the_rest_refused(row):
    path = ROOT / row["file"]
    if row["prototype_result"] == "reject" and row["file"] not in PARTLY_READ:
        with pytest.raises(DataError):
            read_image(path, 0, window="stored", max_megapixels=200)
        return
    image = read_image(path, 0, window="stored", max_megapixels=200)
    header = read_header(path, max_megapixels=200)
    assert image.pixels.shape[:2] == (header.rows, header.columns)


def test_one_slice_has_the_same_grey_levels_in_every_lossless_syntax():
    folder = ROOT / "cornerstonejs_cornerstoneWADOImageLoader" / "examples" / "test-images"
    lossless = (".1.2.1.dcm", ".1.2.2.dcm", ".99.dcm", ".90.dcm", ".80.dcm", ".57.dcm", ".70.dcm", ".1.2.5.dcm")
    plain = read_image(folder / "CTImage.dcm", 0, window="40/400", max_megapixels=1).pixels
    same = [path for path in folder.glob("CTImage.dcm_*") if path.name.endswith(lossless)]
    assert len(same) >= len(lossless)
    for path in same:
        assert np.array_equal(read_image(path, 0, window="40/400", max_megapixels=1).pixels, plain), path.name
