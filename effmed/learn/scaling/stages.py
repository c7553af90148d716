"""The stage tables of the base networks, and what the multipliers make of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from effmed.learn.scaling.law import KEPT_FRACTION, round_channels, round_layers

Operator: TypeAlias = Literal["Conv", "DepthwiseSeparable", "MBConv", "Fused-MBConv"]
_Row: TypeAlias = tuple[Operator, int, int, int, int, int]
SQUEEZE = 0.25  # `se0.25` of the reference codes


@dataclass(frozen=True)
class Stage:
    """Layers of one kind, one after another; only the first has the stride.

    Attributes:
        operator: Kind of the layers. "DepthwiseSeparable" is MBConv with expansion 1, which expands nothing.
        layers: How many there are.
        kernel: Side of the spatial kernel.
        stride: Of the first layer.
        expansion: Channels inside a layer, as a multiple of those that come in.
        channels: Channels that go out.
        squeeze: Channels inside squeeze-and-excitation, as a share of those that come in; 0 where there is none.
    """

    operator: Operator
    layers: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    squeeze: float = 0.0


@dataclass(frozen=True)
class StageTable:
    """A network: a 3 × 3 convolution with stride 2, stages, a 1 × 1 convolution, pooling, one linear layer.

    Attributes:
        stem: Channels of the first convolution.
        stages: In their order.
        head: Channels of the last convolution.
        is_fixed: Stem and head keep their channels, first and last stage their layers, whatever the multipliers.
        kept_fraction: Lower bound of the rounding of channels, see ``round_channels``.
    """

    stem: int
    stages: tuple[Stage, ...]
    head: int = 1280
    is_fixed: bool = False
    kept_fraction: float = KEPT_FRACTION

    def scaled(self, *, width: float, depth: float) -> StageTable:
        """Return the table with channels times ``width`` and layers times ``depth``, rounded as in the reference."""

        def widened(channels: int) -> int:
            return round_channels(channels, width, kept_fraction=self.kept_fraction)

        def deepened(index: int, stage: Stage) -> int:
            is_outer = index in (0, len(self.stages) - 1)
            return stage.layers if self.is_fixed and is_outer else round_layers(stage.layers, depth)

        stages = tuple(
            replace(stage, channels=widened(stage.channels), layers=deepened(index, stage))
            for index, stage in enumerate(self.stages)
        )
        if self.is_fixed:
            return replace(self, stages=stages)
        return replace(self, stem=widened(self.stem), head=widened(self.head), stages=stages)


def _plain(*rows: _Row) -> tuple[Stage, ...]:
    return tuple(Stage(*row) for row in rows)


def _squeezed(*rows: _Row) -> tuple[Stage, ...]:
    return tuple(Stage(*row, squeeze=SQUEEZE) for row in rows)


# operator, layers, kernel, stride, expansion, channels
_B0: tuple[_Row, ...] = (
    ("DepthwiseSeparable", 1, 3, 1, 1, 16),
    ("MBConv", 2, 3, 2, 6, 24),
    ("MBConv", 2, 5, 2, 6, 40),
    ("MBConv", 3, 3, 2, 6, 80),
    ("MBConv", 3, 5, 1, 6, 112),
    ("MBConv", 4, 5, 2, 6, 192),
    ("MBConv", 1, 3, 1, 6, 320),
)  # fmt: skip

# Tan and Le, EfficientNet (ICML 2019), table 1: MBConv1 there is a depthwise separable layer.
B0 = StageTable(stem=32, stages=_squeezed(*_B0))

# EfficientNet-Lite, tensorflow/tpu models/official/efficientnet/lite: `use_se=False`, `fix_head_stem=True`, ReLU6.
LITE0 = StageTable(stem=32, stages=_plain(*_B0), is_fixed=True)

# Tan and Le, EfficientNetV2 (ICML 2021), table 4 (S) and google/automl efficientnetv2/effnetv2_configs.py (all).
V2_B0 = StageTable(
    stem=32,
    stages=_plain(("Conv", 1, 3, 1, 1, 16), ("Fused-MBConv", 2, 3, 2, 4, 32), ("Fused-MBConv", 2, 3, 2, 4, 48))
    + _squeezed(("MBConv", 3, 3, 2, 4, 96), ("MBConv", 5, 3, 1, 6, 112), ("MBConv", 8, 3, 2, 6, 192)),
    kept_fraction=0.0,
)
V2_S = StageTable(
    stem=24,
    stages=_plain(("Conv", 2, 3, 1, 1, 24), ("Fused-MBConv", 4, 3, 2, 4, 48), ("Fused-MBConv", 4, 3, 2, 4, 64))
    + _squeezed(("MBConv", 6, 3, 2, 4, 128), ("MBConv", 9, 3, 1, 6, 160), ("MBConv", 15, 3, 2, 6, 256)),
    kept_fraction=0.0,
)
V2_M = StageTable(
    stem=24,
    stages=_plain(("Conv", 3, 3, 1, 1, 24), ("Fused-MBConv", 5, 3, 2, 4, 48), ("Fused-MBConv", 5, 3, 2, 4, 80))
    + _squeezed(
        ("MBConv", 7, 3, 2, 4, 160),
        ("MBConv", 14, 3, 1, 6, 176),
        ("MBConv", 18, 3, 2, 6, 304),
        ("MBConv", 5, 3, 1, 6, 512),
    ),
    kept_fraction=0.0,
)
V2_L = StageTable(
    stem=32,
    stages=_plain(("Conv", 4, 3, 1, 1, 32), ("Fused-MBConv", 7, 3, 2, 4, 64), ("Fused-MBConv", 7, 3, 2, 4, 96))
    + _squeezed(
        ("MBConv", 10, 3, 2, 4, 192),
        ("MBConv", 19, 3, 1, 6, 224),
        ("MBConv", 25, 3, 2, 6, 384),
        ("MBConv", 7, 3, 1, 6, 640),
    ),
    kept_fraction=0.0,
)
V2_XL = StageTable(
    stem=32,
    stages=_plain(("Conv", 4, 3, 1, 1, 32), ("Fused-MBConv", 8, 3, 2, 4, 64), ("Fused-MBConv", 8, 3, 2, 4, 96))
    + _squeezed(
        ("MBConv", 16, 3, 2, 4, 192),
        ("MBConv", 24, 3, 1, 6, 256),
        ("MBConv", 32, 3, 2, 6, 512),
        ("MBConv", 8, 3, 1, 6, 640),
    ),
    kept_fraction=0.0,
)
