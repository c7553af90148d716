"""Augmentation (seeded; for training, and for views at test) on the CPU or on the device, and the network's input."""

from effmed.learn.transforms.changes import Augmentation, Change, draw_change, make_augmentation, strengthened
from effmed.learn.transforms.cpu import augment, view_of
from effmed.learn.transforms.device import changed_on_device, packed
from effmed.learn.transforms.inputs import normalised, stacked, to_input

__all__ = [
    "Augmentation",
    "Change",
    "augment",
    "changed_on_device",
    "draw_change",
    "make_augmentation",
    "normalised",
    "packed",
    "stacked",
    "strengthened",
    "to_input",
    "view_of",
]
