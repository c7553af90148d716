"""The published variants: a stage table and its multipliers, input, regularisation and timm's name of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from effmed.errors import RecipeError
from effmed.learn.scaling import stages
from effmed.learn.scaling.counting import Counts, carried_fraction, count
from effmed.learn.scaling.law import BASE_RESOLUTION_PX, compound_scaling, round_resolution
from effmed.learn.scaling.stages import StageTable
from effmed.recipe import nearest

TIMM_PREFIX, PHI_PREFIX = "timm:", "phi:"
AUTO = "auto"  # what --variant takes to have one chosen for the data; no variant itself
PHI_MAX = 7.0  # B8; the largest published network that has a φ
PUBLISHED_DROP_PATH = 0.2  # `survival_prob` and `drop_connect_rate` of all three reference codes, at the last layer

_V1 = "Tan and Le 2019, table 2 and the reference code's coefficients"
_B8 = "Xie et al. 2020 (AdvProp), the reference code's coefficients"
_L2 = "Xie et al. 2020 (Noisy Student), the reference code's coefficients"
_V2 = "Tan and Le 2021 (EfficientNetV2), training resolutions and sizes of the reference code"
_LITE = "EfficientNet-Lite, reference code (fixed stem and head, no squeeze-and-excitation)"


@dataclass(frozen=True)
class Variant:
    """A network of the family, or any one of timm.

    Attributes:
        name: What ``--variant`` takes.
        network: timm's name of architecture and default weights, ``architecture.tag``.
        phi: Compound coefficient φ as the literature numbers the variants, whose multipliers are rounded; None where
            the multipliers are not a point of the law.
        width: Channel multiplier.
        depth: Layer multiplier.
        resolution_px: Side of the square input that is planned.
        train_px: Side that the published training ended with.
        test_px: Side at which the paper tests and counts multiply-adds; above ``train_px`` for V2 only.
        dropout: Published dropout rate before the head.
        drop_path: Published rate of stochastic depth at the last layer.
        table: Stage table of the base network, which the multipliers apply to; None for a network of timm.
        source: Where the numbers come from.
        carried_fraction: Share of the parameters, head left out, that ``network``'s weights have under the same name
            and shape; below 1 for a network between the variants only.
    """

    name: str
    network: str
    phi: float | None
    width: float
    depth: float
    resolution_px: int
    train_px: int
    test_px: int
    dropout: float
    drop_path: float
    table: StageTable | None
    source: str
    carried_fraction: float = 1.0

    @property
    def architecture(self) -> str:
        """The name of the architecture in timm, without the weights' tag."""
        return self.network.partition(".")[0]

    @property
    def multipliers(self) -> tuple[float, float] | None:
        """Width and depth of a network between the variants, which ``architecture`` does not tell; else None."""
        return (self.width, self.depth) if self.name.startswith(PHI_PREFIX) else None

    @property
    def built(self) -> str:
        """The network in words: timm's name with the tag of its weights, or B0's with the multipliers of the law."""
        if self.multipliers is None:
            return self.network
        return f"tf_efficientnet_b0 x width {self.width:.4f}, depth {self.depth:.4f}"

    @property
    def scaled_table(self) -> StageTable | None:
        """The stage table of the network; None for a network of timm."""
        return None if self.table is None else self.table.scaled(width=self.width, depth=self.depth)

    def counts(self, side_px: int) -> Counts | None:
        """Count parameters and multiply-adds with 1,000 classes by the law alone; None for a network of timm.

        Args:
            side_px: Side of the square input with three channels.
        """
        table = self.scaled_table
        return None if table is None else count(table, side_px)


def _v1(name: str, tag: str, phi: float | None, *numbers: float, source: str = _V1) -> Variant:
    width, depth, side, dropout = numbers
    network, px = f"tf_efficientnet_{name}.{tag}", int(side)
    drop_path = PUBLISHED_DROP_PATH
    return Variant(name, network, phi, width, depth, px, px, px, dropout, drop_path, stages.B0, source)


def _lite(name: str, phi: float, *numbers: float) -> Variant:
    width, depth, side, dropout = numbers
    network, px = f"tf_efficientnet_{name}.in1k", int(side)
    drop_path = PUBLISHED_DROP_PATH
    return Variant(name, network, phi, width, depth, px, px, px, dropout, drop_path, stages.LITE0, _LITE)


def _v2_base(name: str, tag: str, phi: float, *numbers: float) -> Variant:
    """B0 to B3 of V2 are scaled as B0 to B3, and planned with their sides, at which they were tested."""
    width, depth, train, test, dropout = numbers
    network, px = f"tf_efficientnetv2_{name}.{tag}", int(test)
    table, drop_path = stages.V2_B0, PUBLISHED_DROP_PATH
    return Variant(f"v2-{name}", network, phi, width, depth, px, int(train), px, dropout, drop_path, table, _V2)


