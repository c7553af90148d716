"""What the choices of a plan are worth on real images: AUROC with its interval, and seconds, of one training each.

    python -m benchmarks.results --nih FOLDER --breast breastmnist.npz --runs FOLDER

FOLDER holds the chest radiographs and their ``labels.csv`` with a class in ``label`` and all findings, between bars, in
``nih_findings``. Every row is one ``effmed train`` in a process of its own, timed from start to end; rows whose run is
there already are not made again. Differences are paired, on the same test images, from the first row of a set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effmed.evaluate.comparison import compare
from effmed.evaluate.predictions import read_predictions
from effmed.recipe import ColumnSettings, ReportSettings
from effmed.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KNOWN_COPIES = "audit.allow=[conflicting-labels,identical-pixels,near-duplicates]"  # BreastMNIST holds them
FINDINGS = ("data.label_column=nih_findings", "data.min_positive=60")
TIMES = "seconds.json"


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        name: Of its run folder.
        text: What the row says.
        settings: ``section.key=value``; everything else is as it is by default.
    """

    name: str
    text: str
    settings: tuple[str, ...] = ()


COMMON = (
    Trial("full", "all stages, pretrained, 224 px (the defaults)"),
    Trial("scratch", "all stages, from scratch", ("model.weights=none",)),
    Trial("head", "head only, on stored features", ("train.depth=head",)),
)
NIH = (
    *COMMON,
    Trial("last-2", "the last 2 stages and the head", ("train.depth=2",)),
    Trial("160px", "all stages, 160 px", ("model.image_size=160",)),
    Trial("300px", "all stages, 300 px", ("model.image_size=300",)),
    Trial("progressive", "all stages, from half the side to the whole in four stages", ("train.progressive=0.5",)),
)
SEVERAL = (
    Trial("labels", "all stages, pretrained", FINDINGS),
    Trial("labels-head", "head only, on stored features", (*FINDINGS, "train.depth=head")),
)
BREAST = tuple(Trial(f"breast-{each.name}", each.text, (*each.settings, KNOWN_COPIES)) for each in COMMON)


def run_trial(trial: Trial, folder: Path, command: Sequence[str]) -> Path:
    """Train once, unless that was done before, and note the seconds of the whole process.

    Args:
        trial: What to train.
        folder: Of all runs.
        command: Arguments of ``effmed train`` that all trials of a data set share.

    Returns:
        The run.
    """
    run = folder / trial.name
    if not (run / TIMES).is_file():
        settings = [part for setting in trial.settings for part in ("--set", setting)]
        started = time.perf_counter()
        whole = [sys.executable, "-m", "effmed", "train", *command, *settings, "--run", str(run), "-q"]
        subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
        (run / TIMES).write_text(json.dumps(round(time.perf_counter() - started)))
    return run


def table(trials: Sequence[Trial], runs: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a row per training; differences are from the first."""
    yield "| training | test images (patients) | AUROC | difference | Brier | seconds |"
    yield "|---|---|---|---|---|---|"
    for trial, run in zip(trials, runs, strict=True):
        metrics = _of_all_images(run)
        auroc = metrics["macro_auroc" if "macro_auroc" in metrics else "auroc"]
        patients = auroc["n_patients"] if auroc["n_patients"] is not None else "not named"
        difference = "" if run == runs[0] else _difference(run, runs[0], auroc)
        brier = f"{metrics['brier']['value']:.3f}" if "macro_auroc" not in metrics else ""
        seconds = json.loads((run / TIMES).read_text())
        yield f"| {trial.text} | {auroc['n']} ({patients}) | {_interval(auroc)} | {difference} | {brier} | {seconds} |"


def _of_all_images(run: Path) -> dict[str, dict[str, Any]]:
    """Return the calibrated measures of all test images by name; of several labels those of the last under each."""
    metrics = json.loads((run / "report.json").read_text(encoding="utf-8"))["metrics"]
    return {each["name"]: each for each in metrics if each["stage"] == "calibrated" and each["subgroup"] is None}


def _difference(run: Path, first: Path, auroc: dict[str, Any]) -> str:
    if auroc["name"] != "auroc":
        return ""  # of several labels a comparison gives one difference for each
    tables = [read_predictions(Run(each).predictions("test"), ColumnSettings()) for each in (run, first)]
    found = compare(tables[0], tables[1], ReportSettings(), names=(run.name, first.name)).differences
    same = next(each for each in found if (each.name, each.class_name) == (auroc["name"], auroc["class"]))
    if same.difference is None:
        return same.reason
    return _interval({"value": same.difference, "low": same.low, "high": same.high}, sign="+")


def _interval(estimate: dict[str, Any], sign: str = "") -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None:
        return "not estimable"
    limits = "" if low is None else f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return f"{value:{sign}.3f}{limits}"


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nih", type=Path, required=True)
    parser.add_argument("--breast", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--variant", default="lite0")
    given = parser.parse_args()
    variant = ("--variant", given.variant)
    radiographs = (*variant, "--data", str(given.nih), "--labels", str(given.nih / "labels.csv"))
    for title, trials, command in (
        ("Chest radiographs, pneumonia against no finding", NIH, radiographs),
        ("Chest radiographs, several findings", SEVERAL, radiographs),
        ("BreastMNIST", BREAST, (*variant, "--data", str(given.breast))),
    ):
        runs = [run_trial(trial, given.runs, command) for trial in trials]
        print("\n".join((f"\n### {title}\n", *table(trials, runs))), flush=True)


if __name__ == "__main__":
    main()
