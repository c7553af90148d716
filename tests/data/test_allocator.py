import platform
import subprocess
import sys

import pytest

from effmed.data import allocator

# What a process still holds after it freed blocks of 8 MB: before it is told, then after so many blocks each.
PROBE = """
import ctypes, resource, sys
from effmed.data import allocator
from pathlib import Path

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def held(n_blocks):
    blocks = [library.malloc(8 * 1024**2) for _ in range(n_blocks)]
    for block in blocks:
        ctypes.memset(block, 1, 8 * 1024**2)
    for block in blocks:
        library.free(block)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

_, name, *counts = sys.argv
found = [held(int(counts[0]))]
assert getattr(allocator, name)()
print(*found, *(held(int(count)) for count in counts))
"""

only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


def held_mib(*arguments):
    """Return what is held before the C library is told, and after each number of blocks."""
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    return [int(held) / 1024**2 for held in done.stdout.split()]


@only_glibc
def test_what_is_freed_stays_with_the_process():
    before, after = held_mib("keep_memory", "64")
    assert after - before > 400


@only_glibc
def test_some_of_what_is_freed_stays_with_the_process():
    before, few, many = held_mib("keep_some_memory", "16", "64")
    assert few - before > 100
    assert many - before < 300


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocator.can_keep_memory()
    assert not allocator.keep_memory()
    assert not allocator.keep_some_memory()
