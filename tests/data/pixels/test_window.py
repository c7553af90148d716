import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from effmed.data.pixels.window import (
    apply_window,
    between,
    full_window,
    in_words,
    parse_windows,
    percentile_window,
    recipe_windows,
    refuse_windows,
    to_uint16,
)
from effmed.errors import DataError, RecipeError


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@given(center=st.integers(-500, 500), width=st.integers(2, 900))
def test_windows_agree_with_pydicom(function, center, width):
    values = np.arange(-1000, 1000, dtype=np.int16)
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 16, 1
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    with np.errstate(over="ignore"):  # theirs overflows in a steep sigmoid
        theirs = (apply_windowing(values, header) + 32768) / 65535
    assert np.allclose(apply_window(np.float64(values), center, width, function), theirs, atol=1e-9)


def test_a_linear_window_of_256_covers_256_integers():
    assert apply_window(np.array([0.0, 255.0]), 128, 256).tolist() == [0.0, 1.0]


def test_a_linear_window_of_width_1_is_a_step():
    assert apply_window(np.array([39.4, 39.6]), 40, 1).tolist() == [0.0, 1.0]


def test_a_linear_window_below_1_is_taken_as_exact():
    assert apply_window(np.array([0.0, 0.1, 0.2]), 0.1, 0.2).tolist() == [0.0, 0.5, 1.0]


def test_a_steep_sigmoid_does_not_overflow():
    assert apply_window(np.array([-1e6, 1e6]), 0, 1, "SIGMOID").tolist() == pytest.approx([0.0, 1.0])


def test_a_window_without_width_is_refused():
    with pytest.raises(ValueError, match="0 is not positive"):
        apply_window(np.zeros(1), 0, 0)


@pytest.mark.parametrize("name", ["stored", "percentile", "full"])
def test_named_windows_have_no_centre(name):
    assert parse_windows(name) == ()


def test_centre_and_width_are_read():
    assert parse_windows("-600/1500.5") == ((-600.0, 1500.5),)


def test_several_windows_are_read_in_their_order():
    assert parse_windows("40/80, 80/200,600/2800") == ((40.0, 80.0), (80.0, 200.0), (600.0, 2800.0))
    assert in_words(recipe_windows("40/80, 80/200")) == "40/80, 80/200"


def test_several_windows_are_refused_where_there_is_nothing_to_cut_them_from():
    refuse_windows("stored", "colours")
    refuse_windows("40/80", "colours")
    with pytest.raises(DataError, match="holds colours, from which the windows 40/80,80/200 cannot"):
        refuse_windows("40/80,80/200", "colours")


@pytest.mark.parametrize(
    "text",
    ["lung", "40", "40/0", "40/-3", "a/b", "", ",", "40/80,", "40/80,,80/200", "stored,40/80", "40/80,80/0", "1/2;3/4"],
)
def test_any_other_window_is_refused_with_an_example(text):
    with pytest.raises(RecipeError) as caught:
        parse_windows(text)
    assert repr(text) in caught.value.problem
    assert "--set data.window=" in caught.value.hint


def test_percentiles_leave_out_half_a_percent_at_either_end():
    window = percentile_window(np.arange(1000.0))
    assert (window.text, window.origin) == ("p0.5-p99.5 = 4..994", "percentile")


def test_counted_values_have_the_percentiles_of_the_image():
    image = np.random.default_rng(0).binomial(49, 0.5, 500)
    counted = percentile_window(np.arange(50.0), np.bincount(image, minlength=50))
    assert counted.text == percentile_window(np.float64(image)).text


def test_a_small_object_on_a_flat_ground_stays_visible():
    image = np.zeros(1000)
    image[:3] = 7
    assert percentile_window(image).intensity(image).max() == 1.0


def test_a_constant_image_is_white_and_an_empty_one_black():
    assert percentile_window(np.full(9, 5.0)).intensity(np.array([0.0, 5.0])).tolist() == [0.0, 1.0]
    assert percentile_window(np.zeros(9)).intensity(np.zeros(1)).tolist() == [0.0]


def test_an_image_of_nothing_but_padding_is_black():
    assert percentile_window(np.zeros(0)).intensity(np.array([3.0])).tolist() == [0.0]


def test_the_full_window_names_itself():
    window = full_window(0.0, 4095.0)
    assert (window.text, window.origin, window.intensity(np.array([4095.0]))[0]) == ("full", "full", 1.0)


def test_intensities_become_the_full_range_and_nan_becomes_black():
    assert to_uint16(np.array([0.0, 0.5, 1.0, np.nan])).tolist() == [0, 32768, 65535, 0]


def test_values_outside_are_clipped():
    assert between(0.0, 10.0, text="", origin="").intensity(np.array([-5.0, 5.0, 15.0])).tolist() == [0.0, 0.5, 1.0]
