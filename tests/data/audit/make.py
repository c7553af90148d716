"""Builders: pictures that differ as those of different patients do, and what identifies them."""

import cv2
import numpy as np

from effmed.data.pixels.image import Image
from effmed.data.pixels.signature import Signatures, make_signature

HEIGHT, WIDTH = 232, 192


def field(chance, sides=(4, 8, 16, 32, 64)):
    """Return a random field of unit variance with less contrast the finer the scale."""
    layers = [chance.standard_normal((side, side), dtype=np.float32) / side**0.5 for side in sides]
    whole = sum(cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for layer in layers)
    return (whole - whole.mean()) / whole.std()


def pictures(n, *, seed=0, shared=0.5):
    """Return n uint8 pictures; ``shared`` is the share of their variance that all have in common."""
    chance = np.random.default_rng(seed)
    anatomy = field(np.random.default_rng(10_000))
    return [grey(shared**0.5 * anatomy + (1 - shared) ** 0.5 * field(chance), chance) for _ in range(n)]


def grey(values, chance):
    """Return values of unit variance as grey levels, with noise."""
    return np.clip(120 + 40 * values + chance.normal(0, 2, values.shape), 0, 255).astype(np.uint8)


def resized(pixels, scale):
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def with_gamma(pixels, gamma):
    return np.rint(255 * (pixels / 255) ** gamma).astype(np.uint8)


def windowed(pixels, cut):
    """Cut off a share of the grey range at each end."""
    return np.rint(255 * np.clip((pixels / 255 - cut) / (1 - 2 * cut), 0, 1)).astype(np.uint8)


def jpeg(pixels, quality):
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)


def signatures(images, *, aspect=1.0):
    """Return the signatures of pictures; None stands for one that could not be decoded."""
    blank = make_signature(Image(np.zeros((64, 64), np.uint8), 1.0, None))
    each = [blank if pixels is None else make_signature(Image(pixels, aspect, None)) for pixels in images]
    hashes = ["" if pixels is None else one.pixel_hash for pixels, one in zip(images, each, strict=True)]
    return Signatures(
        np.array(hashes, dtype=object),
        np.stack([one.thumbnail for one in each]),
        np.array([one.aspect for one in each]),
        np.array([one.corners for one in each], dtype=np.uint8),
    )
