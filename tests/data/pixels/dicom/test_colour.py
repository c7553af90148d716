import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels import convert_color_space

from effmed.data.pixels.read import read_image
from effmed.errors import DataError
from tests.data.pixels import make

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
INDICES = np.array([[0, 1, 2, 3]], dtype=np.uint8)
RED, GREEN, BLUE = [0, 10, 20, 255], [0, 50, 60, 255], [0, 90, 100, 255]


def read(path):
    return read_image(path, 0, window="stored", max_megapixels=10).pixels


def palette(tables=(RED, GREEN, BLUE), *, first=0, bits=16, scale=257, encode=None, n_entries=None):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    encode = encode or (lambda values: (np.array(values) * scale).astype("<u2").tobytes())
    for name, values in zip(("Red", "Green", "Blue"), tables, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [n_entries or len(values), first, bits]
        elements[f"{name}PaletteColorLookupTableData"] = encode(values)
    return elements


WANTED = np.stack([RED, GREEN, BLUE], axis=-1)[np.newaxis].tolist()


def test_rgb_stays_as_it_is(tmp_path):
    assert np.array_equal(read(make.dicom(tmp_path / "a", RGB)), RGB)


def test_planes_become_pixels(tmp_path):
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    path = make.dicom(tmp_path / "a", RGB, PlanarConfiguration=1)
    path.write_bytes(path.read_bytes().replace(RGB.tobytes(), planes.tobytes()))
    assert np.array_equal(read(path), RGB)


def test_rgb_with_equal_channels_is_grey(tmp_path):
    grey = np.repeat(RGB[..., :1], 3, axis=2)
    assert np.array_equal(read(make.dicom(tmp_path / "a", grey)), RGB[..., 0])


def test_ybr_full_becomes_rgb(tmp_path):
    ybr = convert_color_space(RGB, "RGB", "YBR_FULL")
    path = make.dicom(tmp_path / "a", ybr, PhotometricInterpretation="YBR_FULL")
    assert np.abs(np.int16(read(path)) - RGB).max() <= 2


def test_16_bit_colour_is_brought_to_8(tmp_path):
    path = make.dicom(tmp_path / "a", RGB.astype(np.uint16) * 257)
    assert np.array_equal(read(path), RGB)


def test_a_palette_of_16_bits_is_looked_up(tmp_path):
    assert read(make.dicom(tmp_path / "a", INDICES, **palette())).tolist() == WANTED


def test_a_palette_that_says_16_bits_and_holds_8_is_looked_up(tmp_path):
    assert read(make.dicom(tmp_path / "a", INDICES, **palette(scale=1))).tolist() == WANTED


def test_a_palette_of_bytes_is_looked_up(tmp_path):
    assert read(make.dicom(tmp_path / "a", INDICES, **palette(bits=8, encode=bytes))).tolist() == WANTED


def test_a_palette_of_an_odd_number_of_bytes_is_looked_up(tmp_path):
    tables = (RED[1:], GREEN[1:], BLUE[1:])
    path = make.dicom(tmp_path / "a", INDICES[:, :3], **palette(tables, bits=8, encode=lambda v: bytes(v) + b"\0"))
    assert read(path).tolist() == [WANTED[0][1:]]


def test_a_big_endian_palette_is_looked_up(tmp_path):
    # pydicom 3.0.2 gives other colours here
    elements = palette(encode=lambda values: (np.array(values) * 256 + 128).astype(">u2").tobytes())
    path = make.dicom(tmp_path / "a", INDICES, syntax=uid.ExplicitVRBigEndian, **elements)
    assert read(path).tolist() == WANTED


def test_indices_outside_the_palette_take_its_ends(tmp_path):
    path = make.dicom(tmp_path / "a", np.array([[0, 5, 6, 250]], dtype=np.uint8), **palette(first=5))
    assert read(path).tolist() == [[WANTED[0][k] for k in (0, 0, 1, 3)]]


def test_a_palette_of_signed_indices_may_begin_below_zero(tmp_path):
    path = make.dicom(tmp_path / "a", np.array([[-2, -1, 0, 1]], dtype=np.int16), **palette(first=-2))
    assert read(path).tolist() == WANTED


def test_a_palettes_first_index_may_be_written_unsigned(tmp_path):
    elements = palette()
    descriptors = {name: elements.pop(name) for name in list(elements) if name.endswith("Descriptor")}
    path = make.dicom(tmp_path / "a", np.array([[-2, -1, 0, 1]], dtype=np.int16), **elements)
    made = pydicom.dcmread(path)
    for name in descriptors:
        made.add_new(name, "US", [4, 65534, 16])
    made.save_as(path)
    assert read(path).tolist() == WANTED


def test_a_segmented_palette_is_looked_up(tmp_path):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        segments = [0, 1, 0, 1, 3, 65535]  # one entry 0, then a line of three entries up to 65535
        elements[f"Segmented{name}PaletteColorLookupTableData"] = np.array(segments, dtype="<u2").tobytes()
    assert read(make.dicom(tmp_path / "a", INDICES, **elements)).tolist() == [[0, 85, 170, 255]]


def test_a_palette_shorter_than_it_says_is_refused(tmp_path):
    with pytest.raises(DataError, match="has 4 entries of 256"):
        read(make.dicom(tmp_path / "a", INDICES, **palette(n_entries=256)))


def test_a_missing_palette_is_told(tmp_path):
    with pytest.raises(DataError, match="without a palette"):
        read(make.dicom(tmp_path / "a", INDICES, PhotometricInterpretation="PALETTE COLOR"))


@pytest.mark.parametrize("colours", ["YBR_PARTIAL_422", "HSV"])
def test_unknown_colours_are_refused(tmp_path, colours):
    with pytest.raises(DataError) as caught:
        read(make.dicom(tmp_path / "a", RGB, PhotometricInterpretation=colours))
    assert colours in caught.value.problem
