"""One file becomes one image and its provenance, or a reason why not."""

from effmed.data.pixels.dicom import plain_header
from effmed.data.pixels.image import PIXELS_PER_MEGAPIXEL, Header, Image, Provenance, check_size
from effmed.data.pixels.preprocess import Preprocessing, preprocess
from effmed.data.pixels.read import read_header, read_image, sniff

__all__ = [
    "PIXELS_PER_MEGAPIXEL",
    "Header",
    "Image",
    "Preprocessing",
    "Provenance",
    "check_size",
    "plain_header",
    "preprocess",
    "read_header",
    "read_image",
    "sniff",
]
