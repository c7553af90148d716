"""What it costs that the calibrator of an ensemble of folds is fitted on logits of single networks: simulated logits.

    python -m benchmarks.folds
    python -m benchmarks.folds --draws 20 --networks 3

Two classes, 30 % positive; within a class the logits of a network are normal and those of two networks have a given
correlation, each network alone with an AUROC of 0.92. The calibrator is what a training fits, on 1,000 images of which
each has the logit of one network; it is applied to the mean of all networks on images that none has seen. Networks of a
correlation of 1 are one network, for which the calibrator was made.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import expit

from effmed.evaluate.calibration import slope
from effmed.evaluate.calibrators import calibrate, fit_calibrator
from effmed.evaluate.decisions import choose_operating_point
from effmed.recipe import DecisionSettings

PREVALENCE, DISTANCE, STRETCH = 0.3, 2.0, 1.7  # of the classes' means, in standard deviations; of logits that overstate
N_OUT_OF_FOLD, N_NEW = 1_000, 20_000
CORRELATIONS = (1.0, 0.95, 0.9, 0.8, 0.6)
TITLE = ("correlation", "slope", "O/E", "log loss", "above the best", "sensitivity", "specificity")


def draw(chance: np.random.Generator, n: int, n_networks: int, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return truth ``(n,)`` and logits ``(n, n_networks)``."""
    truth = (chance.random(n) < PREVALENCE).astype(np.int64)
    shared, own = chance.normal(size=(n, 1)), chance.normal(size=(n, n_networks))
    noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return truth, STRETCH * (DISTANCE * (truth[:, None] - 0.5) + noise)


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of minus ln of the true class's probability."""
    return float(np.logaddexp(0, np.where(truth == 1, -logits, logits)).mean())


def measure(chance: np.random.Generator, n_networks: int, correlation: float) -> list[float]:
    """Calibrate on one draw of out-of-fold logits, and judge the mean of the networks on another."""
    truth, single = draw(chance, N_OUT_OF_FOLD, 1, correlation)
    calibrator = fit_calibrator(single, truth, method="auto", prior_shift=np.zeros(1))
    known = expit(calibrate(calibrator, single)[:, 0])
    threshold = choose_operating_point(truth, known, DecisionSettings(), class_name="sick").threshold
    new, logits = draw(chance, N_NEW, n_networks, correlation)
    mean = logits.mean(axis=1, keepdims=True)
    found = calibrate(calibrator, mean)[:, 0]
    best = calibrate(fit_calibrator(mean, new, method="auto", prior_shift=np.zeros(1)), mean)[:, 0]
    called = expit(found) >= threshold
    loss = log_loss(found, new)
    rates = float(called[new == 1].mean()), float((~called[new == 0]).mean())
    estimate = slope(new, found, None).value
    return [float("nan") if estimate is None else estimate, new.mean() / expit(found).mean(), loss,
            loss - log_loss(best, new), *rates]  # fmt: skip


def rows(n_networks: int, draws: int) -> list[tuple[float, ...]]:
    """Return a row per correlation: the means over all draws."""
    return [
        (each, *np.mean([measure(np.random.default_rng((0, k)), n_networks, each) for k in range(draws)], axis=0))
        for each in CORRELATIONS
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--draws", type=int, default=100)
    arguments = parser.parse_args()
    print(f"| {' | '.join(TITLE)} |\n|{'---|' * len(TITLE)}")
    for correlation, *values in rows(arguments.networks, arguments.draws):
        print(f"| {correlation:g} | {' | '.join(f'{value:.3f}' for value in values)} |")


if __name__ == "__main__":
    main()
