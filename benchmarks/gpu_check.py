r"""Whether effmed works on this machine's GPU, and how fast it trains there: ``make gpu-check``.

    make gpu-check PYTHON=python3 WHEELS=FOLDER

The machine needs Python with a torch that sees the GPU, and this repository; no network. What else it lacks lies in
FOLDER as wheels. A machine that has timm, pandas, scikit-learn and the like needs about 40 MB, made elsewhere with

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 -d FOLDER -c constraints.txt albucore albumentations annotated-types \
        httpcore2 httpx2 imagecodecs monai platformdirs pydantic pydantic-core pydicom pylibjpeg pylibjpeg-rle \
        pytest simplejpeg simsimd stringzilla truststore typing-extensions typing-inspection tzdata

They are unpacked into ``build/site`` and found before what is installed; torch stays as it is. Then the tests marked
gpu run, a short training, and a training whose loader is timed against one batch that stays on the GPU. The table that
is printed belongs into ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "site"
GOAL = 0.95  # of the speed with one batch that stays on the GPU
KEPT = re.compile(r"(torch|torchvision|triton|nvidia_.*)-\d")  # what fits the machine's driver is never replaced
PROBE = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
NEEDED = "import effmed.workflows.training, effmed.apply.predict, pytest, hypothesis"


def find_gpu() -> str:
    """Return the name of the GPU.

    Raises:
        SystemExit: There is no torch, or it sees none.
    """
    done = _run(["-c", PROBE], os.environ, is_quiet=True)
    if done.returncode != 0:
        raise SystemExit(f"nothing was checked: {sys.executable} has no torch; name one that has: make … PYTHON=…")
    if not done.stdout.strip():
        raise SystemExit("nothing was checked: torch sees no CUDA device on this machine")
    return done.stdout.strip()


def unpack(wheels: Path, site: Path) -> None:
    """Install the wheels of a folder into a folder of their own, without the network and without what they need.

    Raises:
        SystemExit: There are none, one would replace torch, or pip refuses them.
    """
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise SystemExit(f"nothing was checked: {wheels} holds no wheels")
    kept = [file.name for file in files if KEPT.match(file.name)]
    if kept:
        raise SystemExit(f"nothing was checked: {kept[0]} would replace the machine's own; take it out of {wheels}")
    how = ["--no-index", "--no-deps", "--no-compile", "--quiet", "--upgrade", "--target", str(site)]
    if _run(["-m", "pip", "install", *how, *map(str, files)], os.environ).returncode != 0:
        raise SystemExit(f"nothing was checked: pip could not install the wheels of {wheels}")


def environment_with(site: Path) -> dict[str, str]:
    """Return the environment of the programs that are run: the repository and the unpacked wheels come first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))), "NO_ALBUMENTATIONS_UPDATE": "1"}


def check_needed(environment: Mapping[str, str]) -> None:
    """Import what the check will need.

    Raises:
        SystemExit: A package is missing.
    """
    done = _run(["-c", NEEDED], environment, is_quiet=True)
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1]
        raise SystemExit(f"nothing was checked: {why}; carry its wheel: make gpu-check WHEELS=FOLDER")


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], *, is_quiet: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run this Python with arguments in the repository; what it says is kept where quiet, else shown."""
    where = subprocess.PIPE if is_quiet else None
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=where, stderr=where, text=True, check=False)  # noqa: S603  our own


def measure(environment: Mapping[str, str], networks: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Train each network at its size in a process of its own.

    Raises:
        SystemExit: A training failed.
    """
    found = []
    for network, size in networks:
        wanted = ["--network", network, "--size", str(size)]
        done = _run(["-m", "benchmarks.gpu_training", *wanted], environment, is_quiet=True)
        if done.returncode != 0:
            raise SystemExit(f"{network} could not be trained:\n{done.stderr}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a row per network."""
    yield "| network | batch, precision | short training, s | images/s: a batch stays | fed by the loader | share |"
    yield "|---|---|---|---|---|---|"
    for row in found:
        share = row["fed_rate"] / row["resident_rate"]
        verdict = "" if share >= GOAL else f" (below {GOAL:.0%})"
        how = f"{row['batch']}, {row['precision']}"
        rates = f"{row['resident_rate']:,.0f} | {row['fed_rate']:,.0f} | {share:.1%}{verdict}"
        yield f"| {row['network']} at {row['size']} px | {how} | {row['whole_s']:.1f} | {rates} |"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine lacks")
    parser.add_argument(
        "--networks",
        type=lambda text: tuple((name, int(size)) for name, size in (each.split(":") for each in text.split(","))),
        default=(("tf_efficientnet_b0", 224), ("tf_efficientnet_b4", 380)),
        help="timm's names with the side of the input, such as tf_efficientnet_b0:224,tf_efficientnet_b4:380",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Check and print; a test that fails ends it with that code."""
    given = parse(arguments)
    gpu = find_gpu()
    if given.wheels is not None:
        unpack(given.wheels, SITE)
    environment = environment_with(SITE)
    check_needed(environment)
    tested = _run(["-m", "pytest", "-q", "-m", "gpu", "tests"], environment).returncode
    print(f"\n### {gpu}\n\n" + "\n".join(table(measure(environment, given.networks))), flush=True)
    if tested != 0:
        raise SystemExit(f"tests marked gpu failed: pytest ended with {tested}")


if __name__ == "__main__":
    main(sys.argv[1:])
