"""One function per command: the same name, the same meaning, no terminal.

This is the only module whose imports wait inside functions: ``effmed --help`` must not pay for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effmed.workflows.talk import Silence, Talk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from effmed.evaluate.comparison import Comparison
    from effmed.evaluate.report import Report
    from effmed.learn.anatomy import Anatomy
    from effmed.learn.plan import Plan
    from effmed.recipe import Recipe
    from effmed.workflows.values import CacheFacts, Fetched, Inspection, Recalibrated, Scored, Trained, Training

__all__ = [
    "Silence",
    "Talk",
    "cache_clear",
    "cache_info",
    "calibrate",
    "compare",
    "differences",
    "doctor",
    "evaluate",
    "evaluate_table",
    "headline",
    "inspect",
    "plan",
    "predict",
    "resume",
    "thumbnails",
    "train",
    "variants",
    "variants_show",
    "weights_fetch",
    "weights_list",
    "write_comparison",
    "write_report",
]


def inspect(
    data: Path, labels: Path | None, recipe: Recipe, *, out: Path | None = None, talk: Talk | None = None
) -> Inspection:
    """Describe a data folder: images, patients, classes, leaks, shortcuts. Writes nothing but a contact sheet."""
    from effmed.workflows.inspection import inspect as work

    return work(data, labels, recipe, out, talk or Silence())


def plan(training: Training, talk: Talk | None = None) -> Plan:
    """Scan the data and decide everything, up to the first write: ``effmed train --dry-run``."""
    from effmed.workflows.training import plan as work

    return work(training, talk or Silence())


def train(training: Training, talk: Talk | None = None) -> Trained | None:
    """Fine-tune, calibrate, evaluate. Leaves one run folder.

    None in all processes but the first, where torchrun or srun started several.
    """
    from effmed.data.processes import start_early
    from effmed.learn.kernels.build import compile_early

    start_early()  # other cores have work while this one imports torch
    if training.recipe.train.fused_layers is not False and training.recipe.train.device != "cuda":
        compile_early()
    from effmed.workflows.training import train as work

    return work(training, talk or Silence())


def resume(folder: Path | None, talk: Talk | None = None) -> Trained | None:
    """Continue an interrupted training (the newest unfinished one by default) after its last checkpoint."""
    from effmed.data.processes import start_early

    start_early()
    from effmed.workflows.training import resume as work

    return work(folder, talk or Silence())


def evaluate(
    run: Path | None, recipe: Recipe, *, data: Path | None, labels: Path | None, talk: Talk | None = None
) -> Report:
    """Report on a run's own test split, or with ``data`` on labelled images of another source."""
    from effmed.data.processes import start_early

    if data is not None:
        start_early()
    from effmed.workflows.scoring import evaluate as work

    return work(run, recipe, data=data, labels=labels, talk=talk or Silence())


def evaluate_table(table: Path, recipe: Recipe) -> Report:
    """Report on predictions that any program wrote. Imports no deep learning library."""
    from effmed.workflows.judging.tables import evaluate_table as work

    return work(table, recipe)


def compare(first: Path, second: Path, recipe: Recipe) -> Comparison:
    """Compare two networks on the same images: run folders (their test predictions), or tables of any program.

    Every difference is first minus second, with interval and p-value. Imports no deep learning library.
    """
    from effmed.workflows.judging.comparing import compare as work

    return work(first, second, recipe)


def differences(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the differences in words: measure, first, second, difference with its interval, p, notes."""
    from effmed.workflows.judging.comparing import differences as work

    return work(comparison)


def predict(run: Path | None, data: Path, out: Path, recipe: Recipe, talk: Talk | None = None) -> Scored:
    """Score every image of a folder into one table; unreadable images are rows with a reason."""
    from effmed.data.processes import start_early

    start_early()
    from effmed.workflows.scoring import predict as work

    return work(run, data, out, recipe, talk or Silence())


def calibrate(
    run: Path, recipe: Recipe, *, data: Path, labels: Path | None, out: Path, talk: Talk | None = None
) -> Recalibrated:
    """Recalibrate a bundle for another site; the network stays. Writes a new bundle."""
    from effmed.workflows.scoring import calibrate as work

    return work(run, recipe, data=data, labels=labels, out=out, talk=talk or Silence())


def headline(report: Report) -> dict[str, str]:
    """Return the calibrated headline metrics of a report in words."""
    from effmed.workflows.judging.tables import headline as work

    return work(report)


def thumbnails(
    report: Report, run: Path | None, recipe: Recipe, *, data: Path | None, talk: Talk | None = None
) -> dict[tuple[str, int], bytes]:
    """Return small PNG files of a report's worst errors by image and frame; none unless report.thumbnails = true.

    Run and data are those that ``evaluate`` made the report of; without data, the images of the run itself are read.
    """
    if not recipe.report.thumbnails:
        return {}
    from effmed.workflows.scoring import thumbnails as work

    return work(report, run, data=data, talk=talk or Silence())


def write_report(report: Report, folder: Path, thumbnails: Mapping[tuple[str, int], bytes] | None = None) -> None:
    """Write ``report.json``, ``report.html``, plots and tables into a folder; only the page holds the thumbnails."""
    from effmed.evaluate.render import write_report as work

    work(report, folder, thumbnails)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write ``comparison.json``, ``comparison.html`` and ``tables/differences.csv`` into a folder."""
    from effmed.workflows.judging.comparing import write_comparison as work

    work(comparison, folder)


def variants() -> list[dict[str, Any]]:
    """List the variants with their place on the compound-scaling curve."""
    from effmed.workflows.catalogue import variants as work

    return work()


def variants_show(name: str, image_size: int | None = None) -> Anatomy:
    """Describe the network that a variant builds, stage by stage, as it is built."""
    from effmed.learn.anatomy import read_anatomy as work
    from effmed.learn.scaling import find_variant

    return work(find_variant(name), image_size)


def weights_list() -> list[dict[str, Any]]:
    """List the sets of pretrained weights: training, native resolution, licence, and which lie on this machine."""
    from effmed.workflows.catalogue import weights_list as work

    return work()


def weights_fetch(variant: str, tag: str, out: Path, talk: Talk | None = None) -> Fetched:
    """Bring a variant's weights and their record into a folder, for a machine without the network."""
    from effmed.learn.scaling import find_variant
    from effmed.learn.weights.sets import SETS, find_set
    from effmed.workflows.fetching import weights_fetch as work

    if variant in SETS:
        return work(find_set(variant, tag), out, talk or Silence())
    from effmed.learn.weights.find import choose_set  # asks timm, whose import takes seconds

    return work(choose_set(find_variant(variant), tag), out, talk or Silence())


def cache_info() -> CacheFacts:
    """Tell what the cache of decoded images holds, and where it lies."""
    from effmed.workflows.inspection import cache_info as work

    return work()


def cache_clear() -> int:
    """Delete what effmed can make again; returns the bytes that became free."""
    from effmed.workflows.inspection import cache_clear as work

    return work()


def doctor() -> dict[str, Any]:
    """Describe this machine: versions, device, weights, cache."""
    from effmed.workflows.checkup import doctor as work

    return work()
