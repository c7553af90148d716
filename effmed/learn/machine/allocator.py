"""Freed memory is kept for the next step: otherwise glibc gives it back to the system, page by page, and asks again."""

from __future__ import annotations

import ctypes
import platform

MIB = 1024**2
# mallopt(3): parameter numbers of glibc's malloc.h, and what each is set to.
MMAP_MAX = (-4, 0)  # no block is mapped for itself, and unmapped when freed
TRIM_THRESHOLD = (-1, -1)  # what lies free at the end is never given back
TOP_PAD = (-2, 64 * MIB)  # what is asked for beyond the need of the moment
DONE = 1


def can_keep_memory() -> bool:
    """Whether this program's C library can be told so."""
    return platform.libc_ver()[0] == "glibc"


def keep_memory() -> bool:
    """Tell the C library to keep what this process frees, until it ends; return whether it could be told.

    Activations of a step are hundreds of megabytes, freed and taken again at every step.
    """
    if not can_keep_memory():
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(number, value) == DONE for number, value in (MMAP_MAX, TRIM_THRESHOLD, TOP_PAD))
