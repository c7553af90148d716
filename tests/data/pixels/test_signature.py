"""The signature of a picture: equal for equal pixels only, a thumbnail that survives export, marks in the corners."""

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from effmed.data.pixels.image import Image
from effmed.data.pixels.signature import CORNERS, make_signature

CHECKS = settings(max_examples=30, deadline=None)
MS_MAX = 15  # ten times what one image may cost on a quiet machine
HEIGHT, WIDTH = 480, 400


def signature(pixels, *, aspect=1.0, has_windows=False):
    return make_signature(Image(pixels, aspect, None, has_windows))


def landscape(height=HEIGHT, width=WIDTH, *, seed=0):
    """Return a smooth grey picture."""
    grid = np.random.default_rng(seed).integers(40, 200, (6, 5)).astype(np.uint8)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def radiograph():
    """Return a picture with dark air in its corners and a smooth bright body between them."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    body = np.clip(1.3 - np.hypot(rows / 0.9, columns / 0.9), 0, 1)
    return (20 + 180 * body).astype(np.uint8)


def with_text(pixels, corner, text="L", scale=0.9):
    """Return the picture with letters in one corner."""
    where = {0: (20, 40), 1: (WIDTH - 60, 40), 2: (20, HEIGHT - 20), 3: (WIDTH - 60, HEIGHT - 20)}[corner]
    return cv2.putText(pixels.copy(), text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 3, cv2.LINE_AA)


# ---------------------------------------------------------------- pixel hash

pictures = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


@CHECKS
@given(pictures)
def test_equal_pixels_have_equal_hashes(pixels):
    assert signature(pixels).pixel_hash == signature(np.asfortranarray(pixels)).pixel_hash


@CHECKS
@given(pictures, st.data())
def test_one_other_pixel_changes_the_hash(pixels, data):
    other = pixels.copy()
    other.flat[data.draw(st.integers(0, pixels.size - 1))] ^= 1
    assert signature(other).pixel_hash != signature(pixels).pixel_hash


def test_the_same_bytes_in_another_shape_have_another_hash():
    pixels = np.arange(12, dtype=np.uint8)
    assert signature(pixels.reshape(3, 4)).pixel_hash != signature(pixels.reshape(4, 3)).pixel_hash


def test_the_same_bytes_of_another_type_have_another_hash():
    pixels = np.arange(16, dtype=np.uint8)
    wide = pixels.view(np.uint16).reshape(2, 4)
    assert signature(wide).pixel_hash != signature(pixels.reshape(2, 8)).pixel_hash


def test_pixels_that_no_thumbnail_shows_change_the_hash():
    pixels = np.zeros((2048, 2048), np.uint16)
    other = pixels.copy()
    other[1, 1] = 1
    assert signature(other).pixel_hash != signature(pixels).pixel_hash


def test_the_hash_is_128_bits_in_hexadecimal():
    text = signature(landscape()).pixel_hash
    assert len(text) == 32
    assert int(text, 16) >= 0


# ---------------------------------------------------------------- thumbnail


@pytest.mark.parametrize("size", [(64, 64), (700, 300), (28, 28), (1, 1), (3, 900), (2048, 1500)])
def test_a_thumbnail_is_64_by_64_whatever_the_size(size):
    thumbnail = signature(landscape(*size)).thumbnail
    assert (thumbnail.shape, thumbnail.dtype) == ((64, 64), np.uint8)


def test_a_thumbnail_averages_areas():
    pixels = np.zeros((128, 128), np.uint8)
    pixels[::2, ::2] = 200
    assert set(signature(pixels).thumbnail.flat) == {50}


def test_8_and_16_bits_have_the_same_thumbnail():
    pixels = landscape()
    wide = pixels.astype(np.uint16) * 257
    difference = signature(wide).thumbnail.astype(int) - signature(pixels).thumbnail
    assert np.abs(difference).max() <= 1


def test_the_full_range_of_16_bits_is_the_full_range_of_a_thumbnail():
    pixels = np.full((100, 100), 65535, np.uint16)
    assert set(signature(pixels).thumbnail.flat) == {255}


@pytest.mark.parametrize("scale", [0.3, 0.5, 2, 4.3])
def test_a_resized_picture_keeps_its_thumbnail(scale):
    pixels = landscape()
    resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    difference = signature(resized).thumbnail.astype(int) - signature(pixels).thumbnail
    assert np.abs(difference).max() <= 6


def test_colour_becomes_luma():
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 100, 200, 50
    assert set(signature(pixels).thumbnail.flat) == {round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)}


def test_windows_are_averaged_in_their_depth():
    pixels = np.zeros((100, 100, 2), np.uint16)
    pixels[..., 0], pixels[..., 1] = 60000, 40000
    assert set(signature(pixels, has_windows=True).thumbnail.flat) == {50000 >> 8}


def test_aspect_is_that_of_the_picture_with_square_pixels():
    assert signature(landscape(300, 100), aspect=0.5).aspect == 1.5


def test_aspect_is_that_of_the_picture_as_stored_where_it_was_decoded_smaller():
    whole = (301, 101)  # half of which, rounded up, is 151 x 51 pixels
    assert make_signature(Image(landscape(151, 51), 2.0, None, full_size=whole)).aspect == 2 * 301 / 101


# ---------------------------------------------------------------- corners


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("text", ["L", "R"])
def test_a_letter_on_dark_ground_marks_its_corner_only(corner, text):
    assert signature(with_text(radiograph(), corner, text)).corners == 1 << corner


def test_corners_are_called_by_their_place():
    assert CORNERS == ("top left", "top right", "bottom left", "bottom right")


@pytest.mark.parametrize("scale", [0.5, 1.6])
def test_small_and_large_letters_mark_their_corner(scale):
    assert signature(with_text(radiograph(), 0, "L", scale)).corners == 1


def test_a_word_marks_its_corner():
    assert signature(with_text(radiograph(), 0, "PORTABLE", 0.4)).corners == 1


def test_marks_add_up():
    assert signature(with_text(with_text(radiograph(), 0), 3)).corners == 0b1001


@pytest.mark.parametrize("scale", [0.4, 2.5, 6])
def test_a_mark_is_seen_at_any_size_of_the_picture(scale):
    pixels = cv2.resize(with_text(radiograph(), 1), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    assert signature(pixels).corners == 2


def test_a_mark_is_seen_in_16_bits():
    assert signature(with_text(radiograph(), 2).astype(np.uint16) * 257).corners == 4


def test_a_body_alone_marks_nothing():
    assert signature(radiograph()).corners == 0


def test_a_letter_on_bright_ground_is_no_mark():
    assert signature(with_text(np.full((HEIGHT, WIDTH), 160, np.uint8), 0)).corners == 0


def test_a_faint_letter_is_no_mark():
    pixels = with_text(np.zeros((HEIGHT, WIDTH), np.uint8), 0)
    assert signature(pixels // 4).corners == 0


def test_a_bright_field_edge_is_no_mark():
    pixels = radiograph()
    pixels[:8] = pixels[-8:] = 255
    pixels[:, :8] = pixels[:, -8:] = 255
    assert signature(pixels).corners == 0


def test_a_bright_region_larger_than_letters_is_no_mark():
    pixels = radiograph()
    cv2.rectangle(pixels, (5, 5), (80, 80), 255, -1)
    assert signature(pixels).corners == 0


def test_a_cable_is_no_mark():
    pixels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    cv2.line(pixels, (20, 20), (60, 60), 255, 2)
    assert signature(pixels).corners == 0


def test_a_long_bar_is_no_mark():
    pixels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    cv2.rectangle(pixels, (15, 30), (100, 37), 255, -1)
    assert signature(pixels).corners == 0


def test_a_speck_is_no_mark():
    pixels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    pixels[40:43, 40:43] = 255
    assert signature(pixels).corners == 0


def test_what_the_border_of_the_picture_cuts_is_no_mark():
    pixels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    pixels[:12, 40:60] = 255
    assert signature(pixels).corners == 0


def test_noise_is_no_mark():
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (1024, 1024)).astype(np.uint16)
    assert signature(pixels).corners == 0


def test_a_picture_too_small_for_letters_has_no_marks():
    pixels = cv2.resize(with_text(radiograph(), 1), (100, 120), interpolation=cv2.INTER_AREA)
    assert signature(pixels).corners == 0


@pytest.mark.slow
def test_a_large_16_bit_picture_takes_little_time():
    image = Image(landscape(2048, 2048).astype(np.uint16) * 257, 1.0, None)
    times_ms = []
    for _ in range(9):
        start = time.perf_counter()
        make_signature(image)
        times_ms.append(1000 * (time.perf_counter() - start))
    assert min(times_ms) <= MS_MAX
