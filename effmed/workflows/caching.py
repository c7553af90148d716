"""``effmed cache``: what is kept of decoded images, and how it goes."""

from __future__ import annotations

from dataclasses import asdict

from effmed.data.cache import clear_cache, describe_cache
from effmed.data.remembered import cache_folder
from effmed.workflows.values import CacheFacts


def cache_info() -> CacheFacts:
    """Tell what the cache holds; see ``effmed.workflows.cache_info``."""
    kept = describe_cache()
    return CacheFacts(
        folder=str(cache_folder()), bytes=sum(each.bytes for each in kept), kept=[asdict(each) for each in kept]
    )


def cache_clear() -> int:
    """Delete what the cache holds; see ``effmed.workflows.cache_clear``."""
    return clear_cache()
