"""Files made by nibabel, whose closest canonical orientation is the oracle."""

import gzip
import itertools
import struct
import subprocess
import sys
from contextlib import suppress

import nibabel
import numpy as np
import pytest

from effmed.data.pixels import Preprocessing, nifti, preprocess
from effmed.data.pixels.image import PIXELS_PER_MEGAPIXEL
from effmed.data.pixels.read import read_header, read_image, sniff
from effmed.errors import DataError, RecipeError

VALUES = np.random.default_rng(0).integers(-1000, 2000, (4, 5, 6)).astype(np.int16)
ZOOMS = (0.5, 0.75, 3.0)
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
FULL = "full"


def affine(order=(0, 1, 2), signs=(1, 1, 1), zooms=ZOOMS):
    """The affine that leads stored axis k along world axis ``order[k]``."""
    made = np.eye(4)
    made[:3, :3] = 0
    for axis in range(3):
        made[order[axis], axis] = signs[axis] * zooms[axis]
    return made


def volume(path, values=VALUES, matrix=None, *, kind=nibabel.Nifti1Image):
    nibabel.save(kind(values, affine() if matrix is None else matrix), path)
    return path


def changed(path, at, form, *values):
    """Overwrite a field of the header."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, *values)
    path.write_bytes(data)
    return path


def scaled(path, slope, intercept):
    return changed(path, 112, "<2f", slope, intercept)


def read(path, frame=0, window=FULL, max_megapixels=1.0):
    return read_image(path, frame, window=window, max_megapixels=max_megapixels)


def levels(values, low=-32768, high=32767):
    return np.rint((np.float64(values) - low) / (high - low) * 65535).astype(np.uint16)


def as_radiologists_see(canonical, k):
    """Slice k of a RAS+ array: the patient's right on the left, anterior up."""
    return canonical[::-1, ::-1, k].T


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_slices_are_those_of_the_closest_canonical_orientation(tmp_path, order, signs, suffix):
    path = volume(tmp_path / f"a{suffix}", matrix=affine(order, signs))
    closest = nibabel.as_closest_canonical(nibabel.load(path))
    canonical, zooms = np.asarray(closest.dataobj), closest.header.get_zooms()
    header = read_header(path)
    assert (header.columns, header.rows, header.frames) == canonical.shape
    for k in range(header.frames):
        image = read(path, k)
        assert np.array_equal(image.pixels, levels(as_radiologists_see(canonical, k)))
        assert image.aspect == pytest.approx(zooms[1] / zooms[0])


@pytest.mark.parametrize("angle", [0.1, 0.7, 0.9, 2.5, 4.0])
def test_oblique_slices_are_taken_as_nibabel_takes_them(tmp_path, angle):
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = volume(tmp_path / "a.nii", matrix=turn @ affine((1, 2, 0), (1, -1, 1)))
    canonical = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    assert np.array_equal(read(path, 2).pixels, levels(as_radiologists_see(canonical, 2)))


def test_right_is_left_and_anterior_is_up(tmp_path):
    values = np.zeros((3, 3, 1), np.uint16)
    values[2, 1], values[1, 2] = 100, 200  # the patient's right side; the front
    pixels = read(volume(tmp_path / "a.nii", values, np.eye(4)), window="percentile").pixels
    assert pixels[1, 0] == 32768
    assert pixels[0, 1] == 65535
    assert np.count_nonzero(pixels) == 2


@pytest.mark.parametrize(
    ("order", "up", "left"),
    [((0, 1, 2), "anterior", "right"), ((0, 2, 1), "superior", "right"), ((1, 2, 0), "superior", "anterior")],
)
@pytest.mark.parametrize("axes", [2, 3])
def test_a_file_of_one_slice_is_that_slice_in_any_orientation(tmp_path, order, up, left, axes):
    values = np.zeros((3, 5) if axes == 2 else (3, 5, 1), np.uint16)
    values[2, 2], values[1, 4] = 100, 200
    ends = {"right": 0, "anterior": 1, "superior": 2}
    path = volume(tmp_path / "a.nii", values, affine(order))
    assert [ends[left], ends[up]] == list(order[:2])
    assert (read_header(path).rows, read_header(path).columns, read_header(path).frames) == (5, 3, 1)
    pixels = read(path, window="percentile").pixels
    assert (pixels[2, 0], pixels[0, 1], np.count_nonzero(pixels)) == (32768, 65535, 2)


@pytest.mark.parametrize("single", [0, 1, 2])
def test_the_only_axis_of_length_one_is_that_of_the_slices(tmp_path, single):
    shape = [4, 5, 6]
    shape[single] = 1
    header = read_header(volume(tmp_path / "a.nii", np.zeros(shape, np.int16)))
    assert header.frames == 1
    assert sorted([header.rows, header.columns]) == sorted(length for length in shape if length > 1)


