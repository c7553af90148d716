"""Near-duplicates: every made copy is found, no two patients are taken for one, and time grows with the images."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.audit import measure
from effmed.data.audit import likeness
from effmed.data.audit.likeness import near_duplicates
from effmed.data.pixels.signature import Signatures
from tests.data.audit import make

CHECKS = settings(max_examples=15, deadline=None)
STRANGERS = make.pictures(40)


def pairs_of(images, owners=None):
    found = near_duplicates(make.signatures(images), None if owners is None else np.array(owners))
    return [tuple(pair) for pair in found.tolist()]


def copies(change, n=12):
    """Return pictures, then the same pictures changed."""
    return STRANGERS[:n] + [change(pixels) for pixels in STRANGERS[:n]], [(k, k + n) for k in range(n)]


# ---------------------------------------------------------------- what is found


def test_pictures_of_different_patients_are_no_duplicates():
    assert pairs_of(STRANGERS) == []


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 2])
def test_resized_copies_are_found(scale):
    images, expected = copies(lambda pixels: make.resized(pixels, scale))
    assert pairs_of(images) == expected


@pytest.mark.parametrize("gamma", [0.6, 1.6])
def test_copies_with_another_gamma_are_found(gamma):
    images, expected = copies(lambda pixels: make.with_gamma(pixels, gamma))
    assert pairs_of(images) == expected


def test_copies_in_a_narrower_window_are_found():
    images, expected = copies(lambda pixels: make.windowed(pixels, 0.1))
    assert pairs_of(images) == expected


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_recompressed_copies_are_found(quality):
    images, expected = copies(lambda pixels: make.jpeg(pixels, quality))
    assert pairs_of(images) == expected


def test_copies_of_another_depth_are_found():
    images, expected = copies(lambda pixels: pixels.astype(np.uint16) * 257)
    assert pairs_of(images) == expected


def test_dark_copies_are_found():
    images, expected = copies(lambda pixels: pixels // 3)
    assert pairs_of(images) == expected


def test_copies_cropped_by_one_percent_are_found():
    images, expected = copies(lambda pixels: pixels[2:-2, 2:-2])
    assert pairs_of(images) == expected


def test_copies_squeezed_to_a_square_are_found():
    images, expected = copies(lambda pixels: cv2.resize(pixels, (160, 160), interpolation=cv2.INTER_AREA))
    assert pairs_of(images) == expected


def test_the_same_thumbnail_of_another_shape_is_no_duplicate():
    images, _ = copies(lambda pixels: cv2.resize(pixels, (120, 160), interpolation=cv2.INTER_AREA))
    assert pairs_of(images) == []


@CHECKS
@given(st.data())
def test_any_mix_of_changes_is_found(data):
    pixels = STRANGERS[data.draw(st.integers(0, len(STRANGERS) - 1))]
    changed = make.with_gamma(pixels, data.draw(st.floats(0.6, 1.6)))
    changed = make.resized(changed, data.draw(st.floats(0.4, 2)))
    changed = make.jpeg(changed, data.draw(st.integers(30, 95)))
    assert len(pairs_of([*STRANGERS, changed])) == 1


def test_pairs_are_in_ascending_order_with_the_smaller_first():
    images, _ = copies(lambda pixels: make.jpeg(pixels, 60))
    order = np.random.default_rng(0).permutation(len(images))
    found = pairs_of([images[k] for k in order])
    assert found == sorted(found)
    assert all(first < second for first, second in found)


@pytest.mark.parametrize("text", ["PORTABLE", "12 YEARS"])
def test_copies_with_text_burned_in_are_found(text):
    def written(pixels):
        return cv2.putText(pixels.copy(), text, (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 6)

    images, expected = copies(written)
    assert pairs_of(images) == expected


# ---------------------------------------------------------------- what is not compared


def test_pictures_that_share_two_thirds_of_their_structure_are_no_duplicates():
    assert pairs_of(make.pictures(12, shared=0.67)) == []


def test_identical_pixels_are_represented_by_the_first():
    one, other = STRANGERS[0], make.jpeg(STRANGERS[0], 60)
    assert pairs_of([one, one, STRANGERS[1], other, other]) == [(0, 3)]


def test_blank_pictures_are_no_duplicates_of_anything():
    chance = np.random.default_rng(0)
    blanks = [np.full((200, 200), level, np.uint8) for level in range(0, 255, 20)]
    blanks += [np.clip(chance.normal(100, 4, (200, 200)), 0, 255).astype(np.uint8) for _ in range(9)]
    assert pairs_of([*blanks, *STRANGERS]) == []


def test_black_pictures_with_the_same_letter_are_no_duplicates():
    chance = np.random.default_rng(0)
    images = [chance.integers(0, 3, (256, 256)).astype(np.uint8) for _ in range(5)]
    for pixels in images:
        cv2.putText(pixels, "L", (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 4)
    assert pairs_of(images) == []


def on_one_screen(n, *, height, width):
    """Return n different pictures in the middle of a screen full of the same text."""
    chance = np.random.default_rng(1)
    screen = np.zeros((400, 400), np.uint8)
    for row in range(20, 400, 24):
        text = "".join(chance.choice(list("ABCDEFGHK0123456789"), 30))
        cv2.putText(screen, text, (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    images = []
    for pixels in make.pictures(n, shared=0, seed=5):
        image = screen.copy()
        top, left = (400 - height) // 2, (400 - width) // 2
        image[top : top + height, left : left + width] = cv2.resize(pixels, (width, height))
        images.append(image)
    return images


def test_a_screen_around_different_pictures_is_no_duplicate():
    assert pairs_of(on_one_screen(30, height=280, width=260)) == []


def test_a_screen_with_little_else_is_no_duplicate_when_there_are_many():
    images = on_one_screen(500, height=180, width=180)
    assert pairs_of([*images, make.jpeg(images[7], 60)]) == [(7, 500)]


def test_pictures_that_could_not_be_decoded_are_not_compared():
    one, other = STRANGERS[0], make.jpeg(STRANGERS[0], 60)
    signatures = make.signatures([one, other])
    assert len(near_duplicates(signatures)) == 1
    lost = replace(signatures, pixel_hash=np.array([signatures.pixel_hash[0], ""], object))
    assert len(near_duplicates(lost)) == 0


@pytest.mark.parametrize("n", [0, 1])
def test_no_pair_comes_from_fewer_than_two_pictures(n):
    empty = Signatures(np.array([], object), np.zeros((0, 64, 64), np.uint8), np.zeros(0), np.zeros(0, np.uint8))
    found = near_duplicates(make.signatures(STRANGERS[:1]) if n else empty)
    assert (found.shape, found.dtype) == ((0, 2), np.int64)


def test_two_pictures_alone_are_compared():
    assert pairs_of([STRANGERS[0], make.jpeg(STRANGERS[0], 60)]) == [(0, 1)]


def test_pictures_of_one_owner_are_not_compared():
    one, other = STRANGERS[0], make.jpeg(STRANGERS[0], 60)
    assert pairs_of([one, other, make.resized(one, 0.5)], owners=[1, 1, 2]) == [(0, 2), (1, 2)]


def test_identical_pixels_are_represented_once_per_owner():
    one, other = STRANGERS[0], make.jpeg(STRANGERS[0], 60)
    assert pairs_of([one, one, one, other], owners=[1, 1, 2, 3]) == [(0, 3), (2, 3)]


# ---------------------------------------------------------------- many pictures


def test_patients_who_share_nine_tenths_are_told_apart_when_there_are_many():
    """As in registered brain scans: their thumbnails correlate, what is their own does not."""
    images = make.pictures(600, shared=0.9, seed=3)
    images += [make.jpeg(make.with_gamma(pixels, 1.4), 50) for pixels in images[:20]]
    assert pairs_of(images) == [(k, 600 + k) for k in range(20)]


def alike(n):
    """Return n pictures that differ in noise only."""
    chance = np.random.default_rng(0)
    return [np.clip(STRANGERS[0] + chance.normal(0, 3, (232, 192)), 0, 255).astype(np.uint8) for _ in range(n)]


def test_pictures_that_look_alike_are_not_compared_with_each_other_all():
    found = pairs_of(alike(400))
    assert set(np.ravel(found)) == set(range(400))
    assert len(found) <= 2 * 8 * 400  # of 79,800 pairs


def test_copies_are_found_where_most_pictures_are_copies_of_one():
    images = make.pictures(300, seed=4)
    images += [make.with_gamma(make.jpeg(images[0], 40 + k % 50), 0.7 + 0.001 * k) for k in range(500)]
    assert set(np.ravel(pairs_of(images))) == {0, *range(300, 800)}


def test_pictures_that_look_alike_do_not_hide_other_copies():
    assert (204, 239) in pairs_of([*alike(200), *STRANGERS[1:], make.jpeg(STRANGERS[5], 60)])


def test_dropping_candidates_on_the_way_loses_no_pair(monkeypatch):
    monkeypatch.setattr(likeness, "N_PENDING", 1)
    images, expected = copies(lambda pixels: make.jpeg(pixels, 60))
    assert pairs_of(images) == expected


def test_pictures_are_compared_across_chunks(monkeypatch):
    monkeypatch.setattr(likeness, "CHUNK", 5)
    images, expected = copies(lambda pixels: make.jpeg(pixels, 60))
    assert pairs_of(images) == expected


def test_the_search_gives_the_same_twice():
    images, _ = copies(lambda pixels: make.jpeg(pixels, 60))
    assert pairs_of(images) == pairs_of(images)


@pytest.mark.slow
def test_the_benchmark_finds_98_percent_of_the_copies_and_little_else():
    figures = measure(4000, 100, 1)
    assert figures["recall"] >= 0.98
    assert figures["precision"] >= 0.98


@pytest.mark.slow
def test_four_times_the_pictures_take_no_more_than_eight_times_the_time():
    chance = np.random.default_rng(0)

    def seconds(n):
        thumbnails = chance.integers(0, 256, (n, 64, 64)).astype(np.uint8)
        hashes = np.arange(n).astype(str).astype(object)
        start = time.perf_counter()
        near_duplicates(Signatures(hashes, thumbnails, np.ones(n), np.zeros(n, np.uint8)))
        return time.perf_counter() - start

    seconds(100)
    assert seconds(20_000) <= 8 * seconds(5000)
