"""The calibrator: a chain of maps on logits, so that recalibrating for another site adds a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from effmed.evaluate.calibrators.maps import Affine, Each, Map, VennAbers, apply_map, venn_abers_pair
from effmed.evaluate.intervals import Floats
from effmed.recipe import CalibrationMethod

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIXED: Literal["mixed"] = "mixed"  # labels calibrated by different methods


class Calibrator(BaseModel):
    """Calibrated logits = the maps, one after another, of logits − prior_shift.

    Attributes:
        method: How it was fitted; ``mixed`` where labels were fitted by different methods.
        maps: In the order in which they are applied; none leaves the logits as they are.
        prior_shift: What class weights or sampling added to the logits; subtracted first, zeros for nothing; (k,).
        fitted_on: Split whose images were used; empty for method ``none``.
        n: Images that were used.
        n_events: Images of the rarest class among them.
        prevalence: Shares of the classes for which the calibrated probabilities hold: those of the images that were
            used, or where it was moved to. Of labels that do not exclude each other, the share of positives of each.
            Empty where it is not known.
        reason: Why nothing, or less than wished, was fitted; empty otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: CalibrationMethod | Literal["mixed"]
    maps: tuple[Map, ...]
    prior_shift: tuple[float, ...]
    fitted_on: str
    n: int
    n_events: int
    prevalence: tuple[float, ...]
    reason: str

    @property
    def text(self) -> str:
        """The method and the maps in words."""
        chain = "; then ".join(each.text for each in self.maps) or "logits as they are"
        undone = ", ".join(f"{shift:.4g}" for shift in self.prior_shift)
        return f"{self.method}: {chain}" + (f"; undone prior shift {undone}" if any(self.prior_shift) else "")


def identity_calibrator(n_outputs: int, reason: str) -> Calibrator:
    """Return the calibrator that takes logits as they are, and says why."""
    return Calibrator(
        method="none",
        maps=(),
        prior_shift=(0.0,) * n_outputs,
        fitted_on="",
        n=0,
        n_events=0,
        prevalence=(),
        reason=reason,
    )


def calibrate(calibrator: Calibrator, logits: NDArray[Any]) -> Floats:
    """Return calibrated logits, (n, k) float64. Rows of NaN stay; infinite logits stay numbers."""
    calibrated = np.asarray(logits, dtype=np.float64) - np.array(calibrator.prior_shift)
    for each in calibrator.maps:
        calibrated = apply_map(each, calibrated)
    return np.asarray(calibrated)


def probabilities(logits: NDArray[Any]) -> Floats:
    """Return probabilities, (n, class) float64: the sigmoid's (negative, positive) of one logit, softmax of more.

    An infinite logit takes the whole probability, shared with others that are infinite too.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.shape[1] == 1:
        return np.hstack([expit(-logits), expit(logits)])
    largest = logits.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # ∞ − ∞, where 0 stands instead
        weights = np.exp(np.where(logits == largest, 0.0, logits - largest))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def probability_interval(calibrator: Calibrator, logits: NDArray[Any]) -> Floats | None:
    """Return the two probabilities of Venn-Abers for the positive class, (n, 2), low and high.

    Returns:
        None where the calibrator gives one probability: any other method, or more than one logit. Maps before and
        after Venn-Abers' are applied to both.
    """
    before = np.asarray(logits, dtype=np.float64) - np.array(calibrator.prior_shift)
    pair = None
    for each in calibrator.maps:
        if isinstance(each, VennAbers):
            low, high = venn_abers_pair(each, before)
            with np.errstate(divide="ignore"):  # a probability of 0 or 1 has an infinite logit
                pair = [np.log(p) - np.log1p(-p) for p in (low, high)]
        elif pair is not None:
            pair = [apply_map(each, end) for end in pair]
        before = apply_map(each, before)
    return None if pair is None else np.asarray(expit(np.hstack(pair)))


def join_calibrators(calibrators: Sequence[Calibrator]) -> Calibrator:
    """Make one calibrator of labels that do not exclude each other out of one per label, each of one logit.

    Its method is theirs, or ``mixed``; ``n`` and ``n_events`` are those of the label with the fewest events;
    ``reason`` numbers the labels from 1 and says how each was calibrated, where they differ or one has a reason.

    Raises:
        ValueError: There is none, or one is of several logits.
    """
    if not calibrators or any(len(one.prior_shift) > 1 for one in calibrators):
        raise ValueError("calibrators of one logit each are joined, at least one")
    methods = [one.method for one in calibrators]
    same = len(set(methods)) == 1
    fewest = min(calibrators, key=lambda one: one.n_events)
    fitted = [one.prevalence[-1] for one in calibrators if one.prevalence]
    said = [
        f"label {number}: " + (f"{one.method} ({one.reason})" if one.reason else one.method)
        for number, one in enumerate(calibrators, start=1)
        if one.reason or not same
    ]
    return Calibrator(
        method=methods[0] if same else MIXED,
        maps=_joined_maps([one.maps for one in calibrators]),
        prior_shift=tuple(shift for one in calibrators for shift in one.prior_shift),
        fitted_on=next((one.fitted_on for one in calibrators if one.fitted_on), ""),
        n=fewest.n,
        n_events=fewest.n_events,
        prevalence=tuple(fitted) if len(fitted) == len(calibrators) else (),
        reason="; ".join(said),
    )


def _joined_maps(chains: Sequence[tuple[Map, ...]]) -> tuple[Map, ...]:
    """Put the k-th links of all chains beside each other; a chain that ends early goes on as it is."""
    joined: list[Map] = []
    unchanged = Affine(scale=(1.0,), bias=(0.0,))
    for link in range(max((len(chain) for chain in chains), default=0)):
        beside = [chain[link] if link < len(chain) else unchanged for chain in chains]
        affine = [one for one in beside if isinstance(one, Affine)]
        if len(affine) == len(beside):
            scale, bias = (tuple(value for one in affine for value in getattr(one, name)) for name in ("scale", "bias"))
            joined.append(Affine(scale=scale, bias=bias))
        else:
            joined.append(Each.model_validate({"maps": beside}))
    return tuple(joined)