def test_a_last_axis_of_one_volume_is_no_axis(tmp_path):
    path = volume(tmp_path / "a.nii", VALUES[..., np.newaxis])
    assert read_header(path).frames == 6
    assert np.array_equal(read(path, 3).pixels, levels(as_radiologists_see(VALUES, 3)))


def test_several_volumes_are_refused_with_a_remedy(tmp_path):
    path = volume(tmp_path / "a.nii", np.zeros((4, 5, 6, 2), np.int16))
    for attempt in (read, read_header):
        with pytest.raises(DataError, match=r"has 4 axes \(4 x 5 x 6 x 2\), not 2 or 3") as caught:
            attempt(path)
        assert "four_to_three" in caught.value.hint


def test_a_single_axis_is_refused(tmp_path):
    path = changed(volume(tmp_path / "a.nii"), 40, "<4h", 1, 4, 1, 1)
    with pytest.raises(DataError, match=r"has 1 axes \(4\)"):
        read(path)


@pytest.mark.parametrize(("slope", "intercept"), [(2.5, -1024.0), (-1.0, 10.0), (0.0, 7.0), (float("nan"), 7.0)])
def test_values_are_scaled_before_they_are_windowed(tmp_path, slope, intercept):
    path = scaled(volume(tmp_path / "a.nii"), slope, intercept)
    values = nibabel.load(path).get_fdata()
    assert np.array_equal(values, VALUES * slope + intercept if slope in (2.5, -1.0) else VALUES)
    wanted = np.clip((as_radiologists_see(values, 1) - 39.5) / 399 + 0.5, 0, 1)
    image = read(path, 1, "40/400")
    assert np.array_equal(image.pixels, np.rint(wanted * 65535).astype(np.uint16))
    assert (image.provenance.window, image.provenance.window_origin) == ("40/400", "recipe")


def test_the_full_window_of_scaled_integers_is_that_of_their_type(tmp_path):
    values = np.array([[[-32768], [0], [32767]]], np.int16)
    plain = read(volume(tmp_path / "a.nii", values)).pixels
    assert plain.ravel().tolist() == [65535, 32768, 0]
    assert read(scaled(volume(tmp_path / "b.nii", values), -2.0, 5.0)).pixels.ravel().tolist() == [
        0,
        32767,
        65535,
    ]


