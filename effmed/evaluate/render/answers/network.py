"""Answers about the network: what it is, how it was made, how logits become decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.render.answers.parts import (
    DIGEST_DIGITS,
    EXTERNAL,
    Answer,
    calibrator_text,
    fact,
    is_of_network,
    weights_text,
)
from effmed.evaluate.report.cautions import count_text

if TYPE_CHECKING:
    from effmed.evaluate.decisions import OperatingPoint
    from effmed.evaluate.report import Report

SITE, EXTERNAL_SITE = "site: ", f"{EXTERNAL}: "  # before the name of a site: where fitted, and where evaluated


def model(report: Report) -> Answer | None:
    """Say what the network takes and gives."""
    data = report.data
    return fact(report, "network", f" Variant {data.variant}. Output: probabilities of {len(data.classes)} classes.")


def preprocessing(report: Report) -> Answer | None:
    """Say in which form images enter the network."""
    frames, views = (report.data.facts.get(name) for name in ("frames", "views"))
    more = f" Files of several frames: {frames}." if frames else ""
    return fact(report, "preprocessing", more + (f" Views: {views}." if views else ""))


def building(report: Report) -> Answer | None:
    """Say how the network came about and how it was tested."""
    if not is_of_network(report):
        return None
    facts = report.data.facts
    said = [f"{facts['network']}."]
    said += [f"{name.capitalize()}: {facts[name]}." for name in ("starting weights", "best epoch") if name in facts]
    return Answer(f"{' '.join(said)} {calibrator_text(report)} Evaluated on {report.data.split}.", "network")


def initialisation(report: Report) -> Answer | None:
    """Say which weights training began with."""
    return fact(report, "starting weights")


def selection(report: Report) -> Answer | None:
    """Say how the network was chosen among its epochs."""
    return fact(report, "best epoch")


def software(report: Report) -> Answer | None:
    """Say which versions of which programs were used."""
    return fact(report, "software")


def ensemble(report: Report) -> Answer | None:
    """Say whether one network was evaluated or several, and which."""
    weights, several = weights_text(report), report.data.facts.get("ensemble")
    if several and weights:
        return Answer(f"Ensemble: {several}. SHA-256 over all weights {weights}.", "network")
    return Answer(f"No ensemble: one network, weights SHA-256 {weights}.", "network") if weights else None


def specification(report: Report) -> Answer | None:
    """Say what holds the whole model."""
    weights = weights_text(report)
    if not weights:
        return None
    text = f"The bundle of the run holds weights (SHA-256 {weights}), preprocessing, calibrator and threshold."
    return Answer(text, "network")


def predictions(report: Report) -> Answer | None:
    """Say how images became probabilities."""
    weights = weights_text(report)
    if not weights:
        return None
    return Answer(f"Logits of the network with the weights {weights} (SHA-256). {calibrator_text(report)}", "network")


def imbalance(report: Report) -> Answer | None:
    """Say whether the loss weighted the classes, and how that was undone."""
    if not is_of_network(report):
        return None
    shift = report.data.calibrator.prior_shift
    weighted = "Classes were neither weighted nor drawn more often than they come."
    if any(shift):
        values = ", ".join(f"{each:.3f}" for each in shift)
        weighted = (
            f"Classes were not learned as they come; what this adds to the logits ({values}) was subtracted again."
        )
    return Answer(f"{weighted} {calibrator_text(report)}", "network")


def updating(report: Report) -> Answer | None:
    """Say whether probabilities were recalibrated, and on which images."""
    calibrator = report.data.calibrator
    if calibrator.method == "none" and not is_of_network(report):
        return None
    is_honest = not (_is_here(calibrator.fitted_on, report.data.split) or _was_updated_here(report))
    text = calibrator_text(report) + (" Nothing was fitted to the evaluated images." if is_honest else "")
    return Answer(text, "calibration")


def _is_here(origin: str, split: str) -> bool:
    """Whether a calibrator or threshold comes from images of the evaluated split's, or site's, name."""
    return origin == split or (
        origin.startswith(SITE) and origin.removeprefix(SITE) == split.removeprefix(EXTERNAL_SITE)
    )


def _was_updated_here(report: Report) -> bool:
    """Whether the bundle was recalibrated, if only to a prevalence, on images of the evaluated site's name."""
    site = f" on site {report.data.split.removeprefix(EXTERNAL_SITE)}, "
    return any(name.startswith("recalibration") and site in text for name, text in report.data.facts.items())


def thresholds(report: Report) -> Answer | None:
    """Say how probabilities became decisions; None where a table brought its own."""
    data = report.data
    if data.operating_points:
        return Answer(" ".join(_point_text(point, data.split) for point in data.operating_points), "decisions")
    if data.task == "multiclass":
        return Answer("The class of the largest calibrated probability is called; there is no threshold.", "decisions")
    return None


def _point_text(point: OperatingPoint, split: str) -> str:
    called = f"Called {point.class_name} at a probability of at least {point.threshold:.3f}"
    if point.is_stated:
        return f"{called}, which was stated and not chosen on data."
    text = f"{called}; rule: {point.rule}, chosen on "
    text += f"{point.chosen_on} ({count_text(point.n, 'image')}, {point.n_events:,} of the class, SHA-256 "
    text += f"{point.digest[:DIGEST_DIGITS]}…)"
    is_exploratory = point.exploratory or _is_here(point.chosen_on, split)
    return f"{text}; {'exploratory' if is_exploratory else 'not chosen on the evaluated images'}."


def kept_outputs(report: Report) -> Answer:
    """Say which table every number follows from."""
    text = f"Every number follows from one predictions table, SHA-256 {report.data.digest[:DIGEST_DIGITS]}…."
    return Answer(text, "network")
