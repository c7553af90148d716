"""Maps from logits to logits, the links of a calibrator's chain. Each is rising, so that ranks stay or become ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import expit, log_expit, log_softmax, logit, logsumexp

from effmed.evaluate.intervals import Floats

if TYPE_CHECKING:
    from collections.abc import Sequence

N_DIGITS = 4  # of a parameter in words
LARGE = 30.0  # a logit beyond which 1 − p and e^−z are equal in float64
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Map(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Affine(_Map):
    """``scale`` × logit + ``bias``, (k,) each, column by column."""

    kind: Literal["affine"] = "affine"
    scale: tuple[Positive, ...]
    bias: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_lengths(self.scale, self.bias)
        return self

    @property
    def text(self) -> str:
        """The parameters in words."""
        return f"scale {_numbers_text(self.scale)}, bias {_numbers_text(self.bias)}"


class Beta(_Map):
    """Beta calibration of one logit: ``a`` ln p − ``b`` ln(1 − p) + ``c``, where p is its sigmoid.

    Source:
        Kull, Silva Filho and Flach, AISTATS 2017.
    """

    kind: Literal["beta"] = "beta"
    a: NotNegative
    b: NotNegative
    c: float

    @property
    def text(self) -> str:
        """The parameters in words."""
        return f"a {self.a:.{N_DIGITS}g}, b {self.b:.{N_DIGITS}g}, c {self.c:.{N_DIGITS}g}"


class Steps(_Map):
    """Isotonic regression of one logit.

    Attributes:
        at: Rising logits, (m,).
        probability: What they mean, (m,), never falling; between two of them it runs straight over the uncalibrated
            probability, beyond the outermost it stays.
        clip: Distance that is kept from 0 and 1, where a logit would be infinite.
    """

    kind: Literal["steps"] = "steps"
    at: tuple[float, ...]
    probability: tuple[Share, ...]
    clip: Annotated[float, Field(ge=0.0, le=0.5)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_lengths(self.at, self.probability)
        _check_rising(self.at, strictly=True)
        _check_rising(self.probability)
        return self

    @property
    def text(self) -> str:
        """The parameters in words."""
        return f"{len(self.at)} points, at least {self.clip:.{N_DIGITS}g} from 0 and 1"


class VennAbers(_Map):
    """Two probabilities for one logit: were the image negative, and were it positive; merged into one.

    Attributes:
        at: Rising logits, (m,), that part the axis.
        low: (m + 1,) never falling; ``low[j]`` from ``at[j - 1]`` on, and below ``at[j]``.
        high: (m + 1,) never falling; ``high[j]`` above ``at[j - 1]``, and up to ``at[j]``.
        grid: Width to whose multiples logits are rounded first; 0 for none.
    """

    kind: Literal["venn-abers"] = "venn-abers"
    at: tuple[float, ...]
    low: tuple[Share, ...]
    high: tuple[Share, ...]
    grid: NotNegative

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_lengths(self.low, (0.0, *self.at))
        _check_lengths(self.low, self.high)
        _check_rising(self.at, strictly=True)
        _check_rising(self.low)
        _check_rising(self.high)
        return self

    @property
    def text(self) -> str:
        """The parameters in words."""
        return f"{len(self.low)} pairs of probabilities"


class Unfocus(_Map):
    """From what a network learns by a focusing loss back to the log-odds that its data have.

    The loss of an image that has the class is −(1 − p)^present ln p, of one that has not −p^absent ln(1 − p). Its
    minimum is not where p is the share q of images with the class: there q L'absent = (1 − q) L'present, and this map
    returns logit q. Of several logits, p is their softmax, only the image's own class has a loss, and the map returns
    ln q up to a constant.

    Attributes:
        present: Exponent γ of the focal loss; 0 for cross entropy.
        absent: Likewise; equal to ``present`` in the focal loss, larger in the asymmetric one. Of one logit only.

    Source:
        Charoenphakdee, Vongkulbhisal, Chairatanakul and Sugiyama, On Focal Loss for Class-Posterior Probability
        Estimation, CVPR 2021, theorem 11, for γ of its own on either side.
    """

    kind: Literal["unfocus"] = "unfocus"
    present: NotNegative
    absent: NotNegative

    @property
    def text(self) -> str:
        """The parameters in words."""
        return f"focusing by exponents {self.present:.{N_DIGITS}g} and {self.absent:.{N_DIGITS}g} undone"


OneLogitMap = Annotated[Affine | Beta | Steps | Unfocus | VennAbers, Field(discriminator="kind")]


class Each(_Map):
    """A map of its own for every column: the logits of labels that do not exclude each other."""

    kind: Literal["each"] = "each"
    maps: tuple[OneLogitMap, ...]

    @property
    def text(self) -> str:
        """The parameters in words."""
        return " | ".join(each.text for each in self.maps)


Map = Annotated[Affine | Beta | Steps | Unfocus | VennAbers | Each, Field(discriminator="kind")]


def apply_map(each: Affine | Beta | Steps | Unfocus | VennAbers | Each, logits: Floats) -> Floats:
    """Map logits (n, k) to logits (n, k). NaN stays NaN; an infinite logit never becomes NaN."""
    if isinstance(each, Affine):
        return np.asarray(np.array(each.scale) * logits + np.array(each.bias))
    if isinstance(each, Beta):
        return _apply_beta(each, logits)
    if isinstance(each, Steps):
        return np.asarray(logit(_step_probability(each, logits)))
    if isinstance(each, Unfocus):
        return _unfocused(each, logits) if logits.shape[1] == 1 else _unfocused_classes(each.present, logits)
    if isinstance(each, VennAbers):
        low, high = venn_abers_pair(each, logits)
        return np.asarray(np.log(high) - np.log1p(-low))  # logit of high / (1 − low + high)
    return np.column_stack([apply_map(one, logits[:, [column]]) for column, one in enumerate(each.maps)])


def _apply_beta(each: Beta, logits: Floats) -> Floats:
    calibrated = np.where(np.isnan(logits), np.nan, each.c)
    if each.a > 0:  # 0 × −∞ would not be a number
        calibrated = calibrated + each.a * log_expit(logits)
    if each.b > 0:
        calibrated = calibrated - each.b * log_expit(-logits)
    return np.asarray(calibrated)


def _unfocused(each: Unfocus, logits: Floats) -> Floats:
    """Return ln L'absent − ln(−L'present) at p = sigmoid of a logit z, with −ln(1 − p) e^−z and −ln p e^z near 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # 0 × ∞, where 1 stands instead
        present = np.where(logits > LARGE, 1.0, -log_expit(logits) * np.exp(logits))
        absent = np.where(logits < -LARGE, 1.0, -log_expit(-logits) * np.exp(-logits))
        slopes = np.log1p(each.absent * absent) - np.log1p(each.present * present)
        moved = (1 + each.absent) * log_expit(logits) - (1 + each.present) * log_expit(-logits)
    return np.asarray(np.where(np.isinf(logits), logits, moved + slopes))


