"""From two predictions tables to their comparison: a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effmed.evaluate.comparison.decisions import decision_differences
from effmed.evaluate.comparison.model import Comparison
from effmed.evaluate.comparison.pairing import make_pair
from effmed.evaluate.comparison.ranking import ranking_differences
from effmed.evaluate.comparison.scores import score_differences
from effmed.evaluate.intervals import make_units

if TYPE_CHECKING:
    from effmed.evaluate.comparison.pairing import Pair
    from effmed.evaluate.predictions import Predictions
    from effmed.recipe import ReportSettings

FEW_CASES = 50  # of a class: below it Wald's interval of a high AUROC falls short of 95 % (simulated)


def compare(first: Predictions, second: Predictions, settings: ReportSettings, *, names: tuple[str, str]) -> Comparison:
    """Compare two networks on the same images: every difference is first minus second.

    Args:
        first: Predictions of one network; its calibrated probabilities are judged.
        second: Of the other, for the same images with the same truths and patients, in any order.
        settings: Threshold probabilities of the net benefit, bootstrap replicates and seed.
        names: What the networks are called; two that are alike are told apart.

    Raises:
        DataError: Images, classes, truths or patients differ, an image occurs twice, or none can be compared.
    """
    names = names if names[0] != names[1] else (f"{names[0]} (first)", f"{names[1]} (second)")
    pair = make_pair(first, second, names)
    contrasts = ranking_differences(pair, settings)
    if not pair.is_scored:
        contrasts += score_differences(pair, settings) + decision_differences(pair)
    per_class = np.bincount(pair.truth, minlength=len(pair.classes)).tolist()
    return Comparison(
        names=names,
        classes=list(pair.classes),
        n_images=pair.truth.size,
        n_patients=None if pair.patients is None else len(set(pair.patients)),
        images_per_class=dict(zip(pair.classes, per_class, strict=True)),
        n_left_out=pair.n_left_out,
        digests=(first.digest(), second.digest()),
        bootstrap_replicates=settings.bootstrap_replicates,
        seed=settings.seed,
        warnings=_warnings(pair),
        differences=[each.written() for each in contrasts],
    )


def _warnings(pair: Pair) -> list[str]:
    found, what = list(pair.warnings), "probabilities"
    if pair.is_scored:
        found.append("These are scores, not probabilities: only how they rank images is compared.")
        what = "ranks"
    if pair.is_same:
        found.append(f"Both tables give every image the same {what}: is this the same network twice?")
    for judged in pair.both:
        if judged.is_blind:
            found.append(f"{judged.name} gives all images the same {what}: it does not look at them.")
    if pair.patients is None:
        found.append("No patients are given: images treated as independent, so intervals may be too narrow.")
    return found + _size_warnings(pair)


def _size_warnings(pair: Pair) -> list[str]:
    n = np.bincount(pair.truth, minlength=len(pair.classes))
    found = [
        f"No image of class {name!r} is among them: what depends on it is not estimable."
        for name, count in zip(pair.classes, n, strict=True)
        if count == 0
    ]
    return found + _few_cases(pair)


def _few_cases(pair: Pair) -> list[str]:
    """Name the class with the fewest patients, or images where these are independent, if they are too few."""
    units = make_units(pair.patients, pair.truth.size)
    n = [np.unique(units.codes[pair.truth == number]).size for number in np.unique(pair.truth).tolist()]
    if min(n) >= FEW_CASES:
        return []
    name = pair.classes[np.unique(pair.truth)[int(np.argmin(n))]]
    noun = f"{'image' if units.n_patients is None else 'patient'}{'' if min(n) == 1 else 's'}"
    basis = f"{min(n)} {noun}{'' if units.n_patients is None else ' with images'} of class {name!r}"
    return [f"Few cases: {basis}: intervals and p-values are rough, and a real difference is easily missed."]