def _v2(name: str, table: StageTable, *numbers: float) -> Variant:
    """S to XL have stage tables of their own, and are planned with the side they were trained with."""
    train, test, dropout = numbers
    network, px = f"tf_efficientnetv2_{name}.in21k_ft_in1k", int(train)
    drop_path = PUBLISHED_DROP_PATH
    return Variant(f"v2-{name}", network, None, 1.0, 1.0, px, px, int(test), dropout, drop_path, table, _V2)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        # φ, width, depth, resolution, dropout
        _v1("b0", "ns_jft_in1k", 0.0, 1.0, 1.0, 224, 0.2),
        _v1("b1", "ns_jft_in1k", 0.5, 1.0, 1.1, 240, 0.2),
        _v1("b2", "ns_jft_in1k", 1.0, 1.1, 1.2, 260, 0.3),
        _v1("b3", "ns_jft_in1k", 2.0, 1.2, 1.4, 300, 0.3),
        _v1("b4", "ns_jft_in1k", 3.0, 1.4, 1.8, 380, 0.4),
        _v1("b5", "ns_jft_in1k", 4.0, 1.6, 2.2, 456, 0.4),
        _v1("b6", "ns_jft_in1k", 5.0, 1.8, 2.6, 528, 0.5),
        _v1("b7", "ns_jft_in1k", 6.0, 2.0, 3.1, 600, 0.5),
        _v1("b8", "ap_in1k", 7.0, 2.2, 3.6, 672, 0.5, source=_B8),
        _v1("l2", "ns_jft_in1k", None, 4.3, 5.3, 800, 0.5, source=_L2),
        # φ, width, depth, training and test resolution, dropout
        _v2_base("b0", "in1k", 0.0, 1.0, 1.0, 192, 224, 0.2),
        _v2_base("b1", "in1k", 0.5, 1.0, 1.1, 192, 240, 0.2),
        _v2_base("b2", "in1k", 1.0, 1.1, 1.2, 208, 260, 0.3),
        _v2_base("b3", "in21k_ft_in1k", 2.0, 1.2, 1.4, 240, 300, 0.3),
        # training and test resolution, dropout
        _v2("s", stages.V2_S, 300, 384, 0.2),
        _v2("m", stages.V2_M, 384, 480, 0.3),
        _v2("l", stages.V2_L, 384, 480, 0.4),
        _v2("xl", stages.V2_XL, 384, 512, 0.4),
        # φ, width, depth, resolution, dropout
        _lite("lite0", 0.0, 1.0, 1.0, 224, 0.2),
        _lite("lite1", 0.5, 1.0, 1.1, 240, 0.2),
        _lite("lite2", 1.0, 1.1, 1.2, 260, 0.3),
        _lite("lite3", 2.0, 1.2, 1.4, 280, 0.3),
        _lite("lite4", 3.0, 1.4, 1.8, 300, 0.3),
    )
}


def find_variant(name: str) -> Variant:
    """Return the variant called ``name``.

    Args:
        name: That of a variant; ``timm:NAME`` stands for any network of timm, at B0's resolution; ``phi:NUMBER`` for
            the network that the law gives for a compound coefficient.

    Raises:
        RecipeError: There is none; the nearest name is offered.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if name.startswith(PHI_PREFIX):
        return _between(name)
    if name.startswith(TIMM_PREFIX) and len(name) > len(TIMM_PREFIX):
        network, px = name.removeprefix(TIMM_PREFIX), BASE_RESOLUTION_PX
        return Variant(name, network, None, 1.0, 1.0, px, px, px, 0.0, 0.0, None, "timm")
    if name == AUTO:
        problem = "'auto' is no network: only a training chooses one, for its data and machine"
        raise RecipeError(problem, hint="name a variant: 'effmed variants' lists all of them")
    problem = f"unknown variant {name!r}; {nearest(name, list(VARIANTS))}"
    raise RecipeError(problem, hint="'effmed variants' lists all of them")


def _between(name: str) -> Variant:
    """A network between B0 and B8 by the law alone; it takes what fits of the variant that has most of it."""
    number = name.removeprefix(PHI_PREFIX)
    try:
        phi = float(number)
    except ValueError as error:
        raise RecipeError(f"φ = {number!r} is not a number", hint="--phi 2.5") from error
    if not 0 <= phi <= PHI_MAX:
        problem = f"φ = {number} is not within 0 and {PHI_MAX:g}"
        raise RecipeError(problem, hint="'effmed variants' lists φ of the published networks")
    depth, width, _ = compound_scaling(phi)
    table = stages.B0.scaled(width=width, depth=depth)
    givers = {giver.name: giver for giver in VARIANTS.values() if giver.table is stages.B0 and giver.phi is not None}
    shares = {name: carried_fraction(table, giver.scaled_table or table) for name, giver in givers.items()}
    nearest_name = max(shares, key=lambda giver: shares[giver])
    giver, px, source = (
        givers[nearest_name],
        round_resolution(phi),
        f"Tan and Le 2019, equation 3; starts from {nearest_name}",
    )
    drop_path = PUBLISHED_DROP_PATH
    made = Variant(name, giver.network, phi, width, depth, px, px, px, giver.dropout, drop_path, stages.B0, source)
    return replace(made, carried_fraction=shares[nearest_name])
