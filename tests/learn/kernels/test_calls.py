import pytest
import torch

from effmed.learn.kernels.build import PART
from effmed.learn.kernels.calls import KINDS, call, empty, empty_exact, empty_images, n_parts, ordered, sizes


def test_room_is_of_the_type_and_in_the_order_that_kernels_take():
    assert (empty(2, 3).shape, empty(2, 3).dtype) == ((2, 3), torch.float32)
    assert (empty_exact(2, 3).shape, empty_exact(2, 3).dtype) == ((2, 3), torch.float64)
    images = empty_images(2, 8, 5, 4)
    assert (images.shape, images.dtype) == ((2, 8, 5, 4), torch.float32)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_tensors_are_put_into_order_without_a_copy_where_they_are():
    images = torch.rand(2, 8, 5, 4)
    moved = ordered(images)
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved, images)
    assert ordered(moved).data_ptr() == moved.data_ptr()


def test_pixels_and_channels_are_counted():
    assert sizes(torch.empty(2, 8, 5, 4)) == (40, 8)


def test_parts_are_counted_up():
    assert [n_parts(pixels) for pixels in (1, PART, PART + 1, 3 * PART)] == [1, 1, 2, 3]


@pytest.mark.usefixtures("kernels")
def test_a_kernel_gets_tensors_by_their_address():
    values, found = torch.rand(5, 8), torch.zeros(5, 8)
    call("effmed_normalise", values, 5, 8, torch.full((8,), 2.0), torch.ones(8), KINDS["identity"], found)
    assert torch.equal(found, values * 2 + 1)
