"""Every image decoded once: pixels at the size of training and what identifies each, on disk, by content."""

from effmed.data.cache.kept import Kept, clear_cache, describe_cache
from effmed.data.cache.opened import Cache, open_cache
from effmed.data.cache.shards import CachedPixels

__all__ = ["Cache", "CachedPixels", "Kept", "clear_cache", "describe_cache", "open_cache"]
