"""The comparison: paired differences of two networks on the same images, with intervals and tests."""

from effmed.evaluate.comparison.make import compare
from effmed.evaluate.comparison.model import Comparison, PairedDifference

__all__ = ["Comparison", "PairedDifference", "compare"]
