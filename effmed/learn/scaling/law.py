"""The law of compound scaling: φ → multipliers; multipliers → whole channels and layers."""

from __future__ import annotations

import math

# Tan and Le, EfficientNet (ICML 2019), section 3.3: the grid search on B0 under alpha * beta^2 * gamma^2 ~ 2.
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
BASE_RESOLUTION_PX = 224
RESOLUTION_DIVISOR_PX = 8  # as B0, B1, B5 to B8; 32 would leave steps of 14 % between sides
CHANNEL_DIVISOR = 8  # `depth_divisor` of the reference code
KEPT_FRACTION = (
    0.9  # `round_filters` of the reference code: "make sure that round down does not go down by more than 10%"
)


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


def round_resolution(phi: float) -> int:
    """Return the side of the square input for a compound coefficient, to the nearest multiple of eight pixels."""
    return round(BASE_RESOLUTION_PX * compound_scaling(phi)[2] / RESOLUTION_DIVISOR_PX) * RESOLUTION_DIVISOR_PX


def round_channels(channels: int, width: float, *, kept_fraction: float = KEPT_FRACTION) -> int:
    """Widen a layer, to the nearest multiple of eight channels.

    Args:
        channels: Of the base network, at least 1.
        width: Channel multiplier.
        kept_fraction: No less than this share of ``channels * width`` may be left; the next multiple is taken then.

    Returns:
        A multiple of eight, at least eight; halves are rounded up.

    Source:
        ``round_filters`` of the reference code (tensorflow/tpu, models/official/efficientnet/efficientnet_model.py).
        That of EfficientNetV2 (google/automl, efficientnetv2/effnetv2_model.py) rounds without the lower bound.
    """
    wanted = channels * width
    rounded = max(CHANNEL_DIVISOR, int(wanted + CHANNEL_DIVISOR / 2) // CHANNEL_DIVISOR * CHANNEL_DIVISOR)
    return rounded + CHANNEL_DIVISOR if rounded < kept_fraction * wanted else rounded


def round_layers(layers: int, depth: float) -> int:
    """Deepen a stage: the number of layers times the multiplier, rounded up.

    Source:
        ``round_repeats`` of the reference code (tensorflow/tpu, models/official/efficientnet/efficientnet_model.py).
    """
    return math.ceil(layers * depth)
