"""One file → one image and its provenance."""

from effmed.data.pixels.image import Header, Image, Provenance
from effmed.data.pixels.preprocess import Preprocessing, preprocess

__all__ = ["Header", "Image", "Preprocessing", "Provenance", "preprocess"]