@pytest.mark.parametrize(("dtype", "largest"), [("u1", 255), ("u4", 2**32 - 1)])
def test_the_full_window_is_that_of_every_type_of_integer(tmp_path, dtype, largest):
    image = read(volume(tmp_path / "a.nii", np.array([[[0], [largest // 5]]], dtype)))
    assert image.pixels.ravel().tolist() == ([51, 0] if dtype == "u1" else [13107, 0])


def test_without_a_window_the_percentiles_of_the_slice_are_taken_and_told(tmp_path):
    ramp = np.arange(1000, dtype=np.int32).reshape(20, 50, 1)
    for window in ("stored", "percentile"):
        provenance = read(volume(tmp_path / "a.nii", ramp), window=window).provenance
        assert (provenance.window, provenance.window_origin) == ("p0.5-p99.5 = 4..994", "percentile")


def test_floats_are_windowed_without_what_is_not_a_number(tmp_path):
    values = np.array([[[0.0], [0.5], [1.0], [np.nan], [np.inf], [-np.inf]]], np.float32)
    for window in ("stored", FULL):
        pixels = read(volume(tmp_path / "a.nii", values), window=window).pixels
        assert pixels.ravel()[::-1].tolist() == [0, 32768, 65535, 0, 0, 0]


@pytest.mark.parametrize("window", ["stored", FULL])
def test_a_slice_without_any_number_is_black(tmp_path, window):
    path = volume(tmp_path / "a.nii", np.full((4, 5, 6), np.nan, np.float64))
    assert read(path, window=window).pixels.max() == 0


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"], ids=str)
def test_every_type_of_grey_value_is_read(tmp_path, dtype):
    values = np.arange(120).reshape(4, 5, 6).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    nibabel.save(nibabel.Nifti1Image(values, affine(), header, dtype=dtype), tmp_path / "a.nii")
    image = read(tmp_path / "a.nii", 1, "60/120")
    wanted = levels(as_radiologists_see(values, 1), 0, 119)
    bits = 8 * np.dtype(dtype).itemsize
    assert np.array_equal(image.pixels, wanted if bits > 8 else np.rint(wanted / 257))
    assert image.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert (image.provenance.kind, image.provenance.bits) == ("nifti", bits)
    assert read_header(tmp_path / "a.nii").bits == bits


def test_several_windows_are_channels(tmp_path):
    path = volume(tmp_path / "a.nii")
    image = read(path, 2, "40/80,80/200,600/2800")
    assert (image.pixels.shape, image.has_windows) == ((5, 4, 3), True)
    assert image.provenance.window == "40/80, 80/200, 600/2800"
    for channel, window in enumerate(("40/80", "80/200", "600/2800")):
        assert np.array_equal(image.pixels[..., channel], read(path, 2, window).pixels)
    assert not read(path, 2, "40/80").has_windows


def test_slices_can_be_preprocessed(tmp_path):
    spec = Preprocessing(height=16, width=16, channels=1, depth="uint16", window="stored", max_megapixels=1)
    boxed = preprocess(read(volume(tmp_path / "a.nii"), window="stored"), spec)
    assert (boxed.shape, boxed.dtype) == ((16, 16), np.uint16)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_the_kind_is_told_by_content_not_by_name(tmp_path, kind, suffix):
    path = volume(tmp_path / f"a{suffix}", kind=kind)
    renamed = path.rename(tmp_path / "a.dcm")
    assert sniff(renamed) == "nifti"
    assert np.array_equal(read(renamed, 5).pixels, levels(as_radiologists_see(VALUES, 5)))
    assert (
        read(renamed).provenance.syntax
        == read_header(renamed).syntax
        == suffix.lstrip(".").replace("nii.gz", "gzip").replace("nii", "nifti")
    )


@pytest.mark.parametrize("level", [0, 1, 9])
def test_neither_a_long_name_nor_noise_hides_the_header(tmp_path, level):
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64, 9)).astype(np.uint16)
    plain, path = volume(tmp_path / "a.nii", noise), tmp_path / "b.nii.gz"
    with path.open("wb") as file, gzip.GzipFile("n" * 250, "wb", level, file) as packer:
        packer.write(plain.read_bytes())
    assert path.stat().st_size > nifti.HEAD_BYTES
    assert sniff(path) == "nifti"


def test_no_more_than_a_header_is_inflated_to_tell_the_kind():
    assert len(nifti._plain(gzip.compress(bytes(10**7))[: nifti.HEAD_BYTES])) <= 540


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b", b"\x1f\x8b" + bytes(600), gzip.compress(b"text" * 500, mtime=0), gzip.compress(b"", mtime=0)],
)
def test_other_compressed_files_are_no_images(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert sniff(tmp_path / "a.nii.gz") == ""
    with pytest.raises(DataError, match="not an image file"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_the_header_of_a_pair_is_refused_with_a_remedy(tmp_path, kind):
    nibabel.save(kind(VALUES, affine()), tmp_path / "a.hdr")
    assert sniff(tmp_path / "a.hdr") == "nifti"
    with pytest.raises(DataError, match="header of a NIfTI pair") as caught:
        read(tmp_path / "a.hdr")
    assert ".nii" in caught.value.hint


@pytest.mark.parametrize("frame", [-1, 6])
def test_a_slice_that_is_not_there_is_refused(tmp_path, frame):
    with pytest.raises(DataError, match=f"has 6 slices, slice {frame} was asked for"):
        read(volume(tmp_path / "a.nii"), frame)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_beyond_the_limit_is_refused_before_its_pixels_are_read(tmp_path, suffix, monkeypatch):
    path = volume(tmp_path / f"a{suffix}")
    monkeypatch.setattr(nifti, "_read_slice", lambda *_: pytest.fail("it was read"))
    limit = 119 / PIXELS_PER_MEGAPIXEL
    for attempt in (lambda: read(path, max_megapixels=limit), lambda: read_header(path, max_megapixels=limit)):
        with pytest.raises(DataError, match="5 x 4 pixels x 6 frames"):
            attempt()


def test_a_bomb_is_not_inflated_beyond_what_its_header_claims(tmp_path, monkeypatch):
    plain = volume(tmp_path / "a.nii").read_bytes()
    bomb = tmp_path / "a.nii.gz"
    bomb.write_bytes(gzip.compress(plain + bytes(50 * 2**20)))
    inflated = []
    original = gzip.GzipFile.read

    def counted(self, size=-1):
        data = original(self, size)
        inflated.append(len(data))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    assert sniff(bomb) == "nifti"
    assert read_header(bomb).frames == 6
    assert sum(inflated) <= 600
    assert np.array_equal(read(bomb, 5).pixels, levels(as_radiologists_see(VALUES, 5)))
    assert sum(inflated) <= 3 * nifti.TAIL_BYTES


@pytest.mark.parametrize("offset", [0.0, 347.0, 1e9, -352.0])
def test_pixels_that_begin_nowhere_near_the_header_are_refused(tmp_path, offset):
    path = changed(volume(tmp_path / "a.nii"), 108, "<f", offset)
    with pytest.raises(DataError, match=rf"begin at byte {int(offset)}|HeaderDataError"):
        read(path)


@pytest.mark.parametrize("lost", [1, 100])
def test_pixels_that_are_cut_off_are_refused(tmp_path, lost):
    whole = volume(tmp_path / "a.nii").read_bytes()
    for name, data in (("b.nii", whole[:-lost]), ("b.nii.gz", gzip.compress(whole[:-lost]))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"is cut off: {592 - lost} bytes, 592 expected"):
            read(tmp_path / name)


def test_a_compressed_file_that_is_cut_off_or_damaged_anywhere_is_refused(tmp_path):
    path = volume(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 9999, (32, 32, 9)).astype(np.int16))
    whole = path.read_bytes()
    for kept in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(DataError):
            read(path)
    for at in range(len(whole) // 2, len(whole) - 8, 997):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DataError):
            read(path)  # the first slice, which may not be the damaged one: the checksum is of all


@pytest.mark.parametrize(
    ("dtype", "content"),
    [([("R", "u1"), ("G", "u1"), ("B", "u1")], "colours"), ("c8", "values of type complex64")],
)
def test_what_is_not_grey_is_refused(tmp_path, dtype, content):
    path = volume(tmp_path / "a.nii", np.zeros((4, 5, 6), dtype))
    with pytest.raises(DataError, match=f"holds {content}"):
        read(path)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize <= 8, reason="this machine has no wider floats")
def test_floats_wider_than_64_bits_are_refused():
    with pytest.raises(DataError, match="holds values of type float"):
        nifti._check_type(np.dtype(np.longdouble))


def test_an_affine_that_does_not_tell_the_orientation_is_refused(tmp_path):
    path = changed(volume(tmp_path / "a.nii"), 280, "<4f", 0, 0, 0, 0)
    changed(path, 252, "<2h", 0, 2)
    with pytest.raises(DataError, match="does not tell how its slices lie"):
        read(path)


def test_an_affine_need_not_tell_the_third_axis_of_a_picture(tmp_path):
    matrix = affine()
    path = volume(tmp_path / "a.nii", VALUES[..., :1], matrix)
    wanted = read(path).pixels
    for row in range(3):
        changed(path, 280 + 16 * row + 8, "<f", 0.0)  # of the sform
    assert np.array_equal(read(path).pixels, wanted)


@pytest.mark.parametrize("zoom", [float("nan"), float("inf"), 1e30, 1e-30])
def test_a_pixel_size_that_tells_nothing_means_square(tmp_path, zoom):
    path = changed(volume(tmp_path / "a.nii"), 80, "<f", zoom)
    changed(path, 252, "<2h", 0, 2)  # the sform tells the orientation
    assert read(path).aspect == 1.0


def test_without_nibabel_the_remedy_is_told(tmp_path, monkeypatch):
    path = volume(tmp_path / "a.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for attempt in (read, read_header):
        with pytest.raises(DataError, match="is NIfTI, which needs the package nibabel") as caught:
            attempt(path)
        assert caught.value.hint == "install it: pip install 'effmed[nifti]'"


def test_nibabel_is_imported_only_where_a_file_needs_it(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(600))
    probe = (
        "import sys, pathlib; from effmed.data.pixels import sniff\n"
        f"sniff(pathlib.Path({str(tmp_path / 'a.dcm')!r}))\n"
        "sys.stderr.write('nibabel' * ('nibabel' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_what_nibabel_thinks_of_a_header_reaches_neither_logs_nor_streams(tmp_path, caplog, capfd):
    path = changed(volume(tmp_path / "a.nii"), 80, "<f", -0.7)  # a negative size, of which nibabel would tell
    changed(path, 252, "<2h", 0, 2)
    nibabel.load(path)
    assert "pixdim" in caplog.text
    caplog.clear()
    capfd.readouterr()
    read(path)
    assert (caplog.records, tuple(capfd.readouterr())) == ([], ("", ""))


def test_a_window_that_is_none_is_the_recipes_fault(tmp_path):
    with pytest.raises(RecipeError, match="lung"):
        read(volume(tmp_path / "a.nii"), window="lung")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_damaged_files_are_images_or_reasons(tmp_path, kind, suffix):
    whole, dice = bytearray(volume(tmp_path / "a.nii", kind=kind).read_bytes()), np.random.default_rng(0)
    path = tmp_path / f"b{suffix}"
    for _ in range(150):
        data = whole.copy()
        for at in dice.integers(0, 544, dice.integers(1, 5)):
            data[at] = dice.integers(256)
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
        for attempt in (read, read_header):
            with suppress(DataError):
                attempt(path)
