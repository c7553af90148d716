"""What the cache holds is told, and removed without touching anything else."""

import pytest

from effmed.data.cache import clear_cache, describe_cache, open_cache
from effmed.data.pixels import Preprocessing
from effmed.errors import MachineError
from effmed.run import kernels_folder
from tests import make

SPEC = Preprocessing(height=8, width=6, channels=1, depth="uint8", window="stored", max_megapixels=1.0)


@pytest.fixture
def cache(tmp_path):
    for k in range(2):
        make.png(tmp_path / "data" / f"{k}.png", seed=k)
    folder = tmp_path / "cache"
    manifest = make.manifest(labels=["a", "b"], root=tmp_path / "data")
    open_cache(manifest, SPEC, folder=folder)
    reduced = SPEC.model_copy(update={"reduced_decode": True})
    open_cache(manifest.with_frame(manifest.frame.iloc[:1]), reduced, folder=folder)
    (folder / "headers").mkdir()
    (folder / "headers" / "a").write_bytes(bytes(100))
    (folder / kernels_folder().name).mkdir()
    (folder / kernels_folder().name / "a.so").write_bytes(bytes(70))
    return folder


def test_every_kind_of_pixels_is_told_with_its_images_and_bytes(cache):
    told = {each.what: each for each in describe_cache(cache)}
    whole = told["8 px high x 6 px wide, 1 channel(s), uint8, window stored"]
    assert whole.n_images == 2
    assert whole.bytes > 2 * (8 * 6 + 64 * 64)
    assert told["8 px high x 6 px wide, 1 channel(s), uint8, window stored, reduced decoding"].n_images == 1
    assert (told["headers of files"].n_images, told["headers of files"].bytes) == (0, 100)
    assert told["kernels compiled for this machine"].bytes == 70


def test_the_largest_comes_first(cache):
    sizes = [each.bytes for each in describe_cache(cache)]
    assert sizes == sorted(sizes, reverse=True)


def test_an_empty_cache_holds_nothing(tmp_path):
    assert describe_cache(tmp_path / "none") == ()
    assert clear_cache(tmp_path / "none") == 0


@pytest.mark.parametrize("name", ["preprocessing.json", "index.parquet"])
def test_a_damaged_cache_is_told_all_the_same(cache, name):
    for path in cache.rglob(name):
        path.write_text("x")
    assert len(describe_cache(cache)) == 4 + (cache / "contents").is_dir()


def test_clearing_removes_what_effmed_wrote_and_nothing_else(cache):
    (cache / "mine.txt").write_text("text")
    (cache / "kernels-of-others").mkdir()
    told = sum(each.bytes for each in describe_cache(cache))
    assert clear_cache(cache) == told
    assert sorted(path.name for path in cache.iterdir()) == ["kernels-of-others", "mine.txt"]


def test_what_cannot_be_deleted_is_an_error(cache, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refused)
    with pytest.raises(MachineError, match="permission"):
        clear_cache(cache)


def test_the_cache_is_the_platforms_unless_said_otherwise(cache, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(cache))
    assert describe_cache() == describe_cache(cache)
    assert clear_cache() > 0
