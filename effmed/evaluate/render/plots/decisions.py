"""What decisions are worth: decision curves, and the errors that are left when doubtful images are referred."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from effmed.evaluate.render.plots.drawing import (
    BAND_OPACITY,
    GREY,
    GRID,
    LOW_INCHES,
    PALETTE,
    PANEL_INCHES,
    Plot,
    columns_of,
    draw,
)
from effmed.evaluate.render.text import find_metric, is_binary, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from effmed.evaluate.report import Report

HEADROOM = 1.15  # above the highest net benefit
LEAST_BENEFIT = 0.02  # so that a curve around 0 is no line at the top
LEAST_ERROR = 0.02  # likewise of the share of wrong decisions
LEAST_DECIDED = 0.1  # share of images; with fewer, one wrong decision makes the line leap


def decision_curve(report: Report, class_name: str, number: int) -> Plot | None:
    """Draw the net benefit of a class or label over threshold probabilities; None without an image of it."""
    curve = columns_of(report.tables["decision_curve"], **{"class": class_name})
    if not curve["threshold"] or report.data.images_per_class[class_name] == 0:
        return None
    heights = [*curve["net_benefit"], *curve["high"], *curve["treat_all"]]
    top = max(LEAST_BENEFIT, *(each for each in heights if math.isfinite(each))) * HEADROOM

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=GREY, linewidth=1, label="call no image positive")
        axes.plot(
            curve["threshold"], curve["treat_all"], color=PALETTE[1], linestyle="--", label="call every image positive"
        )
        axes.fill_between(curve["threshold"], curve["low"], curve["high"], color=PALETTE[0], alpha=BAND_OPACITY, lw=0)
        axes.plot(curve["threshold"], curve["net_benefit"], color=PALETTE[0], linewidth=1.7, label="network")
        limits = (curve["threshold"][0], curve["threshold"][-1])
        axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=limits, ylim=(-top / 4, top))
        axes.grid(**GRID)
        axes.legend(loc="upper right")

    caption = (
        f"Decision curve for {short(class_name)}: net benefit over threshold probabilities "
        f"from {min(curve['threshold']):g} to {max(curve['threshold']):g}, with its 95 % band. The "
        "network is worth using where its line lies above both others, at thresholds that make clinical sense."
    )
    name = "decision-curve" if is_binary(report) else f"decision-curve-{number}"
    return draw(name, "decisions", caption, (PANEL_INCHES * 2, LOW_INCHES), paint)


def risk_coverage(report: Report) -> Plot | None:
    """Draw the share of wrong decisions as the least certain images are referred; None without decisions."""
    if "risk_coverage" not in report.tables:
        return None
    curve = columns_of(report.tables["risk_coverage"])
    decided, error = curve["decided_fraction"], curve["error_fraction"]
    aimed, chosen = _aimed(report), _chosen(report)
    shown = [each for share, each in zip(decided, error, strict=True) if share >= LEAST_DECIDED]
    top = max(LEAST_ERROR, aimed or 0, chosen[1] if chosen else 0, *shown) * HEADROOM

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(decided, error, color=PALETTE[0], linewidth=1.7, label="wrong decisions")
        if aimed is not None:
            axes.axhline(aimed, color=GREY, linestyle=":", linewidth=1, label=f"aimed at: {aimed:.1%}")
        if chosen is not None:
            axes.plot(*chosen, "o", color="black", markersize=6, label="referral rule")
        axes.set(xlabel="share of images decided, the most certain first", ylabel="wrong among the decided")
        axes.set(xlim=(-0.01, 1.01), ylim=(0, top))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(**GRID)
        axes.legend(loc="best")

    caption = (
        "Risk and coverage: share of wrong decisions among the images that are decided, as the least certain are "
        f"referred to a person. With every image decided it is {error[-1]:.1%}."
    )
    if chosen is not None:
        caption += f" The dot is the referral rule here: {chosen[0]:.1%} decided, {chosen[1]:.1%} of them wrong."
    if max(error) > top:
        caption += f" Above {top:.1%} the line is cut off: the first few images say little."
    return draw("risk-coverage", "decisions", caption, (PANEL_INCHES * 2, LOW_INCHES), paint)


def _aimed(report: Report) -> float | None:
    return None if report.data.referral is None else report.data.referral.max_error_fraction


def _chosen(report: Report) -> tuple[float, float] | None:
    """Return the shares decided and wrong under the referral rule; None without a rule, or where it decides nothing."""
    decided = find_metric(report, "decided_fraction", None)
    wrong = find_metric(report, "decided_error_fraction", None)
    if decided is None or wrong is None or decided.value is None or wrong.value is None:
        return None
    return decided.value, wrong.value
