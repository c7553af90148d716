"""What to know before believing the numbers: too few images, doubtful origins, what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.calibration import FEW_EVENTS
from effmed.evaluate.discrimination import is_uncertain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effmed.evaluate.decisions import OperatingPoint
    from effmed.evaluate.intervals import Estimate
    from effmed.evaluate.report.evidence import Evidence, Measured
    from effmed.evaluate.report.model import ReportContext
    from effmed.evaluate.subgroups import Groups

FEW_PATIENTS = 5  # of a class: with 2 or 3, intervals of two measures held the truth in 91 % (benchmarks/coverage.py)
FEW_IMAGES = 20  # of a class: with 10, the interval of any AUROC held the truth in 93 % (likewise)
HIGH_AUROC = 0.9  # from here on no interval of few images holds its 95 % in every simulation


def count_text(n: int, word: str) -> str:
    """Return a number with its noun: ``1 image``, ``2 images``, ``1,200 images``."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def cautions(evidence: Evidence, context: ReportContext, measured: list[Measured], n_rows: int) -> list[str]:
    """Return one sentence for everything that a reader must know first."""
    found = [*context.cautions, *_size_cautions(evidence, measured)]
    if evidence.predictions.is_scored:
        found.append("These are scores, not probabilities: only how they rank images is judged.")
    else:
        found += _origin_cautions(evidence, context)
    if evidence.patients is None:
        found.append("No patients are given: images treated as independent, so intervals may be too narrow.")
    left_out = n_rows - evidence.n
    if left_out:
        text = f"{left_out} of {count_text(n_rows, 'image')} left out, unreadable or of unknown truth: see the flow."
        found.append(text)
    return found + _repeated(evidence) + _empty_subgroups(evidence, measured)


def _repeated(evidence: Evidence) -> list[str]:
    """Say that images occur more than once, as in tables that were put together: each row counts."""
    n = int(evidence.predictions.frame.duplicated(["image", "frame"]).sum())
    if not n:
        return []
    is_one = n == 1
    return [f"{n:,} row{' repeats' if is_one else 's repeat'} the image of another row, and each row counts."]


def _empty_subgroups(evidence: Evidence, measured: list[Measured]) -> list[str]:
    """Name the columns that were asked for and hold nothing."""
    wanted = evidence.settings.subgroups
    known = {each.subgroup[0] for each in measured if each.subgroup is not None}
    empty = [repr(name) for name in wanted if wanted != "auto" and name not in known]
    if not empty or evidence.predictions.is_scored:
        return []
    return [f"No evaluated image has a value that can be read in {', '.join(empty)}: no subgroups of it."]


def unknown_cautions(columns: Mapping[str, Groups]) -> list[str]:
    """Say of which subgroup columns the value is not known, since these images are in no subgroup."""
    return [
        f"Subgroups by {name!r} leave out {count_text(groups.n_missing, 'image')} whose value is not known."
        for name, groups in columns.items()
        if groups.n_missing
    ]


def _size_cautions(evidence: Evidence, measured: list[Measured]) -> list[str]:
    """Say where the images are too few for what is reported."""
    n = (evidence.happened == 1).sum(axis=0)
    found = [
        f"No image of class {name!r} is among them: what depends on it is not estimable."
        for name, count in zip(evidence.classes, n, strict=True)
        if count == 0
    ]
    found += _few_events(evidence)
    return found + _few_patients(evidence) + _few_cases(measured) + _narrow_citl(measured)


def _few_events(evidence: Evidence) -> list[str]:
    """Name the class or label with the fewest images of a kind; of labels, those without it count as well."""
    kinds = [(1, "of class")] if not evidence.is_multilabel else [(1, "with"), (0, "without")]
    found = [
        (int(n), f"{word} {name!r}")
        for value, word in kinds
        for name, n in zip(evidence.classes, (evidence.happened == value).sum(axis=0), strict=True)
        if n > 0
    ]
    fewest, which = min(found, key=lambda each: each[0], default=(FEW_EVENTS, ""))
    if fewest >= FEW_EVENTS:
        return []
    text = f"Few events: {count_text(fewest, 'image')} {which}, fewer than {FEW_EVENTS}: "
    return [text + "calibration estimates imprecise (Snell 2021)."]


