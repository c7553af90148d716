"""The size of the network's input, and what images, weights and letterbox have against it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effmed.data.fingerprint import median_shape, padded_fraction
from effmed.learn.plan.values import CARRIED_MIN, SET_BY_RECIPE
from effmed.learn.scaling import BASE_RESOLUTION_PX, VARIANTS, compound_scaling
from effmed.recipe import SIDE_MAX_PX, SIDE_MIN_PX, input_sides

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.learn.plan.values import NativeInput, Reasons
    from effmed.learn.scaling import Variant
    from effmed.recipe import Recipe

STEP_PX = 32  # the strides of an EfficientNet multiply to it: other sides are padded at every stage
# A round number; the effect is that of Touvron et al. 2019, Fixing the train-test resolution discrepancy.
OTHER_SCALE_MAX = 0.25  # of the side of the training of the weights
PADDED_MAX = 0.3  # of the input's pixels: beyond it a rectangle saves nearly a third of the time


@dataclass(frozen=True)
class Box:
    """The network's input.

    Attributes:
        height: In pixels.
        width: In pixels.
        is_fixed: Whether the network takes no other size.
        variant: What will be built.
    """

    height: int
    width: int
    is_fixed: bool
    variant: Variant

    @property
    def text(self) -> str:
        """As ``model.image_size`` takes it."""
        return size_text((self.height, self.width))


def size_text(size: tuple[int, int]) -> str:
    """Write height and width in pixels as ``model.image_size`` takes them: one number for a square."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def size_reason(variant: Variant) -> str:
    """Say where the resolution of a variant comes from."""
    if variant.multipliers is not None:
        return f"{BASE_RESOLUTION_PX} × 1.15^φ for φ = {variant.phi:g}, to the nearest multiple of 8 px"
    if variant.phi is None:
        return f"{variant.resolution_px} px: what {variant.name} was designed for ({variant.source})"
    law = round(BASE_RESOLUTION_PX * compound_scaling(variant.phi)[2])
    return (
        f"compound coefficient φ = {variant.phi:g} of {variant.name}: "
        f"{BASE_RESOLUTION_PX} × 1.15^φ = {law} px by the law, {variant.resolution_px} px as published"
    )


def plan_size(
    recipe: Recipe, fingerprint: Fingerprint, variant: Variant, native: NativeInput, reasons: Reasons
) -> tuple[int, int]:
    """Return height and width of the input in pixels; warn where images, weights or letterbox speak against them."""
    is_foreign = variant.table is None and native.resolution_px > 0
    own: int | str = native.resolution_px if is_foreign else variant.resolution_px
    why = f"{own} px: what {variant.network} of timm was made for" if is_foreign else size_reason(variant)
    wanted = reasons.choose("model.image_size", recipe.model.image_size, own, why)
    height, width = input_sides(wanted)
    box = Box(height, width, native.is_fixed, variant)
    better = _better_rectangle(fingerprint, box)
    smaller = "" if reasons.sentences["model.image_size"] == SET_BY_RECIPE else _smaller_variant(fingerprint, box)
    found = (
        _enlarged(fingerprint, box, better, smaller),
        _other_scale(native, box) if native.is_pretrained and variant.carried_fraction >= CARRIED_MIN else "",
        _padded(fingerprint, box, better),
    )
    reasons.warnings += [sentence for sentence in found if sentence]
    return height, width


def _to_step(side: float) -> int:
    """Return the multiple of 32 nearest to a side, within what the recipe allows."""
    return min(max(round(side / STEP_PX) * STEP_PX, SIDE_MIN_PX), SIDE_MAX_PX)


def _median_size(fingerprint: Fingerprint) -> tuple[float, float]:
    """Return median height, as of square pixels, and median width in pixels."""
    return fingerprint.height_px[1] * fingerprint.pixel_aspect, fingerprint.width_px[1]


def _growth(fingerprint: Fingerprint, box: Box) -> float:
    """Return by how much the letterbox makes a picture of median height and width larger; below 1 if smaller."""
    height, width = _median_size(fingerprint)
    return min(box.height / height, box.width / width)


