"""How much memory this process may use: that of the machine, and what control groups leave of it (no torch)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]  # a module elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_PER_KIB = 1024  # man 2 getrusage: on Linux
CONTROL_GROUPS = Path("/sys/fs/cgroup")  # man 7 cgroups; where systemd, SLURM and containers mount them
MEMBERSHIP = Path("/proc/self/cgroup")
LIMIT_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # version 2, version 1


def memory_bytes(groups: Path = CONTROL_GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return how many bytes of memory this process may use at most; 0 where the system does not tell.

    What others use at the moment is not taken off: the same command decides the same tomorrow.

    Args:
        groups: Where control groups are mounted.
        membership: File that names those of this process.
    """
    known = [found for found in (_installed(), *_limits(groups, membership)) if found > 0]
    return min(known, default=0)


def peak_memory_bytes() -> int:
    """Return the largest memory that this process has had so far, in bytes; 0 where the system does not tell."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else BYTES_PER_KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _installed() -> int:
    """Return the memory of the machine, 0 where the system does not tell (Windows)."""
    try:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
    return max(0, pages) * max(0, page_bytes)  # -1: the system does not know


def _limits(groups: Path, membership: Path) -> Iterator[int]:
    """Yield the limits of the process's groups and of all groups that hold these; "max" is none."""
    for controller, place in _memberships(membership):
        mounted = groups / controller
        inside = mounted / place.lstrip("/")
        for folder in (inside, *inside.parents):
            if not folder.is_relative_to(mounted):
                break
            text = _read(folder / LIMIT_FILES[controller])
            if text.isdigit():
                yield int(text)


def _memberships(membership: Path) -> Iterator[tuple[str, str]]:
    """Yield controller ("" in version 2) and place of the groups that may limit memory: ``id:controllers:place``."""
    for line in _read(membership).splitlines():
        _, controllers, place = (*line.split(":", 2), "", "")[:3]
        for controller in controllers.split(","):
            if controller in LIMIT_FILES:
                yield controller, place


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
