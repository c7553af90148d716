"""Saying less than one class: conformal prediction sets, and referring the least certain images."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from effmed.errors import DataError
from effmed.evaluate.intervals import (
    Estimate,
    Floats,
    Patients,
    check_length,
    check_numbers,
    check_probability,
    make_units,
    proportion,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISS_FRACTION = 0.1  # the convention of the literature on prediction sets


class SetRule(BaseModel):
    """Which classes are kept: those whose 1 - probability is at most the class's limit.

    Attributes:
        miss_fraction: Share of images whose class may be missing from their set.
        by_class: Whether that holds within each class, or only on average.
        limits: One per class; 1 keeps the class always.
        chosen_on: Name of the split.
        n_per_class: Images of each class that set the limits.
        digest: SHA-256 of the truths and probabilities, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    miss_fraction: float
    by_class: bool
    limits: tuple[float, ...]
    chosen_on: str
    n_per_class: tuple[int, ...]
    digest: str


def fit_sets(
    truth: NDArray[Any],
    probability: NDArray[Any],
    *,
    miss_fraction: float = MISS_FRACTION,
    by_class: bool = True,
    chosen_on: str = "val",
) -> SetRule:
    """Set the limits by split conformal prediction.

    Sets hold the true class of new images with probability 1 - ``miss_fraction``, if those are exchangeable with
    these: from the same source, and one image per patient here.

    Args:
        truth: (n,) class numbers.
        probability: (n, class).
        miss_fraction: Above 0, below 1.
        by_class: One limit per class (Mondrian), or one for all.
        chosen_on: Name of the split, kept in the rule.

    Source:
        Sadinle, Lei and Wasserman, JASA 2019, 114:223 (LAC): the ceil((n + 1)(1 - miss))-th smallest 1 - p.
    """
    probability = check_probability(probability, len(truth))
    if not 0 < miss_fraction < 1:
        problem = f"the share of missed images {miss_fraction:g} is not between 0 and 1"
        raise DataError(problem, hint="for example 0.1")
    misfit = 1 - probability[np.arange(len(truth)), truth]
    n_classes = probability.shape[1]
    own = [misfit[truth == number] if by_class else misfit for number in range(n_classes)]
    return SetRule(
        miss_fraction=miss_fraction,
        by_class=by_class,
        limits=tuple(_limit(values, miss_fraction) for values in own),
        chosen_on=chosen_on,
        n_per_class=tuple(np.bincount(truth, minlength=n_classes).tolist()),
        digest=hashlib.sha256(truth.astype(np.int64).tobytes() + probability.tobytes()).hexdigest(),
    )


def one_per_patient(patients: Patients, n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return the number of one image of each patient, drawn at random: images of a patient are not exchangeable.

    Args:
        patients: (n,) or None, where every image is taken.
        n: Number of images.
        seed: Of the draw.
    """
    shuffled = np.random.default_rng(seed).permutation(n)
    codes = make_units(patients, n).codes[shuffled]
    _, first = np.unique(codes, return_index=True)
    return np.sort(shuffled[first])


def _limit(misfit: Floats, miss_fraction: float) -> float:
    rank = math.ceil((misfit.size + 1) * (1 - miss_fraction))
    return float(np.sort(misfit)[rank - 1]) if rank <= misfit.size else 1.0


def prediction_sets(rule: SetRule, probability: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which classes each image keeps, (n, class); an image may keep none."""
    probability = check_probability(probability, len(probability))
    return np.asarray(1 - probability <= np.array(rule.limits))


def coverage(
    truth: NDArray[Any], sets: NDArray[np.bool_], patients: Patients = None, *, class_number: int | None = None
) -> Estimate:
    """Return the share of images, of one class or of all, whose set holds their class."""
    check_length(sets, len(truth), "prediction sets")
    among = np.ones(len(truth), dtype=bool) if class_number is None else np.asarray(truth == class_number)
    return proportion(sets[np.arange(len(truth)), truth], among, patients)


@dataclass(frozen=True)
class RiskCoverage:
    """What remains when the least certain images are referred to a person, all (distinct,), most certain first.

    Attributes:
        certainty: Images at or above it are decided, the others referred.
        coverage: Share of images decided.
        risk: Share of the decided that are wrong.
    """

    certainty: Floats
    coverage: Floats
    risk: Floats


def risk_coverage(truth: NDArray[Any], decision: NDArray[Any], certainty: NDArray[Any]) -> RiskCoverage:
    """Return risk against coverage at every certainty that occurs, such as the probability of the decided class."""
    certainty = check_numbers(certainty, len(truth), "certainties")
    check_length(decision, len(truth), "decisions")
    order = np.argsort(-certainty, kind="stable")
    ends = np.flatnonzero(np.diff(certainty[order], append=np.nan))
    wrong = np.cumsum(np.asarray(truth)[order] != np.asarray(decision)[order])[ends]
    return RiskCoverage(certainty[order][ends], (ends + 1) / len(truth), wrong / (ends + 1))


class Referral(BaseModel):
    """Below which certainty an image is referred to a person, and what chose it.

    Attributes:
        certainty: Least probability of the class decided for; None where every image is referred, because the share
            of wrong decisions is too high at any certainty.
        max_error_fraction: Share of wrong decisions among the decided images that was aimed at.
        decided_fraction: Share of the images decided, on the data that chose it.
        chosen_on: Name of the split.
        n: Its images.
        digest: SHA-256 of truths, decisions and certainties, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    certainty: float | None
    max_error_fraction: float
    decided_fraction: float
    chosen_on: str
    n: int
    digest: str


def choose_referral(
    truth: NDArray[Any],
    decision: NDArray[Any],
    certainty: NDArray[Any],
    *,
    max_error_fraction: float,
    chosen_on: str = "val",
) -> Referral:
    """Choose the certainty above which decisions are wrong in at most the given share of images.

    Args:
        truth: (n,) class numbers.
        decision: (n,) class numbers.
        certainty: (n,) probability of the class decided for.
        max_error_fraction: Above 0, below 1.
        chosen_on: Name of the split, kept in the result.

    Source:
        Geifman and El-Yaniv, NeurIPS 2017, without their bound: the share on new images may be higher by chance.
    """
    curve = risk_coverage(truth, decision, certainty)
    chosen = choose_certainty(curve, max_risk=max_error_fraction)
    decided = 0.0 if chosen is None else float((np.asarray(certainty) >= chosen).mean())
    what = (np.asarray(truth, dtype=np.int64), np.asarray(decision, dtype=np.int64), np.asarray(certainty))
    return Referral(
        certainty=chosen,
        max_error_fraction=max_error_fraction,
        decided_fraction=decided,
        chosen_on=chosen_on,
        n=len(truth),
        digest=hashlib.sha256(b"".join(each.tobytes() for each in what)).hexdigest(),
    )


def choose_certainty(curve: RiskCoverage, *, max_risk: float) -> float | None:
    """Return the lowest certainty at which the risk is at most ``max_risk``; None where it always is higher."""
    low_enough = np.flatnonzero(curve.risk <= max_risk)
    return float(curve.certainty[low_enough[-1]]) if low_enough.size else None
