"""The compound coefficient φ: depth, width and resolution of each EfficientNet variant (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from effmed.errors import RecipeError
from effmed.recipe import nearest

# Tan and Le, EfficientNet (ICML 2019), section 3.3: the grid search on B0 under alpha * beta^2 * gamma^2 ~ 2.
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
BASE_RESOLUTION_PX = 224
TIMM_PREFIX = "timm:"

_V1 = "Tan and Le 2019, table 2 and the reference code's coefficients"
_V2 = "Tan and Le 2021 (EfficientNetV2), training resolutions and sizes of the reference code"
_LITE = "EfficientNet-Lite, reference code (fixed stem and head, no squeeze-and-excitation)"


@dataclass(frozen=True)
class Variant:
    """A point on the compound-scaling curve.

    Attributes:
        name: What ``--variant`` takes.
        network: timm's name of architecture and default weights, ``architecture.tag``.
        phi: Compound coefficient φ, rounded as in the literature; None off the curve.
        width: Channel multiplier.
        depth: Layer multiplier.
        resolution_px: Side of the square input.
        dropout: Dropout rate before the head.
        parameters_m: Published parameters with 1,000 classes, in 10^6.
        gmacs: Published multiply-adds at ``resolution_px``, in 10^9.
        source: Where the numbers come from.
    """

    name: str
    network: str
    phi: float | None
    width: float
    depth: float
    resolution_px: int
    dropout: float
    parameters_m: float
    gmacs: float
    source: str

    @property
    def architecture(self) -> str:
        """The name of the architecture in timm, without the weights' tag."""
        return self.network.partition(".")[0]


def _v1(name: str, *numbers: float) -> Variant:
    phi, width, depth, resolution, dropout, parameters, gmacs = numbers
    network = f"tf_efficientnet_{name}.ns_jft_in1k"
    return Variant(name, network, phi, width, depth, int(resolution), dropout, parameters, gmacs, _V1)


def _v2(name: str, tag: str, *numbers: float) -> Variant:
    width, depth, resolution, dropout, parameters, gmacs = numbers
    network = f"tf_efficientnetv2_{name}.{tag}"
    return Variant(f"v2-{name}", network, None, width, depth, int(resolution), dropout, parameters, gmacs, _V2)


def _lite(name: str, *numbers: float) -> Variant:
    phi, width, depth, resolution, dropout, parameters, gmacs = numbers
    network = f"tf_efficientnet_{name}.in1k"
    return Variant(name, network, phi, width, depth, int(resolution), dropout, parameters, gmacs, _LITE)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        # φ, width, depth, resolution, dropout, parameters, multiply-adds
        _v1("b0", 0.0, 1.0, 1.0, 224, 0.2, 5.3, 0.39),
        _v1("b1", 0.5, 1.0, 1.1, 240, 0.2, 7.8, 0.70),
        _v1("b2", 1.0, 1.1, 1.2, 260, 0.3, 9.2, 1.0),
        _v1("b3", 2.0, 1.2, 1.4, 300, 0.3, 12.0, 1.8),
        _v1("b4", 3.0, 1.4, 1.8, 380, 0.4, 19.0, 4.2),
        _v1("b5", 4.0, 1.6, 2.2, 456, 0.4, 30.0, 9.9),
        _v1("b6", 5.0, 1.8, 2.6, 528, 0.5, 43.0, 19.0),
        _v1("b7", 6.0, 2.0, 3.1, 600, 0.5, 66.0, 37.0),
        _v2("b0", "in1k", 1.0, 1.0, 224, 0.2, 7.1, 0.72),
        _v2("b1", "in1k", 1.0, 1.1, 240, 0.2, 8.1, 1.2),
        _v2("b2", "in1k", 1.1, 1.2, 260, 0.3, 10.1, 1.7),
        _v2("b3", "in21k_ft_in1k", 1.2, 1.4, 300, 0.3, 14.4, 3.0),
        _v2("s", "in21k_ft_in1k", 1.0, 1.0, 300, 0.2, 22.0, 8.8),
        _v2("m", "in21k_ft_in1k", 1.0, 1.0, 384, 0.3, 54.0, 24.0),
        _v2("l", "in21k_ft_in1k", 1.0, 1.0, 384, 0.4, 120.0, 53.0),
        _v2("xl", "in21k_ft_in1k", 1.0, 1.0, 384, 0.4, 208.0, 94.0),
        _lite("lite0", 0.0, 1.0, 1.0, 224, 0.2, 4.7, 0.407),
        _lite("lite1", 0.5, 1.0, 1.1, 240, 0.2, 5.4, 0.631),
        _lite("lite2", 1.0, 1.1, 1.2, 260, 0.3, 6.1, 0.899),
        _lite("lite3", 2.0, 1.2, 1.4, 280, 0.3, 8.2, 1.44),
        _lite("lite4", 3.0, 1.4, 1.8, 300, 0.3, 13.0, 2.64),
    )
}


def find_variant(name: str) -> Variant:
    """Return the variant called ``name``; ``timm:NAME`` stands for any network of timm, at B0's resolution.

    Raises:
        RecipeError: There is none; the nearest name is offered.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if name.startswith(TIMM_PREFIX) and len(name) > len(TIMM_PREFIX):
        network = name.removeprefix(TIMM_PREFIX)
        return Variant(name, network, None, 1.0, 1.0, BASE_RESOLUTION_PX, 0.0, 0.0, 0.0, "timm")
    problem = f"unknown variant {name!r}; {nearest(name, list(VARIANTS))}"
    raise RecipeError(problem, hint="'effmed variants' lists all of them")


def compound_scaling(phi: float) -> tuple[float, float, float]:
    """Return the multipliers of depth, width and resolution for a compound coefficient.

    Args:
        phi: φ; 0 is B0, and each step of 1 about doubles the multiply-adds.

    Returns:
        ``(alpha**phi, beta**phi, gamma**phi)``: of layers, of channels, of the input's side.

    Source:
        Tan and Le, EfficientNet (ICML 2019), equation 3. The published variants round these.
    """
    return ALPHA**phi, BETA**phi, GAMMA**phi
