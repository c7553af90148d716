"""Ours beside torch in float64, and within what float32 rounds."""

import pytest
import torch
from torch.nn import functional

from effmed.learn.kernels import build, convolving
from effmed.learn.kernels.convolving import ConvolveDepthwise, Geometry, NormaliseConvolve
from effmed.learn.kernels.normalising import Normalisation
from tests.learn.kernels.beside import (
    ACTIVATIONS,
    EPS,
    assert_close,
    excited,
    forget,
    learned,
    normalised,
    normalised_by_torch,
    per_channel,
    pictures,
    threads,
)

pytestmark = pytest.mark.usefixtures("kernels")


def shaped(rows, columns, kernel, stride, before, after):
    """Return a geometry, and what torch computes by it, for zeros before and behind rows and columns."""
    out = [
        (side + first + last - kernel) // stride + 1
        for side, first, last in zip((rows, columns), before, after, strict=True)
    ]
    geometry = Geometry(stride, before, tuple(out))

    def by_torch(images, kernels):
        padded = functional.pad(images, (before[1], after[1], before[0], after[0]))
        return functional.conv2d(padded, kernels, stride=stride, groups=len(kernels))

    return geometry, by_torch


def alone(geometry):
    return lambda *both: ConvolveDepthwise.apply(*both, geometry)


@pytest.mark.parametrize("channels", [8, 24, 32])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_convolution_is_that_of_torch(kernel, stride, channels):
    for rows, columns in ((1, 1), (2, 3), (7, 7), (13, 22)):
        half = kernel // 2
        for before, after in (
            ((half, half), (half, half)),
            ((half - 1, half), (half, half - 1)),
            ((0, half), (half, half)),
        ):
            if min(rows + before[0] + after[0], columns + before[1] + after[1]) < kernel:
                continue
            geometry, by_torch = shaped(rows, columns, kernel, stride, before, after)
            given = pictures(2, channels, rows, columns), pictures(channels, 1, kernel, kernel, seed=2)
            assert_close(learned(alone(geometry), *given), learned(by_torch, *(each.double() for each in given)))


def test_only_gradients_that_are_needed_are_computed(monkeypatch):
    called = []
    call = convolving.call
    monkeypatch.setattr(convolving, "call", lambda name, *rest: (called.append(name), call(name, *rest)))
    images, kernels = pictures(2, 8, 5, 5), pictures(8, 1, 3, 3)
    geometry = Geometry(1, (1, 1), (5, 5))
    ConvolveDepthwise.apply(images, kernels.requires_grad_(), geometry).sum().backward()
    assert called == ["effmed_depthwise", "effmed_depthwise_weights"]
    called.clear()
    ConvolveDepthwise.apply(images.requires_grad_(), kernels.detach(), geometry).sum().backward()
    assert called == ["effmed_depthwise", "effmed_depthwise_input"]


def together(kind, geometry):
    """Return ours and torch's of batch normalisation, activation and convolution, of images, weight, bias and taps."""
    manner = Normalisation(EPS, kind, forget)
    return lambda *given: NormaliseConvolve.apply(*given, (manner, geometry))


def after_normalisation(kind, by_torch):
    return lambda images, weight, bias, taps: by_torch(normalised_by_torch(kind)(images, weight, bias), taps)


@pytest.mark.parametrize("n_rows", [1, 2, None])  # rows of a strip, and as many as fit
@pytest.mark.parametrize("channels", [8, 32])
@pytest.mark.parametrize("stride", [1, 2, 4])  # by 4 some rows are met by no kernel of 3
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_normalisation_with_convolution_is_that_of_torch(kernel, stride, channels, n_rows, monkeypatch):
    """Whatever strips an image is computed in, and whichever of its rows no output has met."""
    half = kernel // 2
    for kind, (rows, columns), after in zip(
        ACTIVATIONS, ((2, 3), (7, 7), (13, 22), (9, 140)), (half, 0, half, half - 1), strict=True
    ):
        if rows + half + after < kernel:
            continue
        geometry, by_torch = shaped(rows, columns, kernel, stride, (half, half - 1), (after, half))
        if n_rows is not None:
            size = ((n_rows - 1) * stride + kernel) * columns * channels
            monkeypatch.setattr(convolving, "STRIP_SIZE", size)
            monkeypatch.setattr(convolving, "ENOUGH_STRIPS", 1)
        given = (
            pictures(2, channels, rows, columns),
            *per_channel(channels),
            pictures(channels, 1, kernel, kernel, seed=2),
        )
        strips = convolving._strips(given[0], given[3], geometry)
        assert n_rows is None or strips.n_rows == min(n_rows, geometry.out[0])
        theirs = learned(after_normalisation(kind, by_torch), *(each.double() for each in given))
        assert_close(learned(together(kind, geometry), *given), theirs, 4e-6)