def _fitting_size(fingerprint: Fingerprint, box: Box) -> tuple[int, int] | None:
    """Return the input of the same shape that enlarges least; None where it is not smaller than what is planned.

    An input that is within half a step of 32 px of the picture fits it.
    """
    growth = _growth(fingerprint, box)
    height, width = _to_step(box.height / growth), _to_step(box.width / growth)
    return (height, width) if height < box.height and width < box.width else None


def _enlarged(fingerprint: Fingerprint, box: Box, better: tuple[int, int] | None, smaller: str) -> str:
    """Say that most images are smaller than the input."""
    fitting = _fitting_size(fingerprint, box)
    if fitting is None:
        return ""
    (least_height, height, _), (least_width, width, _) = fingerprint.height_px, fingerprint.width_px
    chosen = "" if box.is_fixed else f"--set model.image_size={size_text(better or fitting)}"
    remedy = " or ".join(each for each in (chosen, smaller) if each)
    return (
        f"the images are smaller than the network's input of {box.text} px: median height {height:g} px and width "
        f"{width:g} px, smallest {least_height:g} and {least_width:g} px; enlarged {_growth(fingerprint, box):.2g} "
        f"times they hold no more information and cost more time{f'; compare with {remedy}' if remedy else ''}"
    )


def _smaller_variant(fingerprint: Fingerprint, box: Box) -> str:
    """Name the variant of the same series that fits the images best, where it is smaller."""
    fitting = _fitting_size(fingerprint, box) or (0, 0)
    series = box.variant.name.rstrip("0123456789")
    sides = {
        name: each.resolution_px
        for name, each in VARIANTS.items()
        if name.rstrip("0123456789") == series and each.resolution_px < box.variant.resolution_px
    }
    if not sides:
        return ""
    name = min(sides, key=lambda each: abs(sides[each] - max(fitting)))
    return f"--variant {name} ({sides[name]} px)"


def _other_scale(native: NativeInput, box: Box) -> str:
    """Say that the weights have seen objects in another size; the side of a rectangle is that of as large a square."""
    side, learnt = math.sqrt(box.height * box.width), native.resolution_px
    if not learnt or abs(side - learnt) <= OTHER_SCALE_MAX * learnt:
        return ""
    same = (box.height, box.width) if box.height == box.width else None
    fitting = (learnt, learnt) if same else (_to_step(box.height * learnt / side), _to_step(box.width * learnt / side))
    remedy = "" if box.is_fixed else f"; compare with --set model.image_size={size_text(fitting)}"
    change = f"{abs(side / learnt - 1):.0%} {'larger' if side > learnt else 'smaller'}"
    return (
        f"the weights were trained at {learnt} px, and the input is {box.text} px, {change}: "
        f"objects have another size than they learnt (Touvron et al. 2019){remedy}"
    )


def _better_rectangle(fingerprint: Fingerprint, box: Box) -> tuple[int, int] | None:
    """Return the input of the images' median shape where it is much better used; None where the box is good enough.

    It has about as many pixels as the box, but no more than a picture of median height and width.
    """
    if _padding(fingerprint, (box.height, box.width)) <= PADDED_MAX:
        return None
    shape = median_shape(fingerprint.shapes)
    height, width = math.sqrt(box.height * box.width * shape), math.sqrt(box.height * box.width / shape)
    median_height, median_width = _median_size(fingerprint)
    shrink = min(1.0, max(median_height / height, median_width / width))
    size = _to_step(height * shrink), _to_step(width * shrink)
    return size if _padding(fingerprint, size) <= PADDED_MAX else None


def _padding(fingerprint: Fingerprint, size: tuple[int, int]) -> float:
    return padded_fraction(fingerprint.shapes, size)


def _padded(fingerprint: Fingerprint, box: Box, better: tuple[int, int] | None) -> str:
    """Say that much of the input stays black."""
    padding = _padding(fingerprint, (box.height, box.width))
    if padding <= PADDED_MAX:
        return ""
    found = f"{padding:.0%} of an input of {box.text} px stays black on average: most images have another shape"
    if box.is_fixed:
        return f"{found}, and {box.variant.name} takes no rectangle; an EfficientNet does"
    if better is None:
        return f"{found}, but no rectangle fits most of them"
    left = _padding(fingerprint, better)
    return (
        f"{found} (median height {median_shape(fingerprint.shapes):.2f} times the width); "
        f"--set model.image_size={size_text(better)} (HEIGHTxWIDTH) leaves {left:.0%} black"
    )
