"""Compile the kernels in C for the processor at hand, once, and load them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from effmed.run import kernels_folder

FOLDER = Path(__file__).parent
SOURCES = ("normalise.c", "excite.c", "depthwise.c", "normalise_depthwise.c")
HEADERS = ("vectors.h", "activations.h", "sums.h", "depthwise.h")
COMPILERS = ("gcc", "cc")  # clang's OpenMP is another than the one that torch brings
PART = 128  # pixels that are summed in float32: 5e-7 of the sum are lost at most
LANES = 8  # numbers of float32 in a register of AVX2
OPTIONS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
FLAGS = (*OPTIONS, f"-DPART={PART}", f"-DLANES={LANES}")
ONE_AT_A_TIME = threading.Lock()  # of the threads that compile
TIMEOUT_S = 300  # a compiler that waits for a licence or a network drive is not waited for
WRITABLE_BY_OTHERS = 0o022
_POINTER, _SIZE, _KIND = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


class Shape(ctypes.Structure):
    """Sizes of a depthwise convolution, as ``depthwise.h`` has them."""

    _fields_ = tuple(
        (name, _SIZE)
        for name in (
            "images", "channels", "in_rows", "in_columns", "out_rows", "out_columns", "side", "stride", "top", "left",
        )
    )  # fmt: skip


SIGNATURES = {
    "effmed_moments": (_POINTER, _SIZE, _SIZE, *[_POINTER] * 3),
    "effmed_normalise": (_POINTER, _SIZE, _SIZE, *[_POINTER] * 2, _KIND, _POINTER),
    "effmed_slopes": (*[_POINTER] * 2, _SIZE, _SIZE, *[_POINTER] * 3, _KIND, *[_POINTER] * 2),
    "effmed_normalise_back": (*[_POINTER] * 2, _SIZE, _SIZE, *[_POINTER] * 5, _KIND, _POINTER),
    "effmed_squeeze": (_POINTER, *[_SIZE] * 3, *[_POINTER] * 2, _KIND, *[_POINTER] * 2),
    "effmed_excite": (_POINTER, *[_SIZE] * 3, *[_POINTER] * 3, _KIND, _POINTER),
    "effmed_excite_slopes": (*[_POINTER] * 2, *[_SIZE] * 3, *[_POINTER] * 3, _KIND, *[_POINTER] * 2),
    "effmed_excite_back": (*[_POINTER] * 2, *[_SIZE] * 3, *[_POINTER] * 7, _KIND, _POINTER),
    "effmed_depthwise": (*[_POINTER] * 2, ctypes.POINTER(Shape), _POINTER),
    "effmed_depthwise_input": (*[_POINTER] * 2, ctypes.POINTER(Shape), _POINTER),
    "effmed_depthwise_weights": (*[_POINTER] * 2, ctypes.POINTER(Shape), *[_POINTER] * 2),
    "effmed_normalise_depthwise": (
        *[_POINTER] * 3,
        _KIND,
        _POINTER,
        ctypes.POINTER(Shape),
        *[_SIZE] * 3,
        *[_POINTER] * 2,
    ),
    "effmed_normalise_depthwise_back": (
        *[_POINTER] * 5,
        _KIND,
        _POINTER,
        ctypes.POINTER(Shape),
        *[_SIZE] * 3,
        *[_POINTER] * 6,
    ),
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

    They are linked with no OpenMP: its functions are found in that of GNU which torch has loaded for all. Another one
    would have threads of its own beside torch's, and both would want all cores.
    """
    if sys.platform != "linux":
        return Kernels(None, "they are compiled on Linux alone")
    compiler = _find_compiler()
    if compiler is None:
        return Kernels(None, "no compiler of C (gcc) was found")
    try:
        version, file = _compiled(compiler)
        return Kernels(_load(compiler, file), version)
    except (OSError, subprocess.SubprocessError) as error:
        return Kernels(None, f"{Path(compiler).name}: {_first_line(error)}")


def compile_early() -> None:
    """Compile in a thread, while this process imports torch; who loads the kernels waits for it, and says what failed.

    They cannot be loaded before torch is, which brings the OpenMP for them.
    """
    compiler = _find_compiler()
    if sys.platform == "linux" and compiler is not None:
        threading.Thread(target=_compile_quietly, args=(compiler,), name="compiler", daemon=True).start()


def _compile_quietly(compiler: str) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _compiled(compiler)


def _find_compiler() -> str | None:
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def _compiled(compiler: str) -> tuple[str, Path]:
    """Return the compiler's version and what it makes, which it does where no process has done so before.

    Raises:
        OSError: It cannot be written.
        subprocess.SubprocessError: It cannot be compiled.
    """
    version = _output([compiler, "--version"]).partition("\n")[0]
    file = _own_folder() / f"{_key(version)}.so"
    with ONE_AT_A_TIME:
        if not file.exists():
            _compile(compiler, file)
    return version, file


def _own_folder() -> Path:
    """Return this user's folder, made if need be: code that somebody else may have written is never loaded.

    Raises:
        PermissionError: It belongs to somebody else, or others may write into it.
    """
    folder = kernels_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & WRITABLE_BY_OTHERS:
        raise PermissionError(f"others may write into {folder}")
    return folder


def _load(compiler: str, file: Path) -> ctypes.CDLL:
    """Load the compiled file; where it is damaged, it is made again.

    Raises:
        OSError: It cannot be written or loaded.
        subprocess.SubprocessError: It cannot be compiled.
    """
    try:
        library = ctypes.CDLL(str(file))
    except OSError:
        file.unlink()
        _compile(compiler, file)
        library = ctypes.CDLL(str(file))
    try:
        for name, arguments in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
    except AttributeError as error:
        file.unlink()  # what is loaded once stays so: it is for the next command to compile it again
        raise OSError(f"{file.name} lacked a kernel and was removed") from error
    return library


def _key(version: str) -> str:
    """Return what the compiled file depends on, as a name: source, flags, compiler, processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    text = "".join((FOLDER / name).read_text() for name in (*SOURCES, *HEADERS))
    parts = (text, " ".join(FLAGS), version, platform.machine(), features)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _compile(compiler: str, file: Path) -> None:
    """Compile, and give the result its name where no other process has done so meanwhile.

    A file that others have loaded is not replaced: they read it from a network drive as they need it.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        objects = [str(Path(name) / source.replace(".c", ".o")) for source in SOURCES]
        for source, made in zip(SOURCES, objects, strict=True):
            _output([compiler, *FLAGS, "-c", str(FOLDER / source), "-o", made])
        linked = Path(name) / "kernels.so"
        _output([compiler, "-shared", *objects, "-o", str(linked)])  # without OpenMP: torch's is there
        with linked.open("rb") as made_file:
            os.fsync(made_file.fileno())
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(linked)


def _output(command: list[str]) -> str:
    """Run a command without a shell and return what it prints."""
    done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S)  # noqa: S603  a compiler on our own files
    return done.stdout.decode(errors="replace")


def _first_line(error: Exception) -> str:
    told = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else ""
    return ((told or str(error)).strip().splitlines() or [type(error).__name__])[0]