def test_strips_fit_into_the_cache_and_are_enough_where_there_are_few_images():
    taps = torch.empty(96, 1, 3, 3)
    geometry = Geometry(2, (0, 0), (56, 56))
    many = convolving._strips(torch.empty(32, 96, 112, 112), taps, geometry)
    assert many.size <= convolving.STRIP_SIZE + 2 * 112 * 96
    assert (many.n_rows, many.count) == (11, 6)
    few = convolving._strips(torch.empty(4, 96, 112, 112), taps, geometry)
    assert (few.n_rows, few.count, few.size) == (7, 8, (15 + 2) * 112 * 96)
    wide = convolving._strips(torch.empty(1, 96, 112, 5000), taps, geometry)
    assert (wide.n_rows, wide.count, wide.size) == (1, 56, (3 + 2) * 5000 * 96)
    whole = convolving._strips(torch.empty(32, 1152, 7, 7), torch.empty(1152, 1, 5, 5), Geometry(1, (2, 2), (7, 7)))
    assert (whole.n_rows, whole.count, whole.size) == (7, 1, (7 + 2) * 7 * 1152)


def test_large_tensors_are_written_past_the_cache_and_are_the_same():
    images = pictures(8, 64, 132, 132)
    assert images.numel() > 8 << 20
    kernels = pictures(64, 1, 3, 3, seed=3)
    geometry, by_torch = shaped(132, 132, 3, 1, (1, 1), (1, 1))
    theirs = learned(by_torch, images.double(), kernels.double())
    assert_close(learned(alone(geometry), images, kernels), theirs, 1e-5)
    given = (images, *per_channel(64), kernels)
    theirs = learned(after_normalisation("silu", by_torch), *(each.double() for each in given))
    assert_close(learned(together("silu", geometry), *given), theirs, 1e-5)


@pytest.mark.parametrize("n_images", [1, 33])  # fewer and more than are computed whole
@pytest.mark.parametrize("channels", [8, 40, 96])
def test_few_images_are_the_same_as_many(n_images, channels):
    geometry, by_torch = shaped(6, 5, 3, 1, (1, 1), (1, 1))
    given = pictures(n_images, channels, 6, 5), pictures(channels, 1, 3, 3, seed=2)
    assert_close(learned(alone(geometry), *given), learned(by_torch, *(each.double() for each in given)))


def test_numbers_do_not_depend_on_the_threads():
    """Bit for bit: a training may be resumed where there are more cores."""
    images, (weight, bias) = pictures(5, 40, 19, 18), per_channel(40)
    kernels = pictures(40, 1, 5, 5, seed=4)
    geometry = Geometry(2, (1, 2), (9, 9))

    def layers(pixels, taps, scale, shift):
        found = normalised("silu")(ConvolveDepthwise.apply(pixels, taps, geometry), scale, shift)
        found = together("silu", Geometry(1, (2, 2), (9, 9)))(found, scale, shift, taps)
        return excited("silu")(found, scale, shift)

    found = []
    for n in (1, 3):
        with threads(n):
            found.append(learned(layers, images, kernels, weight, bias))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_every_kernel_is_declared():
    names = {
        line.split("(")[0].split()[-1]
        for source in build.SOURCES
        for line in (build.FOLDER / source).read_text().splitlines()
        if line.startswith("void effmed_")
    }
    assert names == build.SIGNATURES.keys()