def _unfocused_classes(gamma: float, logits: Floats) -> Floats:
    """Return ln p − γ ln(1 − p) − ln(1 − γ p ln p / (1 − p)) of every class; −ln p / (1 − p) is 1 near p = 1."""
    log_p = log_softmax(logits, axis=1)
    others = np.where(np.eye(logits.shape[1], dtype=bool), -np.inf, log_p[:, None, :])
    log_rest = logsumexp(others, axis=2)  # ln(1 − p) without subtracting near 1
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(log_rest < -LARGE, 1.0, -log_p / np.exp(log_rest))
    return np.asarray(log_p - gamma * log_rest - np.log1p(gamma * np.exp(log_p) * ratio))


def _step_probability(each: Steps, logits: Floats) -> Floats:
    interpolated = np.interp(expit(logits), expit(np.array(each.at)), np.array(each.probability))
    return np.asarray(np.clip(interpolated, each.clip, 1 - each.clip))


def venn_abers_pair(each: VennAbers, logits: Floats) -> tuple[Floats, Floats]:
    """Return the two probabilities of every logit, low ≤ high; NaN where it is NaN.

    Source:
        Vovk, Petej and Fedorova, NeurIPS 2015, section 3 (inductive Venn-Abers predictors).
    """
    rounded = np.round(logits / each.grid) * each.grid if each.grid else logits
    at, missing = np.array(each.at), np.isnan(logits)
    low = np.array(each.low)[np.searchsorted(at, rounded, side="right")]
    high = np.array(each.high)[np.searchsorted(at, rounded, side="left")]
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)


def _check_lengths(first: Sequence[float], second: Sequence[float]) -> None:
    if len(first) != len(second):
        problem = f"{len(first)} and {len(second)} numbers that belong together"
        raise ValueError(problem)


def _check_rising(values: Sequence[float], *, strictly: bool = False) -> None:
    steps = np.diff(values)
    if (steps <= 0).any() if strictly else (steps < 0).any():
        raise ValueError("numbers that should rise do not")


def _numbers_text(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.{N_DIGITS}g}" for value in values)
