"""Compile the kernels in C for the processor at hand, once, and load them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from effmed.run import cache_folder

FOLDER = Path(__file__).parent
SOURCES = ("normalise.c", "depthwise.c")
HEADERS = ("vectors.h",)
COMPILERS = ("gcc", "cc")  # clang's OpenMP is another than the one that torch brings
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
TIMEOUT_S = 300
_POINTER, _SIZE, _KIND = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


class Shape(ctypes.Structure):
    """Sizes of a depthwise convolution, as ``depthwise.c`` takes them."""

    _fields_ = tuple(
        (name, _SIZE)
        for name in (
            "images", "channels", "in_rows", "in_columns", "out_rows", "out_columns", "kernel", "stride", "top", "left",
        )
    )  # fmt: skip


SIGNATURES = {
    "effmed_moments": (_POINTER, _SIZE, _SIZE, *[_POINTER] * 3),
    "effmed_normalise": (_POINTER, _SIZE, _SIZE, *[_POINTER] * 2, _KIND, _POINTER),
    "effmed_slopes": (*[_POINTER] * 2, _SIZE, _SIZE, *[_POINTER] * 3, _KIND, *[_POINTER] * 3),
    "effmed_normalise_back": (*[_POINTER] * 2, _SIZE, _SIZE, *[_POINTER] * 4, _KIND, _POINTER),
    "effmed_sums": (*[_POINTER] * 2, *[_SIZE] * 3, *[_POINTER] * 2),
    "effmed_scale": (*[_POINTER] * 3, *[_SIZE] * 3, _POINTER),
    "effmed_depthwise": (*[_POINTER] * 2, ctypes.POINTER(Shape), _POINTER),
    "effmed_depthwise_input": (*[_POINTER] * 2, ctypes.POINTER(Shape), _POINTER),
    "effmed_depthwise_weights": (*[_POINTER] * 2, ctypes.POINTER(Shape), *[_POINTER] * 2),
}


@dataclass(frozen=True)
class Kernels:
    """The compiled layers.

    Attributes:
        library: What the sources became; None where they could not be compiled or loaded.
        why: The compiler in words, or what was in the way.
    """

    library: ctypes.CDLL | None
    why: str


@functools.cache
def load_kernels() -> Kernels:
    """Load the compiled layers, from the cache or compiled now: some seconds, once per machine and version.

    Threads are those of torch, by the OpenMP that torch has loaded: another pool of threads beside it would keep the
    cores from each other.
    """
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if not hasattr(os, "RTLD_NOLOAD") or not torch.backends.openmp.is_available():  # type: ignore[no-untyped-call]
        return Kernels(None, "torch has no OpenMP of GNU here")
    if compiler is None:
        return Kernels(None, "no compiler of C (gcc) was found")
    try:
        version = _output([compiler, "--version"]).partition("\n")[0]
        _share_threads()
        return Kernels(_load(compiler, cache_folder() / "kernels" / f"{_key(version)}.so"), version)
    except (OSError, subprocess.SubprocessError) as error:
        return Kernels(None, f"{Path(compiler).name}: {_first_line(error)}")


def _load(compiler: str, file: Path) -> ctypes.CDLL:
    """Load the compiled file, which is made where there is none, or a damaged one.

    Raises:
        OSError: It cannot be written or loaded.
        subprocess.SubprocessError: It cannot be compiled.
    """
    try:
        library = ctypes.CDLL(str(file))
    except OSError:
        _compile(compiler, file)
        library = ctypes.CDLL(str(file))
    for name, arguments in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


def _share_threads() -> None:
    """Let libraries that are loaded from now on find the OpenMP of GNU that torch computes with.

    Other packages bring some of their own. Torch's is known by the name of the file that came with it, even where a
    file of the same name was loaded before and serves both; without such a file it is the system's.

    Raises:
        OSError: Torch computes with another, or the system knows none.
    """
    shipped = sorted(path.name for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    ctypes.CDLL(shipped[0] if shipped else "libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_GLOBAL)


def _key(version: str) -> str:
    """Return what the compiled file depends on, as a name: source, flags, compiler, processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    text = "".join((FOLDER / name).read_text() for name in (*SOURCES, *HEADERS))
    parts = (text, " ".join(FLAGS), version, platform.machine(), features)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _compile(compiler: str, file: Path) -> None:
    """Compile into a folder beside the file and move it there whole: several processes may do so at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        objects = [str(Path(name) / source.replace(".c", ".o")) for source in SOURCES]
        for source, made in zip(SOURCES, objects, strict=True):
            _output([compiler, *FLAGS, "-c", str(FOLDER / source), "-o", made])
        linked = Path(name) / "kernels.so"
        _output([compiler, "-shared", *objects, "-o", str(linked)])  # without OpenMP: torch's is there
        linked.replace(file)


def _output(command: list[str]) -> str:
    """Run a command without a shell and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)  # noqa: S603  our own
    return done.stdout


def _first_line(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[0]
