"""Made-up truths and logits of which every population value is known: binormal scores, several images per patient.

The score of a positive image is N(d/2, 1) and of a negative one N(-d/2, 1), so logit P(positive | score) is a straight
line in the score. A network whose logits are another line is miscalibrated by a known amount. Images of one patient may
share their label and part of their score; that changes what estimates vary by, never the value of a single image drawn
at random, so the true values are exact whatever the patients share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr, ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES = 8  # of a patient; every number from 1 on is equally likely
SCORE_CORRELATION = 0.5  # of two images of a patient with the same label, where scores are shared
ICC = 0.4  # of successes within a patient
LEVEL_LIMITS = (0.0, 0.5, 1.0, 1.5)  # of a score told in 5 levels; negatives are N(0, 1)
NODES, NODE_WEIGHTS = hermegauss(120)
NODE_WEIGHTS = NODE_WEIGHTS / math.sqrt(2 * math.pi)  # of expectations over N(0, 1)
WIDEST = 50.0  # logits: no calibration in the large lies beyond


@dataclass(frozen=True)
class Sample:
    """Truth (n,) 0 or 1, logits (n,) of a network, and the patient of each image (n,) or None."""

    truth: NDArray[np.int64]
    logits: NDArray[np.float64]
    patients: NDArray[np.int64] | None


@dataclass(frozen=True)
class Law:
    """How truth and logits of a single image are distributed.

    Attributes:
        prevalence: Share of positive images.
        auroc: Of the network.
        intercept: a of logit P(positive) = a + b logit p, where p is what the network says; 0 when calibrated.
        slope: b; 1 when calibrated.
    """

    prevalence: float
    auroc: float = 0.8
    intercept: float = 0.0
    slope: float = 1.0

    @property
    def distance(self) -> float:
        """Return how far apart the mean scores of the classes are."""
        return float(math.sqrt(2) * ndtri(self.auroc))

    def logits(self, truth: NDArray[np.int64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the network says of images with this truth (n,) and standard normal noise (n,)."""
        right = logit(self.prevalence) + self.distance * ((truth - 0.5) * self.distance + noise)
        return np.asarray((right - self.intercept) / self.slope)


def true_sensitivity(law: Law, threshold: float) -> float:
    """Return the share of positive images at or above a threshold probability."""
    return _share_called(law, threshold, truth=1)


def true_specificity(law: Law, threshold: float) -> float:
    """Return the share of negative images below a threshold probability."""
    return 1 - _share_called(law, threshold, truth=0)


def _share_called(law: Law, threshold: float, truth: int) -> float:
    limit = law.intercept + law.slope * logit(threshold) - logit(law.prevalence)  # of the score, times the distance
    return float(ndtr((truth - 0.5) * law.distance - limit / law.distance))


def true_net_benefit(law: Law, threshold: float) -> float:
    """Return the net benefit at a threshold probability."""
    gain = law.prevalence * true_sensitivity(law, threshold)
    loss = (1 - law.prevalence) * (1 - true_specificity(law, threshold))
    return gain - loss * threshold / (1 - threshold)


def true_brier(law: Law) -> float:
    """Return the mean squared distance of probability and truth."""
    positive, negative = (expit(_at_nodes(law, truth)) for truth in (1, 0))
    squared = law.prevalence * (1 - positive) ** 2 + (1 - law.prevalence) * negative**2
    return float((NODE_WEIGHTS * squared).sum())


def true_citl(law: Law) -> float:
    """Return the constant that makes the mean probability the prevalence."""
    positive, negative = (_at_nodes(law, truth) for truth in (1, 0))

    def excess(constant: float) -> float:
        mean = law.prevalence * expit(positive + constant) + (1 - law.prevalence) * expit(negative + constant)
        return float((NODE_WEIGHTS * mean).sum()) - law.prevalence

    return float(brentq(excess, -WIDEST, WIDEST))


def _at_nodes(law: Law, truth: int) -> NDArray[np.float64]:
    return law.logits(np.full(NODES.size, truth), NODES)


def draw_images(chance: np.random.Generator, law: Law, n_images: int) -> Sample:
    """Draw independent images."""
    truth = (chance.random(n_images) < law.prevalence).astype(np.int64)
    return Sample(truth, law.logits(truth, chance.standard_normal(n_images)), None)


def draw_patients(
    chance: np.random.Generator, law: Law, n_patients: int, label_correlation: float, score_correlation: float
) -> Sample:
    """Draw patients with 1 to 8 images each.

    Args:
        chance: Source of randomness.
        law: Of a single image.
        n_patients: How many.
        label_correlation: Of the normal variables that make the labels: 1 where all images of a patient agree.
        score_correlation: Of two images of a patient with the same label.
    """
    patients = _patients(chance, n_patients)
    made_label = _shared_normal(chance, patients, label_correlation)
    truth = (made_label < ndtri(law.prevalence)).astype(np.int64)
    return Sample(truth, law.logits(truth, _shared_normal(chance, patients, score_correlation)), patients)


def _patients(chance: np.random.Generator, n_patients: int) -> NDArray[np.int64]:
    return np.repeat(np.arange(n_patients), chance.integers(1, MAX_IMAGES + 1, n_patients))


def _shared_normal(chance: np.random.Generator, patients: NDArray[np.int64], correlation: float) -> NDArray[np.float64]:
    """Return standard normal values (n,) that correlate within patients."""
    shared = chance.standard_normal(patients[-1] + 1)[patients]
    return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * chance.standard_normal(patients.size)


def draw_classes(
    chance: np.random.Generator, n_positive: int, n_negative: int, *, mean: float, spread: float, levels: bool = False
) -> Sample:
    """Draw scores of so many positive images from N(mean, spread) and of negative ones from N(0, 1)."""
    truth = np.repeat([1, 0], [n_positive, n_negative])
    scores = chance.standard_normal(truth.size) * np.where(truth == 1, spread, 1.0) + mean * truth
    if levels:
        scores = np.searchsorted(LEVEL_LIMITS, scores).astype(np.float64)
    return Sample(truth, scores, None)


def mean_of_positives(auroc: float, spread: float) -> float:
    """Return the mean score of positives that makes the AUROC, before levels are told."""
    return float(ndtri(auroc) * math.sqrt(1 + spread**2))


def auroc_of_levels(mean: float, spread: float) -> float:
    """Return the AUROC of scores told in 5 levels, ties counted half."""
    limits = np.array([-np.inf, *LEVEL_LIMITS, np.inf])
    positive, negative = np.diff(ndtr((limits - mean) / spread)), np.diff(ndtr(limits))
    return float((positive * (np.cumsum(negative) - negative / 2)).sum())


def draw_successes(chance: np.random.Generator, n: int, fraction: float, *, clustered: bool) -> Sample:
    """Draw successes, as truth: n independent ones, or those of n patients whose own shares are beta distributed."""
    if not clustered:
        return Sample((chance.random(n) < fraction).astype(np.int64), np.zeros(n), None)
    patients = _patients(chance, n)
    weight = 1 / ICC - 1
    own = chance.beta(fraction * weight, (1 - fraction) * weight, n)[patients]
    return Sample((chance.random(patients.size) < own).astype(np.int64), np.zeros(patients.size), patients)
