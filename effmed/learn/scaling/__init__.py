"""The compound coefficient φ: depth, width and resolution of each EfficientNet variant (no torch)."""

from effmed.learn.scaling.counting import Counts, count
from effmed.learn.scaling.law import ALPHA, BASE_RESOLUTION_PX, BETA, GAMMA, compound_scaling
from effmed.learn.scaling.variants import AUTO, PHI_PREFIX, TIMM_PREFIX, VARIANTS, Variant, find_variant

__all__ = [
    "ALPHA",
    "AUTO",
    "BASE_RESOLUTION_PX",
    "BETA",
    "GAMMA",
    "PHI_PREFIX",
    "TIMM_PREFIX",
    "VARIANTS",
    "Counts",
    "Variant",
    "compound_scaling",
    "count",
    "find_variant",
]
