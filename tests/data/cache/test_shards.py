"""Shards: whole or passed over; several read like one array."""

import errno

import numpy as np
import pytest

from effmed.data.cache import shards as module
from effmed.data.cache.shards import CachedPixels, Entry, image_bytes, read_shards, shard_length, write_shard
from effmed.data.decode import Identity
from effmed.data.pixels import Preprocessing
from effmed.data.pixels.signature import Signature
from effmed.errors import MachineError

SPEC = Preprocessing(height=4, width=6, channels=1, depth="uint16", window="stored", max_megapixels=1.0)


def entry(number, spec=SPEC):
    pixels = np.full((spec.height, spec.width, spec.channels), number, spec.depth)
    signature = Signature(f"hash-{number}", np.full((64, 64), number, np.uint8), 0.5 + number, number % 16)
    identity = Identity(f"content-{number}", signature, "40/80", "file", "table")
    return Entry(f"key-{number}", pixels[..., 0] if spec.channels == 1 else pixels, identity)


def test_what_is_written_is_read(tmp_path):
    write_shard(tmp_path, [entry(1), entry(2)])
    held = read_shards(tmp_path, SPEC)
    assert held.index[list(module.COLUMNS)].to_dict("records")[1] == {
        "key": "key-2",
        "pixel_hash": "hash-2",
        "aspect": 2.5,
        "corners": 2,
        "window": "40/80",
        "window_origin": "file",
        "table": "table",
    }
    assert np.array_equal(held.pixels[0][:, 0, 0], [1, 2])
    assert held.pixels[0].dtype == np.uint16
    assert np.array_equal(held.thumbnails[0][:, 0, 0], [1, 2])


def test_channels_are_kept(tmp_path):
    spec = SPEC.model_copy(update={"channels": 3})
    write_shard(tmp_path, [entry(1, spec)])
    assert read_shards(tmp_path, spec).pixels[0].shape == (1, 4, 6, 3)


def test_an_image_in_two_shards_is_one(tmp_path):
    for numbers in ([1, 2], [2, 3]):
        write_shard(tmp_path, [entry(number) for number in numbers])
    held = read_shards(tmp_path, SPEC)
    assert sorted(held.index["key"]) == ["key-1", "key-2", "key-3"]
    for key, shard, row in zip(held.index["key"], held.index["shard"], held.index["row"], strict=True):
        assert held.pixels[shard][row, 0, 0] == int(key[-1])


def test_an_empty_folder_holds_nothing(tmp_path):
    assert len(read_shards(tmp_path / "none", SPEC)) == 0


def test_a_shard_of_other_pixels_is_passed_over(tmp_path):
    write_shard(tmp_path, [entry(1)])
    assert len(read_shards(tmp_path, SPEC.model_copy(update={"height": 5}))) == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_refusal_of_the_disk_leaves_nothing(tmp_path, monkeypatch, number):
    def refused(file):
        raise OSError(number, "refused")

    monkeypatch.setattr(module.os, "fsync", refused)
    with pytest.raises(MachineError):
        write_shard(tmp_path / "group", [entry(1)])
    assert list((tmp_path / "group").iterdir()) == []


def several():
    """Six images in two shards, the last one black."""
    parts = (
        np.arange(3)[:, None, None] * np.ones((1, 4, 6), int),
        10 + np.arange(3)[:, None, None] * np.ones((4, 6), int),
    )
    shard, row = np.array([1, 0, 0, 1, 0, -1]), np.array([2, 0, 1, 0, 2, 0])
    return CachedPixels(parts, shard, row, (4, 6), np.dtype(int))


def test_several_shards_read_like_one_array():
    pixels = several()
    assert pixels.shape == (6, 4, 6)
    assert len(pixels) == 6
    assert [int(image[0, 0]) for image in pixels] == [12, 0, 1, 10, 2, 0]


@pytest.mark.parametrize(
    ("which", "values"),
    [
        (np.array([3, 0]), [10, 12]),
        (slice(1, 3), [0, 1]),
        (np.array([], int), []),
        (np.array([True, False, False, True, False, True]), [12, 10, 0]),
    ],
)
def test_several_images_are_a_copy(which, values):
    chosen = several()[which]
    assert chosen.shape == (len(values), 4, 6)
    assert chosen[:, 0, 0].tolist() == values


def test_one_image_beyond_the_end_is_an_error():
    with pytest.raises(IndexError):
        several()[6]


def test_the_pixels_cannot_be_changed(tmp_path):
    write_shard(tmp_path, [entry(1)])
    assert not read_shards(tmp_path, SPEC).pixels[0].flags.writeable


def test_a_shard_is_bounded_in_bytes_and_images():
    large = SPEC.model_copy(update={"height": 4000, "width": 4000})
    assert shard_length(large) * image_bytes(large) <= module.SHARD_BYTES
    assert shard_length(SPEC) == module.SHARD_IMAGES
    assert shard_length(SPEC.model_copy(update={"height": 40_000, "width": 40_000})) == 1