def _few_patients(evidence: Evidence) -> list[str]:
    """Name the classes of so few patients that no interval can be relied on, where patients have several images."""
    if evidence.patients is None or len(set(evidence.patients)) == evidence.n:
        return []
    n = {
        name: len(set(evidence.patients[one == 1]))
        for name, one in zip(evidence.classes, evidence.happened.T, strict=True)
    }
    few = [f"{count} of {name!r}" for name, count in n.items() if 0 < count < FEW_PATIENTS]
    if not few:
        return []
    text = f"Few patients: images of a class are of fewer than {FEW_PATIENTS} patients ({', '.join(few)}): "
    return [text + "intervals are wide or absent, and those of Brier score and net benefit too narrow."]


def _few_cases(measured: list[Measured]) -> list[str]:
    """Name the classes whose AUROC rests on too few images for its reported interval to be trusted."""
    whole = [each for each in measured if each.name == "auroc" and each.subgroup is None]
    few = [repr(each.class_name) for each in whole if each.estimate.low is not None and _is_doubtful(each.estimate)]
    if not few:
        return []
    basis = f"for {', '.join(few)} rests on few images of a class, or on few for an AUROC near 1"
    return [f"Few cases: the AUROC {basis}: read the outermost limits beside its interval."]


def _is_doubtful(estimate: Estimate) -> bool:
    value, rarer = estimate.value or 0.0, min(estimate.n_events, estimate.n - estimate.n_events)
    return rarer < FEW_IMAGES or (value >= HIGH_AUROC and is_uncertain(value, rarer))


def _narrow_citl(measured: list[Measured]) -> list[str]:
    """Name the classes whose calibration in the large has too narrow an interval: the slope is not 1.

    Wald's interval takes the probabilities to be right up to a constant; with a slope of 0.6 it held the truth in 90
    to 92 % of simulations (benchmarks/coverage.py).
    """
    slopes = {each.class_name: each.estimate for each in measured if _is_whole(each, "slope")}
    narrow = [
        repr(each.class_name)
        for each in measured
        if _is_whole(each, "citl") and "Wald" in each.estimate.method and _excludes_one(slopes.get(each.class_name))
    ]
    if not narrow:
        return []
    text = f"The calibration slope of {', '.join(narrow)} is not 1: "
    return [text + "the interval of the calibration in the large is somewhat too narrow."]


def _is_whole(each: Measured, name: str) -> bool:
    return each.name == name and each.stage == "calibrated" and each.subgroup is None


def _excludes_one(slope: Estimate | None) -> bool:
    return slope is not None and slope.low is not None and slope.high is not None and not slope.low <= 1 <= slope.high


def _origin_cautions(evidence: Evidence, context: ReportContext) -> list[str]:
    """Say where independence, calibration or decisions are not what a reader would take for granted."""
    calibrator, points = context.calibrator, context.operating_points
    found = []
    if calibrator.method == "none":
        found.append(f"No calibration was fitted{': ' + calibrator.reason if calibrator.reason else ''}.")
    elif calibrator.reason:
        found.append(f"Calibration is less than wished: {calibrator.reason}.")
    if calibrator.fitted_on == context.split:
        found.append(f"The calibrator was fitted on these images ({context.split}): calibration looks too good.")
    if evidence.has_events and (evidence.called is None or not points):
        found.append(_no_point_text(evidence))
    elif evidence.is_multilabel:
        found += _pointless_labels(evidence, {point.class_name for point in points})
    found += [text for point in points for text in _point_cautions(point, context.split)]
    return found


def _no_point_text(evidence: Evidence) -> str:
    if evidence.called is None:
        given = "No label has an operating point" if evidence.is_multilabel else "No operating point was given"
        return f"{given}: sensitivity, specificity and predictive values are not reported."
    return "The decisions are the table's own; the threshold behind them is not known here."


def _pointless_labels(evidence: Evidence, with_point: set[str]) -> list[str]:
    """Say which labels cannot be called; see the run's facts for the reasons."""
    missing = [name for name in evidence.classes if name not in with_point]
    if not missing:
        return []
    names = ", ".join(missing)
    return [
        f"Not every label has an operating point: {names} {'is' if len(missing) == 1 else 'are'} never called, and "
        "sensitivity, specificity and predictive values are not reported for "
        f"{'it' if len(missing) == 1 else 'them'}."
    ]


def _point_cautions(point: OperatingPoint, split: str) -> list[str]:
    found = []
    if point.exploratory:
        found.append(f"Exploratory: the threshold's rule ({point.rule}) makes the most of {point.chosen_on}.")
    if point.chosen_on == split and not point.is_stated:
        found.append(f"The operating point was chosen on these images ({split}): its rates look too good.")
    return found
