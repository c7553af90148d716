import numpy as np
import pytest

from effmed.data.pixels.image import check_size, grey_if_equal, join_channels, pixel_shape
from effmed.errors import DataError


def test_equal_channels_are_one_grey_channel():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert grey_if_equal(np.stack([grey] * 3, axis=-1)).tolist() == grey.tolist()


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_coloured_pixel_keeps_the_colour(channel):
    colour = np.zeros((3, 4, 3), dtype=np.uint8)
    colour[2, 3, channel] = 1
    assert grey_if_equal(colour).shape == (3, 4, 3)


def test_one_channel_has_no_axis_of_channels_and_more_have():
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert join_channels([grey]) is grey
    assert join_channels([grey, grey + 1])[..., 1].tolist() == (grey + 1).tolist()


def test_the_limit_counts_all_frames():
    assert check_size(1000, 1000, 2, 2.0) == 2
    with pytest.raises(DataError, match="1000 x 1000 pixels x 3 frames") as caught:
        check_size(1000, 1000, 3, 2.0)
    assert caught.value.hint.endswith("--set data.max_megapixels=3")


def test_no_frames_means_one():
    assert check_size(2, 2, 0, 1.0) == 1


@pytest.mark.parametrize("size", [(0, 5, 1), (5, 0, 1), (5, 5, -1), (-5, -5, 1)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(DataError, match="claims"):
        check_size(*size, 1.0)


@pytest.mark.parametrize(("height", "width", "aspect"), [(1, 1, 1), (0.4, 0.2, 2), (100, 1, 100), (1, 100, 0.01)])
def test_the_shape_of_a_pixel_is_its_height_over_its_width(height, width, aspect):
    assert pixel_shape(height, width) == aspect


@pytest.mark.parametrize("height", [0, -1, float("nan"), float("inf"), 1e308, 1e-308, 101, 1 / 101])
def test_a_pixel_of_a_shape_that_there_is_not_has_none(height):
    assert pixel_shape(height, 1.0) is None
    assert pixel_shape(1.0, height) is None
