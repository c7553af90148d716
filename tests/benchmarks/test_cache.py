"""The benchmark of the cache measures what it says, at a tiny size."""

from benchmarks import cache
from effmed.data.cache import Cache


def test_building_is_measured_against_decoding_alone():
    turns = cache.measure_building(2, 32, 1)
    assert turns.ours_s > 0
    assert len(turns.ratios) == 1


def test_opening_again_decodes_nothing(monkeypatch):
    opened = []
    original = cache.open_cache
    monkeypatch.setattr(
        cache, "open_cache", lambda *a, **k: opened.append(original(*a, on_progress=lambda *d: opened.append(d), **k))
    )
    first, again = cache.measure_opening(2, 32)
    assert min(first, again) > 0
    assert [type(each) for each in opened] == [tuple, tuple, Cache, Cache]
