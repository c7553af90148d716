"""The cache: every image is decoded once, whole or not at all, whatever happens and whoever else is at work."""

import os
import shutil
import time
from collections import namedtuple

import numpy as np
import platformdirs
import pytest

from effmed.data import decode as decoding
from effmed.data.cache import open_cache, opened
from effmed.data.pixels import Preprocessing, read_image
from effmed.data.pixels.signature import make_signature
from effmed.data.scan.medmnist import read_npz_manifest
from effmed.errors import DataError, MachineError
from effmed.run import cache_folder
from tests import make
from tests.data.pixels import make as make_pixels

SPEC = Preprocessing(height=8, width=8, channels=1, depth="uint8", window="stored", max_megapixels=1.0)
Usage = namedtuple("Usage", "total used free")


def images(root, n=4):
    """A manifest of n images that exist, and their pixels."""
    pixels = [make.png(root / f"{k}.png", size=(8, 8), seed=k) for k in range(n)]
    return make.manifest(labels=["a", "b"] * (n // 2) + ["a"] * (n % 2), root=root), pixels


def damage(path):
    path.write_bytes(path.read_bytes()[:40])


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that were decoded, in order."""
    names = []
    original = decoding.decode

    def recorded(sources, spec, **options):
        sources = list(sources)
        names.extend(source.path.name for source in sources)
        return original(sources, spec, **options)

    monkeypatch.setattr(decoding, "decode", recorded)
    return names


def test_the_cache_holds_the_pixels_in_the_order_of_the_manifest(tmp_path):
    manifest, pixels = images(tmp_path / "data")
    assert np.array_equal(open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels, pixels)


def test_three_channels_and_sixteen_bits_are_kept(tmp_path):
    manifest, pixels = images(tmp_path / "data")
    spec = SPEC.model_copy(update={"channels": 3, "depth": "uint16"})
    cache = open_cache(manifest, spec, folder=tmp_path / "cache")
    assert (cache.pixels.shape, cache.pixels.dtype) == ((4, 8, 8, 3), np.uint16)
    assert np.array_equal(cache.pixels[0][:, :, 1], pixels[0].astype(np.uint16) * 257)


def test_the_size_on_disk_is_told(tmp_path):
    manifest, _ = images(tmp_path / "data")
    cache = open_cache(manifest, SPEC, folder=tmp_path / "cache")
    assert cache.bytes == 4 * 8 * 8 == sum(path.stat().st_size for path in cache.folder.rglob("pixels.raw"))


def test_opening_a_second_time_decodes_nothing(tmp_path, decoded):
    manifest, _ = images(tmp_path / "data")
    first = open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    assert open_cache(manifest, SPEC, folder=tmp_path / "cache").folder == first.folder
    assert decoded == []


def test_opening_a_second_time_builds_nothing(tmp_path):
    manifest, _ = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    told = []
    open_cache(manifest, SPEC, folder=tmp_path / "cache", on_progress=lambda done, total: told.append(done))
    assert told == []


def test_other_labels_and_splits_need_no_other_cache(tmp_path, decoded):
    manifest, _ = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    open_cache(manifest.with_frame(manifest.frame.assign(label="c")), SPEC, folder=tmp_path / "cache")
    assert decoded == []


def test_other_preprocessing_decodes_everything(tmp_path, decoded):
    manifest, _ = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    open_cache(manifest, SPEC.model_copy(update={"height": 9}), folder=tmp_path / "cache")
    assert len(decoded) == 4


def test_of_a_larger_set_only_new_images_are_decoded(tmp_path, decoded):
    few, _ = images(tmp_path / "data", n=3)
    open_cache(few, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    more, pixels = images(tmp_path / "data2", n=5)
    for k in (3, 4):
        shutil.copy(tmp_path / "data2" / f"{k}.png", tmp_path / "data")
    more = make.manifest(labels=list("ababa"), root=tmp_path / "data")
    assert np.array_equal(open_cache(more, SPEC, folder=tmp_path / "cache").pixels, pixels)
    assert decoded == ["3.png", "4.png"]


def test_a_part_of_a_set_in_another_order_is_copied(tmp_path, decoded):
    manifest, pixels = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    part = manifest.with_frame(manifest.frame.iloc[[3, 1]])
    cache = open_cache(part, SPEC, folder=tmp_path / "cache")
    assert np.array_equal(cache.pixels, [pixels[3], pixels[1]])
    assert decoded == []


def test_a_changed_file_is_decoded_again(tmp_path, decoded):
    manifest, _ = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    changed = make.png(tmp_path / "data" / "1.png", size=(8, 8), seed=99)
    os.utime(tmp_path / "data" / "1.png", ns=(1, 1))
    assert np.array_equal(open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels[1], changed)
    assert decoded == ["1.png"]


def test_an_image_that_cannot_be_decoded_is_a_failure_with_reason_and_hint(tmp_path):
    manifest, _ = images(tmp_path / "data")
    damage(tmp_path / "data" / "2.png")
    failures = open_cache(manifest, SPEC, folder=tmp_path / "cache").failures
    assert list(failures) == [2]
    assert failures[2].problem
    assert failures[2].hint


def test_the_pixels_of_a_failure_are_black(tmp_path):
    manifest, _ = images(tmp_path / "data")
    damage(tmp_path / "data" / "2.png")
    assert not open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels[2].any()


def test_a_file_that_vanished_after_the_scan_is_a_failure(tmp_path):
    manifest, _ = images(tmp_path / "data")
    (tmp_path / "data" / "0.png").unlink()
    assert list(open_cache(manifest, SPEC, folder=tmp_path / "cache").failures) == [0]


def test_a_failure_is_tried_again_and_nothing_else(tmp_path, decoded):
    manifest, _ = images(tmp_path / "data")
    damage(tmp_path / "data" / "2.png")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    assert list(open_cache(manifest, SPEC, folder=tmp_path / "cache").failures) == [2]
    assert decoded == ["2.png"]


def test_a_failure_that_has_mended_is_one_no_longer(tmp_path, monkeypatch):
    manifest, pixels = images(tmp_path / "data")
    with monkeypatch.context() as without_decoder:
        refused = [DataError("no decoder", hint="install it")]
        without_decoder.setattr(decoding, "decode", lambda sources, spec, **options: refused * len(list(sources)))
        assert len(open_cache(manifest, SPEC, folder=tmp_path / "cache").failures) == 4
    mended = open_cache(manifest, SPEC, folder=tmp_path / "cache")
    assert not mended.failures
    assert np.array_equal(mended.pixels, pixels)


def test_leaving_failures_out_decodes_nothing_again(tmp_path, decoded):
    manifest, _ = images(tmp_path / "data")
    damage(tmp_path / "data" / "2.png")
    failures = open_cache(manifest, SPEC, folder=tmp_path / "cache").failures
    decoded.clear()
    assert len(open_cache(manifest.without(failures), SPEC, folder=tmp_path / "cache").pixels) == 3
    assert decoded == []


def test_progress_is_told_to_the_end(tmp_path):
    manifest, _ = images(tmp_path / "data")
    told = []
    open_cache(manifest, SPEC, folder=tmp_path / "cache", on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def stop_after_two(done, total):
    if done == 2:
        raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing(tmp_path):
    manifest, _ = images(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        open_cache(manifest, SPEC, folder=tmp_path / "cache", on_progress=stop_after_two)
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["preprocessing.json"]


def test_after_an_interruption_the_cache_is_built_whole(tmp_path):
    manifest, pixels = images(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        open_cache(manifest, SPEC, folder=tmp_path / "cache", on_progress=stop_after_two)
    assert np.array_equal(open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels, pixels)


def half_built(group):
    """What a killed process leaves beside the shards."""
    left = group / ".0123.12345678"
    left.mkdir()
    (left / "pixels.raw").write_bytes(b"half")
    return left


def test_what_another_process_is_building_stays(tmp_path):
    manifest, _ = images(tmp_path / "data")
    left = half_built(open_cache(manifest, SPEC, folder=tmp_path / "cache").folder)
    open_cache(images(tmp_path / "data", n=5)[0], SPEC, folder=tmp_path / "cache")
    assert left.is_dir()


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path):
    manifest, _ = images(tmp_path / "data")
    left = half_built(open_cache(manifest, SPEC, folder=tmp_path / "cache").folder)
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (left / "pixels.raw", left):
        os.utime(path, (two_days_ago, two_days_ago))
    open_cache(images(tmp_path / "data", n=5)[0], SPEC, folder=tmp_path / "cache")
    assert not left.exists()


@pytest.mark.parametrize("name", ["pixels.raw", "thumbnails.raw", "index.parquet"])
def test_images_of_a_damaged_shard_are_decoded_anew(tmp_path, name):
    manifest, pixels = images(tmp_path / "data")
    (path,) = open_cache(manifest, SPEC, folder=tmp_path / "cache").folder.rglob(name)
    damage(path)
    assert np.array_equal(open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels, pixels)


def test_two_runs_at_once_end_with_the_same_pixels(tmp_path):
    manifest, pixels = images(tmp_path / "data")

    def other_run(done, total):
        if done == 2:
            other = open_cache(manifest, SPEC, folder=tmp_path / "cache")
            assert np.array_equal(other.pixels, pixels)

    cache = open_cache(manifest, SPEC, folder=tmp_path / "cache", on_progress=other_run)
    assert np.array_equal(cache.pixels, pixels)


def test_a_cache_that_is_cleared_meanwhile_is_an_error(tmp_path, monkeypatch):
    manifest, _ = images(tmp_path / "data")
    monkeypatch.setattr(opened, "write_shard", lambda group, entries: None)
    with pytest.raises(MachineError, match="vanished") as caught:
        open_cache(manifest, SPEC, folder=tmp_path / "cache")
    assert "run it again" in caught.value.hint


def test_too_little_space_is_refused_before_the_first_image(tmp_path, monkeypatch, decoded):
    manifest, _ = images(tmp_path / "data")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(100, 99, 1))
    with pytest.raises(MachineError, match=r"cache/.* has 1 bytes free, the decoded images need 50,016,640") as caught:
        open_cache(manifest, SPEC, folder=tmp_path / "cache")
    assert "EFFMED_CACHE=FOLDER" in caught.value.hint
    assert decoded == []


def test_a_place_where_no_folder_can_be_made_is_an_error(tmp_path):
    manifest, _ = images(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file") as caught:
        open_cache(manifest, SPEC, folder=tmp_path / "file" / "cache")
    assert caught.value.hint


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "elsewhere"))
    manifest, _ = images(tmp_path / "data")
    assert open_cache(manifest, SPEC).folder.is_relative_to(tmp_path / "elsewhere")


def test_without_a_word_the_cache_lies_where_the_platform_keeps_caches(monkeypatch):
    monkeypatch.delenv("EFFMED_CACHE")
    assert cache_folder() == platformdirs.user_cache_path("effmed")


def test_a_medmnist_file_is_cached_like_a_folder(tmp_path, monkeypatch):
    arrays = make.npz(tmp_path / "data.npz", size=(8, 8))
    manifest = read_npz_manifest(tmp_path / "data.npz")
    cache = open_cache(manifest, SPEC, folder=tmp_path / "cache")
    assert np.array_equal(cache.pixels[:8], arrays["train_images"])
    monkeypatch.setattr(decoding, "read_npz_images", None)
    assert np.array_equal(open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels, cache.pixels)


def test_a_renamed_file_and_a_copy_elsewhere_are_known(tmp_path, decoded):
    manifest, pixels = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "moved" / "0.png").rename(tmp_path / "moved" / "3.png.old")
    (tmp_path / "moved" / "3.png").rename(tmp_path / "moved" / "0.png")
    (tmp_path / "moved" / "3.png.old").rename(tmp_path / "moved" / "3.png")
    moved = make.manifest(labels=["a", "b", "a", "b"], root=tmp_path / "moved")
    cache = open_cache(moved, SPEC, folder=tmp_path / "cache")
    assert np.array_equal(cache.pixels, [pixels[k] for k in (3, 1, 2, 0)])
    assert decoded == []


def test_what_was_written_before_an_interruption_is_kept(tmp_path, monkeypatch, decoded):
    manifest, pixels = images(tmp_path / "data")
    monkeypatch.setattr(opened, "shard_length", lambda spec: 1)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(manifest, SPEC, folder=tmp_path / "cache", on_progress=stop)
    decoded.clear()
    assert np.array_equal(open_cache(manifest, SPEC, folder=tmp_path / "cache").pixels, pixels)
    assert decoded == ["3.png"]


def test_other_decoders_decode_everything(tmp_path, monkeypatch, decoded):
    manifest, _ = images(tmp_path / "data")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    decoded.clear()
    monkeypatch.setattr(opened, "_version", lambda package: "99")
    open_cache(manifest, SPEC, folder=tmp_path / "cache")
    assert len(decoded) == 4


def test_frames_of_one_file_are_images_of_their_own(tmp_path, decoded):
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    (tmp_path / "data").mkdir()
    make_pixels.dicom(tmp_path / "data" / "0.png", pixels, NumberOfFrames=3)
    manifest = make.manifest(labels=["a"] * 3, root=tmp_path / "data")
    manifest = manifest.with_frame(manifest.frame.assign(image="0.png", frame=[0, 1, 2]))
    spec = SPEC.model_copy(update={"window": "full"})
    first = open_cache(manifest, spec, folder=tmp_path / "cache")
    decoded.clear()
    again = open_cache(manifest.with_frame(manifest.frame.iloc[::-1]), spec, folder=tmp_path / "cache")
    assert not first.failures
    assert len({image.tobytes() for image in first.pixels}) == 3
    assert np.array_equal(np.asarray(again.pixels), np.asarray(first.pixels)[::-1])
    assert decoded == []


@pytest.mark.parametrize("n_opened", [1, 2])
def test_the_cache_says_what_every_image_is(tmp_path, n_opened):
    manifest, _ = images(tmp_path / "data")
    damage(tmp_path / "data" / "2.png")
    for _ in range(n_opened):
        cache = open_cache(manifest, SPEC, folder=tmp_path / "cache")
    image = read_image(tmp_path / "data" / "3.png", 0, window="stored", max_megapixels=1.0)
    signature = make_signature(image)
    assert cache.signatures.pixel_hash[3] == signature.pixel_hash
    assert cache.signatures.pixel_hash[2] == ""
    assert np.array_equal(cache.signatures.thumbnails[3], signature.thumbnail)
    assert not cache.signatures.thumbnails[2].any()
    assert (cache.signatures.aspect[3], cache.signatures.corners[3]) == (signature.aspect, signature.corners)
    assert list(cache.provenance["window"].isna()) == [False, False, True, False]
    assert cache.provenance["window_origin"][3] == image.provenance.window_origin
