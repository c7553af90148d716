"""Which pictures show the same although their pixels differ: candidates by hashing, then proof on thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from effmed.data.pixels.signature import THUMBNAIL_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from effmed.data.pixels.signature import Signatures

# Proof. Chosen on 735 chest radiographs and 780 breast ultrasounds, each against the others and against copies of
# itself (resized 0.3 to 2 times, gamma 0.6 to 1.6, a tenth of the grey range cut off at each end, JPEG 30 to 95).
# Of 269,214 pairs of radiographs of different patients none correlates above 0.56; their tail, carried on to the
# 5 * 10^9 pairs of 100,000 images, ends at about 0.72. Of each kind of copy of a radiograph 98 in 100
# correlate above 0.90, of those with several changes above 0.78. Ultrasounds of 28 pixels are too small for JPEG 30:
# half of those copies are missed.
CORRELATION = 0.75  # least correlation of the structure of two thumbnails that show the same
TILE_CORRELATION = 0.4  # of each tile, but for a few: a shared screen or frame alone is not enough
TILE_FRACTION = 0.15  # most of the tiles that may correlate less: 2 of 16
OWN_CORRELATION = 0.65  # least correlation of what is left without the shared anatomy; 99 in 100 copies reach 0.7
N_TILES = 4  # tiles along each side
N_TILES_COMPARED = 4  # fewer tiles with structure prove nothing: a black picture with one letter
LEAST_DEVIATION = 1.0  # grey levels of 255: a picture, or a tile, whose detail is fainter is blank
ASPECT_TOLERANCE = 0.06  # of the logarithm of height / width: a crop of 3 % along one side
DETAIL_PX, CONTRAST_PX = 2.0, 4.0  # of a thumbnail: what is coarser than the first is removed, within the second evened
CONTRAST_FLOOR = 0.1  # of the mean energy: keeps what is almost even from being amplified

# Candidates: locality-sensitive hashing by random hyperplanes (Charikar 2002, STOC:380), and in each table the
# neighbours in the order of the codes (Bawa, Condie and Ganesan 2005, WWW:651), whose number does not depend on how
# many pictures look alike.
HASHED_SIDE = 32  # pixels of the thumbnail that is hashed
HASHED_DETAIL_PX, HASHED_CONTRAST_PX = 2.0, 2.0
N_TABLES = 64
N_CODE_BITS = 32
N_NEIGHBOURS = 8  # compared with each picture in each table
N_WORDS = 8  # of 64 bits, from the first 16 tables: estimates the angle between two pictures to 1.3 degrees
BITS_DIFFERENT_MAX = 169  # of these 512: an angle of 59 degrees, a correlation of 0.51
N_CANDIDATES = 8  # most that are kept per picture as the first of a pair, and as the second: the nearest
N_PENDING = 4_000_000  # candidates after which those beyond the nearest are dropped
N_WHITENED = 256  # pictures from which on the anatomy that they share is taken out: from fewer it cannot be learned
N_LEARNED = 4096  # pictures from which it is learned, at most
COPY_CORRELATION = 0.95  # of descriptors, from which on the later picture teaches nothing
N_COMPONENTS = 256  # principal components, at most
PICTURES_PER_COMPONENT = 8  # at least
VARIANCE_FLOOR = 0.1  # of the mean variance: keeps noise from counting as much as structure where few pictures differ
CHUNK = 1024  # pictures, or pairs, in memory at once as floating-point numbers
SEED = 0
TINY = np.finfo(np.float32).tiny  # keeps 0 / 0 from being computed


@dataclass(frozen=True)
class _Anatomy:
    """What pictures of one body part share.

    Attributes:
        center: ``(1024,)`` mean structure.
        axes: ``(1024, axis)`` principal components, divided by the standard deviations along them.
    """

    center: NDArray[np.float32]
    axes: NDArray[np.float32]


def near_duplicates(signatures: Signatures, owners: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Find the pairs of pictures that show the same, resized, with other grey levels or recompressed.

    Pictures with identical pixels are represented by the first of them, blank ones by none. The time grows with the
    number of pictures, not with that of pairs.

    Args:
        signatures: Of n pictures.
        owners: ``(n,)`` whom each picture belongs to; pictures of one owner are not compared, and identical pixels
            are represented once per owner. None: each belongs to another.

    Returns:
        ``(pairs, 2)`` positions, the smaller first, in ascending order.
    """
    rows = _representatives(signatures, owners)
    empty = np.empty((0, 2), np.int64)
    if len(rows) < 2:
        return empty
    _, content = np.unique(signatures.pixel_hash[rows].astype(str), return_inverse=True)
    belongs = np.arange(len(rows)) if owners is None else owners[rows]
    apart = np.stack([content, belongs], axis=1)
    anatomy = _shared_anatomy(signatures.thumbnails[rows])
    pairs = _candidates(_codes(signatures.thumbnails[rows], anatomy), apart)
    pairs = rows[pairs[_is_same_shape(signatures.aspect[rows], pairs)]]
    proved = [part[_is_same_picture(signatures.thumbnails, part, anatomy)] for part in _chunks(pairs)]
    return np.concatenate([empty, *proved])


