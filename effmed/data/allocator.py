"""Freed memory is kept for the next time: otherwise glibc gives it back to the system, page by page, and asks again."""

from __future__ import annotations

import ctypes
import platform

MIB = 1024**2
# mallopt(3): parameter numbers of glibc's malloc.h, and what each is set to.
MMAP_MAX = (-4, 0)  # no block is mapped for itself, and unmapped when freed
TRIM_THRESHOLD = (-1, -1)  # what lies free at the end is never given back
TOP_PAD = (-2, 64 * MIB)  # what is asked for beyond the need of the moment
MMAP_THRESHOLD = (-3, 32 * MIB)  # only larger blocks are mapped for themselves; glibc takes no larger number
TRIM_LATER = (-1, 256 * MIB)  # what lies free at the end is given back when it is more
DONE = 1


def can_keep_memory() -> bool:
    """Whether this program's C library can be told so."""
    return platform.libc_ver()[0] == "glibc"


def keep_memory() -> bool:
    """Tell the C library to keep what this process frees, until it ends; return whether it could be told.

    Activations of a step are hundreds of megabytes, freed and taken again at every step.
    """
    return _tell(MMAP_MAX, TRIM_THRESHOLD, TOP_PAD)


def keep_some_memory() -> bool:
    """Tell the C library to keep up to 256 MB that lie free at the end of the heap; return whether it could be told.

    A radiograph of 2048 pixels takes 8 MB several times over while it is read, and so does the next one: 102 instead of
    121 ms for a PNG of 16 bits, in each of two processes.
    """
    return _tell(MMAP_THRESHOLD, TRIM_LATER)


def _tell(*settings: tuple[int, int]) -> bool:
    if not can_keep_memory():
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(number, value) == DONE for number, value in settings)
