import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from effmed.data.pixels import raster
from effmed.data.pixels.raster import read_raster, read_raster_header
from effmed.errors import DataError, RecipeError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP_RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def picture(path, pixels, mode=None, **options):
    PIL.Image.fromarray(pixels, mode).save(path, **options) if mode is None else PIL.Image.frombytes(
        mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes()
    ).save(path, **options)
    return path


def png16(path, pixels, colour_type):
    """Write a 16-bit PNG with several channels, which Pillow cannot."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def read(path, frame=0, kind=None, window="stored", max_megapixels=200.0):
    kind = kind or {"jpg": "jpeg", "tif": "tiff"}.get(path.suffix[1:], path.suffix[1:])
    return read_raster(path, frame, kind=kind, window=window, max_megapixels=max_megapixels)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_eight_bits_of_grey_stay_as_they_are(tmp_path, suffix):
    assert np.array_equal(read(picture(tmp_path / f"a.{suffix}", RAMP)).pixels, RAMP)


def test_lossless_webp_stays_as_it_is(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(read(picture(tmp_path / "a.webp", colour, lossless=True)).pixels, colour)


def test_a_jpeg_is_close_to_what_was_saved(tmp_path):
    smooth = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    read_back = read(picture(tmp_path / "a.jpg", smooth, quality=95)).pixels
    assert np.abs(read_back.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_levels(tmp_path, suffix):
    pixels = read(picture(tmp_path / f"a.{suffix}", DEEP_RAMP)).pixels
    assert pixels.dtype == np.uint16
    assert len(np.unique(pixels)) > 4000


def test_sixteen_bits_are_stretched_between_percentiles_by_default(tmp_path):
    image = read(picture(tmp_path / "a.png", DEEP_RAMP))
    assert (image.pixels.min(), image.pixels.max()) == (0, 65535)
    assert image.provenance.window_origin == "percentile"
    assert image.provenance.window == "p0.5-p99.5 = 20..4075"


def test_full_window_keeps_the_range_of_sixteen_bits(tmp_path):
    image = read(picture(tmp_path / "a.png", DEEP_RAMP), window="full")
    assert np.array_equal(image.pixels, DEEP_RAMP)
    assert image.provenance.window_origin == "full"


def test_the_recipes_window_is_applied_to_sixteen_bits(tmp_path):
    image = read(picture(tmp_path / "a.png", DEEP_RAMP), window="1000.5/101")
    assert (image.pixels[DEEP_RAMP <= 950].max(), image.pixels[DEEP_RAMP >= 1050].min()) == (0, 65535)
    assert image.provenance.window_origin == "recipe"


def test_an_unknown_window_is_an_error_of_the_recipe(tmp_path):
    with pytest.raises(RecipeError, match="lung"):
        read(picture(tmp_path / "a.png", DEEP_RAMP), window="lung")


def test_single_bits_become_black_and_white(tmp_path):
    bits = RAMP > 100
    image = read(picture(tmp_path / "a.png", bits))
    assert np.array_equal(image.pixels, bits * np.uint8(255))
    assert image.provenance.bits == 1


def test_a_palette_is_looked_up(tmp_path):
    indexed = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_transparency_is_put_on_black(tmp_path):
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)
    assert read(picture(tmp_path / "a.png", pixels)).pixels.tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_transparent_grey_is_put_on_black(tmp_path):
    pixels = np.array([[[200, 255], [200, 0]]], np.uint8)
    assert read(picture(tmp_path / "a.png", pixels)).pixels.tolist() == [[200, 0]]


def test_colour_with_equal_channels_is_grey(tmp_path):
    pixels = read(picture(tmp_path / "a.png", np.repeat(RAMP[..., None], 3, axis=2))).pixels
    assert np.array_equal(pixels, RAMP)


def test_colour_whose_channels_differ_in_one_pixel_is_colour(tmp_path):
    colour = np.repeat(RAMP[..., None], 3, axis=2)
    colour[3, 4, 2] += 1
    assert np.array_equal(read(picture(tmp_path / "a.png", colour)).pixels, colour)


@pytest.mark.parametrize(("kind", "error"), [("png", 0), ("tif", 0), ("webp", 0), ("jpg", 2)])  # JPEG rounds
def test_exif_orientation_is_obeyed(tmp_path, kind, error):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows run down the right side
    options = {"lossless": True} if kind == "webp" else {}
    options |= {"tiffinfo": {0x0112: 6}} if kind == "tif" else {"exif": exif}
    levels = np.repeat(np.repeat(RAMP[:4], 8, axis=0), 8, axis=1)
    found = read(picture(tmp_path / f"a.{kind}", levels, **options)).pixels.astype(int)
    expected = np.rot90(levels, -1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= error


def test_deep_levels_are_turned_too(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(DEEP_RAMP[:32]).save(tmp_path / "a.png", exif=exif)
    PIL.Image.fromarray(DEEP_RAMP[:32]).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read(tmp_path / name, window="full").pixels, np.rot90(DEEP_RAMP[:32], -1))


def test_deep_grey_in_three_channels_keeps_its_levels(tmp_path):
    path = png16(tmp_path / "a.png", np.repeat(DEEP_RAMP[..., None], 3, axis=2), colour_type=2)
    image = read(path, window="full")
    assert np.array_equal(image.pixels, DEEP_RAMP)
    assert image.provenance.bits == 16


def test_deep_grey_with_alpha_keeps_its_levels(tmp_path):
    alpha = np.where(DEEP_RAMP < 2048, 65535, 0).astype(np.uint16)
    path = png16(tmp_path / "a.png", np.stack([DEEP_RAMP, alpha], axis=-1), colour_type=4)
    assert np.array_equal(read(path, window="full").pixels, np.where(alpha > 0, DEEP_RAMP, 0))


def test_deep_colour_is_rounded_to_bytes(tmp_path):
    colour = np.array([[[65535, 257, 128], [0, 129, 32896]]], np.uint16)
    path = png16(tmp_path / "a.png", colour, colour_type=2)
    assert read(path).pixels.tolist() == [[[255, 1, 0], [0, 1, 128]]]


def test_a_deep_tiff_whose_zero_is_white_is_inverted(tmp_path):
    path = picture(tmp_path / "a.tif", DEEP_RAMP, tiffinfo={262: 0})
    assert np.array_equal(read(path, window="full").pixels, 65535 - DEEP_RAMP)


def test_a_shallow_tiff_whose_zero_is_white_is_inverted(tmp_path):
    path = picture(tmp_path / "a.tif", RAMP, tiffinfo={262: 0})
    assert (255 - RAMP).tobytes() in path.read_bytes()  # as Pillow stores it
    assert np.array_equal(read(path).pixels, RAMP)


def test_floats_are_stretched_and_what_is_no_number_is_black(tmp_path):
    values = np.linspace(-1.0, 1.0, 4096, dtype=np.float32).reshape(64, 64)
    values[0, 0] = np.nan
    image = read(picture(tmp_path / "a.tif", values))
    assert image.pixels[0, 0] == 0
    assert len(np.unique(image.pixels)) > 4000
    assert image.provenance.bits == 32


def test_the_full_window_of_floats_is_that_of_the_picture(tmp_path):
    values = np.array([[-1.0, 0.0, 1.0]], np.float32)
    assert read(picture(tmp_path / "a.tif", values), window="full").pixels.tolist() == [[0, 32768, 65535]]


def two_pages(path, first, second):
    PIL.Image.fromarray(first).save(path, save_all=True, append_images=[PIL.Image.fromarray(second)])
    return path


def test_a_page_is_chosen_by_its_index(tmp_path):
    path = two_pages(tmp_path / "a.tif", RAMP, RAMP.T)
    assert np.array_equal(read(path, frame=1).pixels, RAMP.T)


def test_a_page_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataError, match="has 2 pages, page 2"):
        read(two_pages(tmp_path / "a.tif", RAMP, RAMP.T), frame=2)


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("jpg", {}), ("tif", {}), ("bmp", {}), ("webp", {})])
def test_a_file_cut_off_anywhere_is_never_read_as_whole(tmp_path, suffix, options):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    path = picture(tmp_path / f"a.{suffix}", noise, **options)
    whole = path.read_bytes()
    wanted = read(path).pixels
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            pixels = read(path).pixels
        except (OSError, SyntaxError, ValueError, struct.error):
            continue
        assert np.array_equal(pixels, wanted)


@pytest.mark.parametrize("reader", ["header", "pixels"])
def test_a_picture_beyond_the_limit_is_refused_before_decoding(tmp_path, reader, monkeypatch):
    path = picture(tmp_path / "a.png", np.zeros((1000, 1000), np.uint8))
    monkeypatch.setattr(raster, "_values", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match="1000 x 1000") as raised:
        read(path, max_megapixels=0.5) if reader == "pixels" else read_raster_header(path, "png", 0.5)
    assert "data.max_megapixels" in raised.value.hint


def test_pages_count_towards_the_limit(tmp_path):
    with pytest.raises(DataError, match="2 frames"):
        read(two_pages(tmp_path / "a.tif", RAMP, RAMP), max_megapixels=0.0003)


def test_pillows_own_limit_does_not_stop_what_the_recipe_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert read(picture(tmp_path / "a.png", RAMP)).pixels.shape == (16, 16)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    ("pixels", "bits", "colour"),
    [(RAMP, 8, False), (DEEP_RAMP, 16, False), (RAMP > 9, 1, False), (np.zeros((4, 4, 3), np.uint8), 8, True)],
)
def test_the_header_tells_size_depth_and_colour(tmp_path, pixels, bits, colour):
    header = read_raster_header(picture(tmp_path / "a.png", pixels), "png", 200.0)
    assert (header.rows, header.columns, header.frames) == (*pixels.shape[:2], 1)
    assert (header.bits, header.colour) == (bits, colour)


def test_the_header_of_deep_colour_tells_sixteen_bits(tmp_path):
    path = png16(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint16), colour_type=2)
    assert read_raster_header(path, "png", 200.0).bits == 16


def test_the_header_counts_pages(tmp_path):
    assert read_raster_header(two_pages(tmp_path / "a.tif", RAMP, RAMP), "tiff", 200.0).frames == 2


def test_a_second_picture_inside_a_jpeg_is_no_page(tmp_path):
    path = tmp_path / "a.jpg"
    first, second = (PIL.Image.fromarray(pixels) for pixels in (RAMP, RAMP.T))
    first.save(path, format="MPO", save_all=True, append_images=[second])
    assert read_raster_header(path, "jpeg", 200.0).frames == 1


@pytest.mark.parametrize("window", ["full", "percentile"])
def test_a_picture_without_any_number_is_black(tmp_path, window):
    path = tmp_path / "a.tiff"
    PIL.Image.fromarray(np.full((4, 5), np.nan, dtype=np.float32)).save(path)
    assert read_raster(path, 0, kind="tiff", window=window, max_megapixels=1.0).pixels.max() == 0


def test_several_windows_of_sixteen_bits_are_channels(tmp_path):
    path = picture(tmp_path / "a.png", DEEP_RAMP)
    image = read(path, window="1000.5/101,3000/500")
    assert image.has_windows
    assert image.provenance.window == "1000.5/101, 3000/500"
    for channel, window in enumerate(("1000.5/101", "3000/500")):
        assert np.array_equal(image.pixels[..., channel], read(path, window=window).pixels)


def test_several_windows_of_floats_are_channels(tmp_path):
    path = picture(tmp_path / "a.tif", np.array([[0.0, 20.0]], np.float32))
    assert read(path, window="10.5/21,100/2").pixels.tolist() == [[[0, 0], [65535, 0]]]


@pytest.mark.parametrize(("channels", "content"), [((3,), "colours"), ((), "8-bit grey levels")])
def test_pictures_without_values_are_refused_where_several_windows_are_wanted(tmp_path, channels, content):
    path = picture(tmp_path / "a.png", np.zeros((4, 5, *channels), np.uint8))
    assert not read(path, window="40/80").has_windows
    with pytest.raises(DataError, match=f"holds {content}, from which"):
        read(path, window="40/80,80/200,600/2800")


def test_deep_colour_is_refused_and_deep_grey_in_three_channels_is_not(tmp_path):
    grey = np.arange(60, dtype=np.uint16).reshape(4, 5, 3) * 1000
    colour = png16(tmp_path / "a.png", grey, colour_type=2)
    with pytest.raises(DataError, match="holds colours"):
        read(colour, window="40/80,80/200")
    assert read(png16(tmp_path / "b.png", grey[..., [0, 0, 0]], colour_type=2), window="40/80,9/99").has_windows
