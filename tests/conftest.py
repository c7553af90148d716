"""One thread, no network, a cache of its own for every session."""

import os
import shutil
import socket
import sys

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = "no-hub-cache"  # what the developer's own holds must not decide a test
os.environ.pop("EFFMED_WEIGHTS", None)
os.environ["OMP_NUM_THREADS"] = "1"  # two threads beside another test are many times slower than one

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("effmed", deadline=None)  # no test asserts a time
settings.load_profile("effmed")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    os.environ["EFFMED_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["EFFMED_KEY"] = str(tmp_path_factory.mktemp("key") / "pseudonyms.key")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    allowed = ("127.0.0.1", "localhost", "::1")
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in allowed:
            raise AssertionError(f"a test reached for the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def kernels():
    """What needs the kernels is skipped where there is no GCC; where there is one, they must be right."""
    from effmed.learn.kernels.check import find_kernels

    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("no GCC on Linux")
    assert find_kernels().library is not None, find_kernels().why


@pytest.fixture(scope="session", autouse=True)
def _memory_as_it_comes():
    """Trainings in this process leave its allocator alone: other tests measure what is allocated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("effmed.workflows.training.learning.keep_memory", lambda: True)
        yield
