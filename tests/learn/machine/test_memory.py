import os

import pytest

from effmed.learn.machine.memory import memory_bytes

INSTALLED = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def machine(tmp_path):
    """A machine with control groups: limits by file below their mount, and the lines that name those of the process."""

    def made(lines, limits):
        (tmp_path / "cgroup").write_text(lines, encoding="utf-8")
        for place, limit in limits.items():
            path = tmp_path / "groups" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{limit}\n", encoding="utf-8")
        return memory_bytes(tmp_path / "groups", tmp_path / "cgroup")

    return made


def test_without_limits_it_is_the_memory_of_the_machine(machine, tmp_path):
    assert memory_bytes(tmp_path, tmp_path / "absent") == INSTALLED
    assert machine("0::/user\n", {"user/memory.max": "max", "memory.max": "max"}) == INSTALLED


@pytest.mark.parametrize("limited", ["job_7/step_0", "job_7", ""])
def test_the_limit_of_any_group_around_the_process_counts(machine, limited):
    assert machine("0::/job_7/step_0\n", {f"{limited}/memory.max".lstrip("/"): 1 << 20}) == 1 << 20


def test_the_smallest_limit_counts(machine):
    assert machine("0::/a/b\n", {"a/b/memory.max": 3 << 20, "a/memory.max": 2 << 20}) == 2 << 20


def test_groups_of_others_do_not_count(machine):
    others = ("b/memory.max", "a/c/memory.max", "../memory.max")
    assert machine("0::/a\n", dict.fromkeys(others, 1 << 20)) == INSTALLED


def test_version_one_has_a_mount_for_memory(machine):
    lines = "4:cpu,cpuacct:/a\n3:memory:/a\n"
    assert machine(lines, {"memory/a/memory.limit_in_bytes": 1 << 20, "a/memory.max": 1 << 19}) == 1 << 20
    unlimited = {"memory/a/memory.limit_in_bytes": 9223372036854771712}  # what version 1 writes for no limit
    assert machine(lines, unlimited) == INSTALLED


def test_a_system_that_tells_nothing_has_unknown_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda _: -1)
    assert memory_bytes(tmp_path, tmp_path / "absent") == 0
    monkeypatch.delattr(os, "sysconf")
    assert memory_bytes(tmp_path, tmp_path / "absent") == 0
