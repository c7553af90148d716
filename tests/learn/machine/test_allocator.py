import platform
import subprocess
import sys

import pytest

from effmed.learn.machine import allocator

# What a process of its own still holds after it freed 64 blocks of 8 MB, before and after it is told.
PROBE = """
import ctypes, resource, sys
from effmed.learn.machine.allocator import keep_memory
from pathlib import Path

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def held():
    blocks = [library.malloc(8 * 1024**2) for _ in range(64)]
    for block in blocks:
        ctypes.memset(block, 1, 8 * 1024**2)
    for block in blocks:
        library.free(block)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

before = held()
assert keep_memory()
print(before, held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_is_freed_stays_with_the_process():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before > 400 * 1024**2


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocator.can_keep_memory()
    assert not allocator.keep_memory()