def _representatives(signatures: Signatures, owners: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the first row of each content and owner, without the pictures that are blank or could not be decoded."""
    rows = np.flatnonzero(signatures.pixel_hash != "")
    content = signatures.pixel_hash[rows].astype(str)
    _, number = np.unique(content, return_inverse=True)
    belongs = np.zeros(len(rows), np.int64) if owners is None else owners[rows]
    _, first = np.unique(np.stack([number, belongs], axis=1), axis=0, return_index=True)
    rows = rows[np.sort(first)]
    parts = [_detail(signatures.thumbnails[part], DETAIL_PX).std(axis=(1, 2)) for part in _chunks(rows)]
    return rows[np.concatenate([np.empty(0), *parts]) >= LEAST_DEVIATION]


def _chunks(values: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


# ---------------------------------------------------------------- what is compared


def _blur(side: int, sigma_px: float) -> NDArray[np.float32]:
    """Return the ``(side, side)`` matrix that blurs columns with a Gaussian, mirrored at the border."""
    return gaussian_filter1d(np.eye(side), sigma_px, axis=0, mode="mirror").astype(np.float32)


def _detail(pictures: NDArray[np.uint8] | NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Take out what is coarser than ``sigma_px`` from ``(n, side, side)`` pictures."""
    levels = pictures.astype(np.float32)
    blur = _blur(levels.shape[-1], sigma_px)
    return np.asarray(levels - blur @ levels @ blur.T, np.float32)


def _structure(
    pictures: NDArray[np.uint8] | NDArray[np.float32], detail_px: float, contrast_px: float
) -> NDArray[np.float32]:
    """Return the detail of ``(n, side, side)`` pictures with contrast evened out: about 1 in mean square.

    Brightness, contrast and gamma, also where they change across the picture, hardly change it.
    """
    detail = _detail(pictures, detail_px)
    blur = _blur(detail.shape[-1], contrast_px)
    energy = blur @ np.square(detail) @ blur.T
    mean = energy.mean(axis=(1, 2), keepdims=True)
    return np.asarray(detail / np.sqrt(energy + CONTRAST_FLOOR * mean + TINY), np.float32)


# ---------------------------------------------------------------- candidates


def _codes(thumbnails: NDArray[np.uint8], anatomy: _Anatomy) -> NDArray[np.uint32]:
    """Return ``(n, table)`` codes: pictures that look alike agree in many bits."""
    chance = np.random.default_rng(SEED)
    planes = chance.standard_normal((anatomy.axes.shape[1], N_TABLES * N_CODE_BITS), dtype=np.float32)
    codes = np.empty((len(thumbnails), N_TABLES), np.uint32)
    for part in _chunks(np.arange(len(thumbnails))):
        codes[part] = np.packbits(_own_structure(thumbnails[part], anatomy) @ planes > 0, axis=1).view(np.uint32)
    return codes


def _descriptor(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``(n, 1024)``: the structure of the thumbnails at half their size."""
    n, step = len(thumbnails), THUMBNAIL_SIDE // HASHED_SIDE
    halved = thumbnails.reshape(n, HASHED_SIDE, step, HASHED_SIDE, step).mean(axis=(2, 4), dtype=np.float32)
    return _structure(halved, HASHED_DETAIL_PX, HASHED_CONTRAST_PX).reshape(n, -1)


def _own_structure(thumbnails: NDArray[np.uint8], anatomy: _Anatomy) -> NDArray[np.float32]:
    """Return ``(n, axis)``: what is left of the structure of each thumbnail without the anatomy that all share."""
    return np.asarray((_descriptor(thumbnails) - anatomy.center) @ anatomy.axes, np.float32)


def _shared_anatomy(thumbnails: NDArray[np.uint8]) -> _Anatomy:
    """Learn in which axes pictures of one body part are spread about evenly over all directions.

    It is learned without copies, which else would share everything. Few pictures are left as they are.
    """
    n = min(len(thumbnails), N_LEARNED)
    chosen = np.sort(np.random.default_rng(SEED).choice(len(thumbnails), n, replace=False))
    descriptors = np.concatenate([_descriptor(thumbnails[part]) for part in _chunks(chosen)])
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    descriptors = descriptors[np.tril(unit @ unit.T, -1).max(axis=1) < COPY_CORRELATION]
    n = len(descriptors)
    if n < N_WHITENED:
        return _Anatomy(np.zeros(HASHED_SIDE**2, np.float32), np.eye(HASHED_SIDE**2, dtype=np.float32))
    variances, vectors = np.linalg.eigh(np.cov(descriptors, rowvar=False))
    kept = slice(-min(N_COMPONENTS, n // PICTURES_PER_COMPONENT), None)
    variances, vectors = np.maximum(variances[kept], 0), vectors[:, kept]
    scale = np.sqrt(variances + VARIANCE_FLOOR * variances.mean() + TINY)
    return _Anatomy(descriptors.mean(axis=0), (vectors / scale).astype(np.float32))


def _candidates(codes: NDArray[np.uint32], apart: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``(pairs, 2)`` of pictures whose codes are near each other in some table.

    Args:
        codes: ``(n, table)``.
        apart: ``(n, property)``: only pictures that differ in each of these are a pair.
    """
    n = len(codes)
    words = np.ascontiguousarray(codes[:, : 2 * N_WORDS]).view(np.uint64)
    found = np.empty((0, 2), np.int64)  # key of the pair, bits in which it differs
    pending = [found]
    for table in range(codes.shape[1]):
        order = np.argsort(codes[:, table], kind="stable")
        for shift in range(1, min(N_NEIGHBOURS + 1, n)):
            pending.append(_near(order[:-shift], order[shift:], words, apart))
        if sum(map(len, pending)) > N_PENDING:
            pending = [_nearest(np.concatenate(pending), n)]
    found = _nearest(np.concatenate(pending), n)
    return np.stack(np.divmod(found[:, 0], n), axis=1)


def _near(
    first: NDArray[np.int64], second: NDArray[np.int64], words: NDArray[np.uint64], apart: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return key and distance of the pairs whose words differ in few bits."""
    different = np.bitwise_count(words[first] ^ words[second]).sum(axis=1, dtype=np.int64)
    near = np.flatnonzero(different <= BITS_DIFFERENT_MAX)
    first, second, different = first[near], second[near], different[near]
    is_apart = (apart[first] != apart[second]).all(axis=1)
    key = np.minimum(first, second) * len(words) + np.maximum(first, second)
    return np.stack([key[is_apart], different[is_apart]], axis=1)


def _nearest(found: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Keep each pair once, and of a picture with many pairs the nearest."""
    _, once = np.unique(found[:, 0], return_index=True)
    found = found[once]
    kept = np.zeros(len(found), bool)
    for member in np.divmod(found[:, 0], n):
        order = np.lexsort((found[:, 1], member))
        starts = np.searchsorted(member[order], member[order])
        kept[order] |= np.arange(len(order)) - starts < N_CANDIDATES
    return found[kept]


# ---------------------------------------------------------------- proof


def _is_same_shape(aspect: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which pairs agree in height / width; a square, which pictures are often squeezed to, agrees with all."""
    logarithm = np.log(aspect)[pairs]
    is_near = np.abs(logarithm[:, 0] - logarithm[:, 1]) <= ASPECT_TOLERANCE
    return np.asarray(is_near | (logarithm == 0).any(axis=1))


def _is_same_picture(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64], anatomy: _Anatomy) -> NDArray[np.bool_]:
    """Tell which of ``(pairs, 2)`` correlate as a whole, without the shared anatomy, and in almost all their tiles."""
    members, place = np.unique(pairs, return_inverse=True)
    place = place.reshape(pairs.shape)
    thumbnails = thumbnails[members]
    structure = _structure(thumbnails, DETAIL_PX, CONTRAST_PX)
    whole = _correlations(structure.reshape(len(members), 1, -1), place)[:, 0]
    own = _correlations(_own_structure(thumbnails, anatomy)[:, np.newaxis], place)[:, 0]
    is_alike = (whole >= CORRELATION) & (own >= OWN_CORRELATION)
    deviation = _tiles(_detail(thumbnails, DETAIL_PX)).std(axis=2)[place].min(axis=1)
    is_compared = deviation >= LEAST_DEVIATION  # in both
    n_compared = is_compared.sum(axis=1)
    n_unlike = (is_compared & (_correlations(_tiles(structure), place) < TILE_CORRELATION)).sum(axis=1)
    return np.asarray(is_alike & (n_compared >= N_TILES_COMPARED) & (n_unlike <= TILE_FRACTION * n_compared))


def _tiles(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut ``(n, 64, 64)`` into ``(n, tile, pixel)``."""
    side = THUMBNAIL_SIDE // N_TILES
    tiles = pictures.reshape(-1, N_TILES, side, N_TILES, side).swapaxes(2, 3)
    return tiles.reshape(-1, N_TILES**2, side**2)


def _correlations(parts: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the ``(pair, part)`` correlations of ``(picture, part, value)``."""
    centred = parts - parts.mean(axis=2, keepdims=True)
    norm = np.sqrt(np.square(centred).sum(axis=2))
    first, second = pairs.T
    products = np.einsum("ijk,ijk->ij", centred[first], centred[second])
    return np.asarray(products / np.maximum(norm[first] * norm[second], TINY), np.float32)
