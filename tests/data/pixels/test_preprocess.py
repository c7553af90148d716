import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from effmed.data.pixels.image import Image, Provenance
from effmed.data.pixels.preprocess import Preprocessing, preprocess
from effmed.errors import DataError


def image(pixels, aspect=1.0):
    return Image(np.asarray(pixels), aspect, Provenance("png", "png", "L", 8, "full", "full", ""))


def spec(height=8, width=8, channels=1, depth="uint8"):
    return Preprocessing(
        height=height, width=width, channels=channels, depth=depth, window="stored", max_megapixels=200.0
    )


def test_an_image_of_the_asked_size_and_depth_is_not_changed():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(preprocess(image(pixels), spec()), pixels)


def test_a_wide_image_is_centred_between_black_bars_above_and_below():
    boxed = preprocess(image(np.full((4, 8), 200, np.uint8)), spec())
    assert boxed[:2].max() == boxed[6:].max() == 0
    assert boxed[2:6].min() == 200


def test_a_tall_image_is_centred_between_black_bars_left_and_right():
    boxed = preprocess(image(np.full((8, 4), 200, np.uint8)), spec())
    assert boxed[:, :2].max() == boxed[:, 6:].max() == 0
    assert boxed[:, 2:6].min() == 200


def test_shrinking_averages_areas():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    means = pixels.reshape(2, 8, 2, 8).mean(axis=(1, 3))
    assert np.abs(preprocess(image(pixels), spec(2, 2)) - means).max() <= 0.5


def test_growing_interpolates_between_pixels():
    grown = preprocess(image(np.array([[0, 100]], np.uint8)), spec(4, 8))
    assert 0 < grown[1, 3] < grown[1, 4] < 100


def test_pixels_twice_as_high_as_wide_make_the_image_twice_as_high():
    boxed = preprocess(image(np.full((4, 8), 200, np.uint8), aspect=2.0), spec())
    assert boxed.min() == 200


def test_twelve_bits_of_grey_survive_into_uint16():
    levels = (np.arange(4096, dtype=np.uint16) * 16).reshape(64, 64)
    assert len(np.unique(preprocess(image(levels), spec(64, 64, depth="uint16")))) == 4096


@pytest.mark.parametrize(("stored", "wanted"), [(0, 0), (255, 65535), (128, 32896)])
def test_bytes_are_spread_over_the_full_range_of_uint16(stored, wanted):
    assert (preprocess(image(np.full((8, 8), stored, np.uint8)), spec(depth="uint16")) == wanted).all()


@pytest.mark.parametrize(("stored", "wanted"), [(0, 0), (65535, 255), (128, 0), (129, 1)])
def test_uint16_is_rounded_to_the_nearest_byte(stored, wanted):
    assert (preprocess(image(np.full((8, 8), stored, np.uint16)), spec()) == wanted).all()


def test_grey_is_repeated_for_three_channels():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    boxed = preprocess(image(pixels), spec(channels=3))
    assert all(np.array_equal(boxed[..., channel], pixels) for channel in range(3))


@pytest.mark.parametrize(("channel", "luma"), [(0, 30), (1, 59), (2, 11)])
def test_colour_becomes_luma_for_one_channel(channel, luma):
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., channel] = 100
    assert (preprocess(image(colour), spec()) == luma).all()


def test_colour_stays_colour_for_three_channels():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(preprocess(image(pixels), spec(channels=3)), pixels)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 100.0),
    st.sampled_from([1, 3]),
    st.sampled_from(["uint8", "uint16"]),
)
def test_any_image_gets_the_asked_shape_and_type(height, width, aspect, channels, depth):
    boxed = preprocess(image(np.ones((height, width), np.uint16), aspect), spec(9, 7, channels, depth))
    assert boxed.shape == ((9, 7) if channels == 1 else (9, 7, 3))
    assert boxed.dtype == np.dtype(depth)


def test_preprocessing_refuses_what_it_does_not_know():
    with pytest.raises(ValidationError):
        Preprocessing(**spec().model_dump(), crop=True)


def test_preprocessing_survives_json():
    assert Preprocessing.model_validate_json(spec().model_dump_json()) == spec()


def windowed(n, shape=(16, 12), dtype=np.uint16):
    """An image of n windows, and what preprocessing is to make of it."""
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*shape, n)).astype(dtype)
    return Image(pixels, 1.5, image(pixels).provenance, has_windows=True), ",".join(["40/80"] * n)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("side", [8, 40])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_each_window_is_preprocessed_as_if_it_were_alone(n, side, dtype):
    made, window = windowed(n, dtype=dtype)
    boxed = preprocess(made, spec(side, side, n, "uint16").model_copy(update={"window": window}))
    assert boxed.shape == (side, side, n)
    for channel in range(n):
        alone = image(np.ascontiguousarray(made.pixels[..., channel]), aspect=1.5)
        assert np.array_equal(boxed[..., channel], preprocess(alone, spec(side, side, 1, "uint16")))


def test_three_windows_are_never_taken_for_colour():
    with pytest.raises(DataError, match=r"holds 3 window\(s\), data.window = stored is 0, channels = 1"):
        preprocess(windowed(3)[0], spec(channels=1))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_an_image_without_windows_is_refused_where_several_are_wanted(shape):
    wanted = spec(channels=3).model_copy(update={"window": "40/80,80/200,600/2800"})
    with pytest.raises(DataError, match=r"holds 1 window\(s\), data.window = 40/80,80/200,600/2800 is 3"):
        preprocess(image(np.zeros(shape, np.uint8)), wanted)


@pytest.mark.parametrize(("n", "channels", "named"), [(2, 3, 2), (3, 3, 2), (2, 2, 3), (2, 3, 3)])
def test_windows_must_be_as_many_as_named_and_as_channels(n, channels, named):
    with pytest.raises(DataError, match=f"channels = {channels}"):
        preprocess(windowed(n)[0], spec(channels=channels).model_copy(update={"window": windowed(named)[1]}))
