"""One file becomes one image and its provenance, or a reason why not."""

from effmed.data.pixels.image import Header, Image, Provenance
from effmed.data.pixels.preprocess import Preprocessing, preprocess
from effmed.data.pixels.read import read_header, read_image, sniff

__all__ = ["Header", "Image", "Preprocessing", "Provenance", "preprocess", "read_header", "read_image", "sniff"]
