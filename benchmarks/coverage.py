"""How often the 95 % intervals of a report hold the true value: simulated data of which the truth is known.

    python -m benchmarks.coverage
    python -m benchmarks.coverage --draws 4000 --only "slope, 25 patients"
    python -m benchmarks.coverage --json

Every line is a measure in a situation. Each situation draws from a seed of its own, made from --seed and its name, so a
figure does not depend on which others are computed.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from benchmarks import simulated
from benchmarks.simulated import Law, Sample
from effmed.evaluate.calibration import brier, citl, slope
from effmed.evaluate.decisions import net_benefit, sensitivity, specificity
from effmed.evaluate.discrimination.auroc import auroc_intervals
from effmed.evaluate.intervals import Interval, proportion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from effmed.evaluate.intervals import Estimate

THRESHOLDS = (0.1, 0.2, 0.3)  # of net benefit; sensitivity and specificity are taken at the second
SIZES = ((20, 20), (10, 90), (20, 380), (30, 270), (60, 240), (100, 400), (100, 900), (300, 700))  # positive, negative
SHAPES = {"": 1.0, ", sd of positives 0.5": 0.5, ", sd of positives 2": 2.0}
N_IMAGES, N_PATIENTS, PREVALENCES = (100, 200, 300, 500, 1000), (25, 40, 80, 150, 300), (0.1, 0.3)
SHARED = {  # correlation of labels and of scores within a patient
    "independent": (0.0, 0.0),
    "label by image, shared effect": (0.0, simulated.SCORE_CORRELATION),
    "label half by patient": (0.5, simulated.SCORE_CORRELATION),
    "label by patient": (1.0, simulated.SCORE_CORRELATION),
}
MISCALIBRATED = {"intercept": -0.5, "slope": 0.6}  # overestimated and too extreme


@dataclass(frozen=True)
class Measure:
    """What is estimated.

    Attributes:
        name: Of the measure.
        truth: Its value in the population.
        estimate: Gives the estimate from a sample, and the outermost limits if there are any.
    """

    name: str
    truth: float
    estimate: Callable[[Sample], tuple[Estimate, Interval | None]]


@dataclass(frozen=True)
class Situation:
    """Where samples come from, and what is estimated from each."""

    name: str
    draw: Callable[[np.random.Generator], Sample]
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Row:
    """A line of the table; what has no interval in any draw is None.

    Attributes:
        measure: What is estimated.
        situation: Where.
        truth: The value in the population.
        coverage: Share of the intervals that hold it.
        coverage_se: Monte Carlo standard error.
        too_low_fraction: Share of the intervals that lie below the truth.
        too_high_fraction: Share of the intervals that lie above the truth.
        width: Mean width.
        missing_fraction: Share of the draws without an interval.
        outermost: Coverage of the outermost limits, where draws have them (the reported ones in all other draws).
    """

    measure: str
    situation: str
    truth: float
    coverage: float | None
    coverage_se: float | None
    too_low_fraction: float | None
    too_high_fraction: float | None
    width: float | None
    missing_fraction: float
    outermost: float | None


def measure_coverage(situation: Situation, *, n_draws: int, seed: int) -> list[Row]:
    """Draw samples and count how often the intervals of each measure hold its true value.

    Args:
        situation: Where samples come from.
        n_draws: How many.
        seed: The situation's name makes a child of it.
    """
    name = zlib.crc32(situation.name.encode())
    limits = np.full((n_draws, len(situation.measures), 4), np.nan)
    for number, child in enumerate(np.random.SeedSequence(seed, spawn_key=(name,)).spawn(n_draws)):
        sample = situation.draw(np.random.default_rng(child))
        for column, measure in enumerate(situation.measures):
            estimate, outermost = measure.estimate(sample)
            if estimate.low is not None and estimate.high is not None:
                limits[number, column, :2] = estimate.low, estimate.high
                limits[number, column, 2:] = outermost or (np.nan, np.nan)
    return [_row(measure, situation, limits[:, column]) for column, measure in enumerate(situation.measures)]


def _row(measure: Measure, situation: Situation, limits: np.ndarray) -> Row:
    """Summarise the limits (draw, 4): low, high, and the outermost ones; NaN where there are none."""
    known = limits[~np.isnan(limits[:, 0])]
    missing = 1 - len(known) / len(limits)
    if not len(known):
        return Row(measure.name, situation.name, measure.truth, *[None] * 5, missing, None)
    low, high = known[:, 0], known[:, 1]
    too_low, too_high = float((high < measure.truth).mean()), float((low > measure.truth).mean())
    coverage = 1 - too_low - too_high
    se = math.sqrt(coverage * (1 - coverage) / len(known))
    outermost = None
    if not np.isnan(known[:, 2]).all():
        outer = np.where(np.isnan(known[:, 2:]), known[:, :2], known[:, 2:])
        outermost = float(((outer[:, 0] <= measure.truth) & (measure.truth <= outer[:, 1])).mean())
    width = float((high - low).mean())
    return Row(measure.name, situation.name, measure.truth, coverage, se, too_low, too_high, width, missing, outermost)


def situations() -> Iterator[Situation]:
    """Yield everything that is measured."""
    yield from _ranked()
    yield from _proportions()
    for n_images, prevalence, law in _laws(N_IMAGES):
        name = f"{n_images} images, prevalence {prevalence}, independent{_calibration_text(law)}"
        yield Situation(name, partial(simulated.draw_images, law=law, n_images=n_images), measures_of(law))
    for (how, shared), (n_patients, prevalence, law) in product(SHARED.items(), _laws(N_PATIENTS)):
        name = f"{n_patients} patients, prevalence {prevalence}, {how}{_calibration_text(law)}"
        labels, scores = shared
        draw = partial(
            simulated.draw_patients,
            law=law,
            n_patients=n_patients,
            label_correlation=labels,
            score_correlation=scores,
        )
        yield Situation(name, draw, measures_of(law))


def _ranked() -> Iterator[Situation]:
    for (n_positive, n_negative), auroc in product(SIZES, (0.8, 0.95, 0.98)):
        for shape, spread in SHAPES.items():
            draw = partial(
                simulated.draw_classes,
                n_positive=n_positive,
                n_negative=n_negative,
                mean=simulated.mean_of_positives(auroc, spread),
                spread=spread,
            )
            name = f"{n_positive} / {n_negative} images, AUROC {auroc}"
            yield Situation(f"{name}{shape}", draw, (Measure("auroc", auroc, _auroc),))
            if spread == 1:
                truth = simulated.auroc_of_levels(draw.keywords["mean"], spread)
                yield Situation(f"{name}, 5 levels", partial(draw, levels=True), (Measure("auroc", truth, _auroc),))


def _proportions() -> Iterator[Situation]:
    for n, fraction in product((10, 30, 100, 300), (0.8, 0.95, 0.99)):
        draw = partial(simulated.draw_successes, n=n, fraction=fraction, clustered=False)
        yield Situation(f"{n} images, {fraction}", draw, (Measure("proportion", fraction, _proportion),))
    for n, fraction in product((15, 30, 100), (0.8, 0.95, 0.98)):
        draw = partial(simulated.draw_successes, n=n, fraction=fraction, clustered=True)
        yield Situation(f"{n} patients, {fraction}", draw, (Measure("proportion", fraction, _proportion),))


def _laws(sizes: tuple[int, ...]) -> Iterator[tuple[int, float, Law]]:
    for size, prevalence in product(sizes, PREVALENCES):
        yield size, prevalence, Law(prevalence)
        yield size, prevalence, Law(prevalence, **MISCALIBRATED)


def _calibration_text(law: Law) -> str:
    return "" if law.slope == 1 else ", miscalibrated"


def measures_of(law: Law) -> tuple[Measure, ...]:
    """Return what is estimated where single images follow a law."""
    threshold = THRESHOLDS[1]
    benefits = [
        Measure(
            f"net_benefit at {value}", simulated.true_net_benefit(law, value), partial(_net_benefit, threshold=value)
        )
        for value in THRESHOLDS
    ]
    return (
        Measure("auroc", law.auroc, _auroc),
        Measure("slope", law.slope, _slope),
        Measure("citl", simulated.true_citl(law), _citl),
        Measure("brier", simulated.true_brier(law), _brier),
        *benefits,
        Measure(f"sensitivity at {threshold}", simulated.true_sensitivity(law, threshold), _sensitivity),
        Measure(f"specificity at {threshold}", simulated.true_specificity(law, threshold), _specificity),
    )


def _auroc(sample: Sample) -> tuple[Estimate, Interval | None]:
    intervals = auroc_intervals(sample.truth, sample.logits, sample.patients)
    return intervals.estimate, intervals.conservative


def _slope(sample: Sample) -> tuple[Estimate, None]:
    return slope(sample.truth, sample.logits, sample.patients), None


def _citl(sample: Sample) -> tuple[Estimate, None]:
    return citl(sample.truth, sample.logits, sample.patients), None


def _brier(sample: Sample) -> tuple[Estimate, None]:
    return brier(sample.truth, expit(sample.logits), sample.patients), None


def _net_benefit(sample: Sample, threshold: float) -> tuple[Estimate, None]:
    (estimate,) = net_benefit(sample.truth, expit(sample.logits), (threshold,), sample.patients)
    return estimate, None


def _sensitivity(sample: Sample) -> tuple[Estimate, None]:
    return sensitivity(sample.truth, expit(sample.logits) >= THRESHOLDS[1], sample.patients), None


def _specificity(sample: Sample) -> tuple[Estimate, None]:
    return specificity(sample.truth, expit(sample.logits) >= THRESHOLDS[1], sample.patients), None


def _proportion(sample: Sample) -> tuple[Estimate, None]:
    return proportion(sample.truth == 1, np.ones(sample.truth.size, dtype=bool), sample.patients), None


def make_rows(*, n_draws: int, seed: int, only: str = "") -> Iterator[Row]:
    """Measure everything whose ``measure, situation`` contains a text, one row after another."""
    for situation in situations():
        wanted = tuple(each for each in situation.measures if only in f"{each.name}, {situation.name}")
        if wanted:
            yield from measure_coverage(Situation(situation.name, situation.draw, wanted), n_draws=n_draws, seed=seed)


def as_table(rows: list[Row]) -> str:
    """Return rows as text in columns."""
    head = ("measure", "situation", "truth", "coverage", "(se)", "too low", "too high", "width", "missing", "outermost")
    cells = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    shares = (row.coverage, row.coverage_se, row.too_low_fraction, row.too_high_fraction, row.width)
    numbers = [_number(value) for value in (row.truth, *shares, row.missing_fraction)]
    return row.measure, row.situation, *numbers, "" if row.outermost is None else _number(row.outermost)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="samples of each situation")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--only", default="", metavar="NAME", help='only lines with this text, as "slope, 25 patients"')
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser.parse_args(arguments)


def main(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    rows = list(make_rows(n_draws=arguments.draws, seed=arguments.seed, only=arguments.only))
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else as_table(rows))


if __name__ == "__main__":
    main(parse())
