import os
import subprocess
import sys
import threading

import pytest

from effmed.learn.kernels import build

pytestmark = pytest.mark.usefixtures("kernels")

load = build.load_kernels.__wrapped__


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path))
    return tmp_path


def folder(cache):
    return cache / f"kernels-{os.getuid()}"


def compiler(folder, body):
    """Put a compiler that does something else before the others."""
    file = folder / "bin" / "gcc"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


def test_kernels_are_compiled_once_and_remembered(monkeypatch, cache):
    assert load().library is not None
    (file,) = folder(cache).iterdir()  # and nothing of the work is left
    assert file.suffix == ".so"
    monkeypatch.setattr(build, "_compile", None)
    assert load().library is not None


def test_kernels_are_compiled_while_torch_is_imported_and_only_once(monkeypatch, cache):
    """The thread cannot load them: whoever does waits for it."""
    calls = []
    compile_ = build._compile
    monkeypatch.setattr(build, "_compile", lambda *given: calls.append(given) or compile_(*given))
    build.compile_early()
    assert load().library is not None
    assert len(calls) == 1


def test_early_compilation_that_fails_says_nothing(monkeypatch, cache, tmp_path, capfd):
    failing = compiler(tmp_path, "exit 1")
    monkeypatch.setattr(build.shutil, "which", lambda _: failing)
    build.compile_early()
    for thread in threading.enumerate():
        if thread.name == "compiler":
            thread.join()
    assert capfd.readouterr() == ("", "")
    assert load().library is None


def test_another_compiler_source_or_processor_is_another_file(monkeypatch):
    keys = {build._key("gcc 12"), build._key("gcc 13")}
    monkeypatch.setattr(build.platform, "machine", lambda: "riscv64")
    keys.add(build._key("gcc 12"))
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    keys.add(build._key("gcc 12"))
    monkeypatch.setattr(build, "HEADERS", ())
    keys.add(build._key("gcc 12"))
    assert len(keys) == 5


def gcc():
    return build.shutil.which("gcc")


def test_a_damaged_file_is_compiled_again(tmp_path):
    file = tmp_path / "damaged.so"
    file.write_bytes(b"\x7fELF")
    assert build._load(gcc(), file) is not None
    assert file.stat().st_size > 10_000


def test_a_file_that_lacks_a_kernel_is_removed(tmp_path):
    (tmp_path / "other.c").write_text("void effmed_moments(void) {}")
    file = tmp_path / "other.so"
    subprocess.run([gcc(), "-shared", "-fPIC", tmp_path / "other.c", "-o", file], check=True)
    with pytest.raises(OSError, match="lacked a kernel"):
        build._load(gcc(), file)
    assert not file.exists()


def test_a_file_that_another_process_has_made_meanwhile_is_left_as_it_is(tmp_path):
    """That process reads it from the disk as it needs it."""
    file = tmp_path / "kernels.so"
    file.write_bytes(b"theirs")
    build._compile(gcc(), file)
    assert file.read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["kernels.so"]


def test_code_that_others_may_have_written_is_not_loaded(cache):
    assert load().library is not None
    folder(cache).chmod(0o770)
    found = load()
    assert found.library is None
    assert "others may write into" in found.why


def test_code_of_another_user_is_not_loaded(monkeypatch, cache):
    load()
    (cache / f"kernels-{os.getuid() + 1}").mkdir()
    user = os.getuid() + 1
    monkeypatch.setattr(build.os, "getuid", lambda: user)
    assert load().library is None


def test_compiled_files_are_for_their_user_alone(cache):
    load()
    assert folder(cache).stat().st_mode & 0o777 == 0o700


def test_without_a_compiler_the_reason_is_said(monkeypatch, cache):
    monkeypatch.setenv("PATH", "")
    assert load() == build.Kernels(None, "no compiler of C (gcc) was found")


def test_elsewhere_than_on_linux_nothing_is_compiled(monkeypatch, cache):
    monkeypatch.setattr(build.sys, "platform", "win32")
    assert load() == build.Kernels(None, "they are compiled on Linux alone")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'gcc 1.0'; test $1 = --version || { echo 'no space left' >&2; exit 1; }", "gcc: no space left"),
        ("echo 'gcc 1.0'", "gcc: "),  # makes nothing
        ("exit 0", "gcc: "),  # says nothing
        ("printf '\\377'; exit 3", "gcc: Command"),
    ],
)
def test_a_compiler_that_fails_is_no_reason_to_stop(monkeypatch, cache, tmp_path, body, said):
    monkeypatch.setattr(build.shutil, "which", lambda _: compiler(tmp_path, body))
    found = load()
    assert found.library is None
    assert found.why.startswith(said)
    assert "\n" not in found.why


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "file"))
    assert load().library is None


def test_kernels_compute_with_the_threads_of_torch():
    """Another pool would stand beside them, and both would want all cores."""
    probe = """
import os, sys
import sklearn.utils._openmp_helpers  # brings an OpenMP of its own
import torch
from effmed.learn.kernels.check import find_kernels
torch.set_num_threads(4)
torch.rand(1000, 1000, requires_grad=True).sin().sum().backward()  # which starts threads of its own for a GPU
before = len(os.listdir("/proc/self/task"))
assert find_kernels().library is not None, find_kernels().why
from effmed.learn.kernels.normalising import Normalisation, NormaliseActivate
images = torch.rand(4, 16, 64, 64).to(memory_format=torch.channels_last)
NormaliseActivate.apply(images, torch.ones(16), torch.zeros(16), Normalisation(1e-3, "silu", lambda *_: None))
print(before, len(os.listdir("/proc/self/task")))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=environment)
    before, after = map(int, done.stdout.split())
    assert before >= 4
    assert after == before
