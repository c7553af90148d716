"""The contact sheet: self-contained, escaped, with the pictures it promises."""

import base64

import cv2
import numpy as np
import pytest

from effmed.data.audit import Finding
from effmed.data.cache import CachedPixels
from effmed.data.overview import make_overview, write_sheet
from effmed.data.overview.sheet import N_PICTURES, encode_jpeg, encode_png
from effmed.data.records import Unreadable
from effmed.errors import MachineError
from tests import make


def pixels(n, shape=(16, 16), dtype=np.uint8):
    stack = np.arange(n, dtype=dtype).reshape(n, *([1] * len(shape))) * np.ones(shape, dtype)
    return CachedPixels((stack,), np.zeros(n, np.int64), np.arange(n), shape, np.dtype(dtype))


def sheet(folder, manifest, findings=(), **options):
    page = write_sheet(folder, manifest, pixels(len(manifest), **options), make_overview(manifest), findings)
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("shape", "dtype"), [((16, 16), np.uint8), ((16, 16, 3), np.uint8), ((16, 16), np.uint16)])
def test_a_picture_is_the_image(shape, dtype):
    image = np.zeros(shape, dtype)
    image[:8] = np.iinfo(dtype).max
    if len(shape) > 2:
        image[..., 2] = 0  # yellow above black
    raw = np.frombuffer(base64.b64decode(encode_jpeg(image)), np.uint8)
    decoded = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    assert decoded.shape == shape
    assert decoded[2, 2].max() > 240
    assert decoded[13, 13].max() < 15
    if len(shape) > 2:
        assert decoded[2, 2, 0] < 15  # OpenCV's first channel is blue


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_holds_the_levels_as_they_are(dtype):
    image = np.linspace(0, np.iinfo(dtype).max, 256).astype(dtype).reshape(16, 16)
    decoded = cv2.imdecode(np.frombuffer(encode_png(image), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.dtype == np.uint8
    assert decoded.ravel().tolist() == list(range(256))
    colour = np.stack([image, image * 0, image * 0], axis=2)
    decoded = cv2.imdecode(np.frombuffer(encode_png(colour), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded[15, 15].tolist() == [0, 0, 255]  # OpenCV's last channel is red


def test_the_page_needs_nothing_else(tmp_path):
    page = sheet(tmp_path, make.manifest(labels=["a", "b"]))
    assert "<script" not in page
    assert "http" not in page
    assert page.count("<img") == page.count("alt=") == 2


def test_of_many_images_some_are_shown_evenly_spread(tmp_path):
    page = sheet(tmp_path, make.manifest(labels=["a"] * 200))
    assert page.count("<img") == N_PICTURES
    assert f"{N_PICTURES} of 200 images" in page
    assert 'alt="0.png' in page
    assert 'alt="199.png' in page


def test_findings_show_their_images(tmp_path):
    finding = Finding(
        kind="near-duplicates", severity="error", images=("1.png", "gone.png"), n_images=2, text="two", hint="look"
    )
    page = sheet(tmp_path, make.manifest(labels=["a", "b"]), [finding])
    assert page.count('alt="1.png') == 2
    assert "gone.png" not in page
    assert "two. Look." in page


def test_names_are_escaped(tmp_path):
    manifest = make.manifest(labels=["<b>", "a"])
    manifest = manifest.with_frame(manifest.frame.assign(image=['"><script>x', "b.png"]))
    page = sheet(tmp_path, manifest)
    assert "<script" not in page
    assert "<b>" not in page


def test_unreadable_files_stand_with_their_remedy(tmp_path):
    manifest = make.manifest(labels=["a", "b"])
    manifest = type(manifest)(
        manifest.root, manifest.frame, manifest.classes, (Unreadable("bad.dcm", 3, "is cut off", "copy it again"),)
    )
    page = sheet(tmp_path, manifest)
    for part in ("bad.dcm#3", "is cut off", "copy it again", "1 file unreadable"):
        assert part in page


def test_images_without_labels_are_shown_too(tmp_path):
    manifest = make.manifest(labels=["a", "b"])
    bare = type(manifest)(manifest.root, manifest.frame.assign(label=None).astype({"label": "string"}))
    assert sheet(tmp_path, bare).count("<img") == 2


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        sheet(tmp_path / "file" / "sheet", make.manifest(labels=["a", "b"]))
