"""What the network sees: size, channels, grey levels, frames; and what one prediction is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from effmed.data.pixels import Preprocessing
from effmed.data.pixels.window import parse_windows
from effmed.errors import RecipeError
from effmed.learn.plan.values import SET_BY_RECIPE

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.learn.plan.values import Reasons
    from effmed.recipe import Recipe

Depth: TypeAlias = Literal["uint8", "uint16"]
BITS_PER_BYTE = 8


def plan_frames(recipe: Recipe, reasons: Reasons) -> dict[str, object]:
    """Return what files of several frames mean."""
    settings = recipe.data
    is_open, is_mean = settings.frames == "error", settings.frame_rule == "mean"
    unknown = "the recipe does not say what files of several frames mean: they are refused"
    usual = "weighs all frames alike" if settings.frames == "all" else "without effect: data.frames is not 'all'"
    reasons.sentences["data.frames"] = unknown if is_open else SET_BY_RECIPE
    reasons.sentences["data.frame_rule"] = usual if is_mean else SET_BY_RECIPE
    return {"frames": settings.frames, "frame_rule": settings.frame_rule}


def plan_level(recipe: Recipe, n_classes: int, task: str, reasons: Reasons) -> dict[str, str]:
    """Return what one prediction is about; by which rule is refused where it has no meaning."""
    data = recipe.data
    if data.level_rule == "noisy-or" and task == "multiclass":
        problem = f"data.level_rule = noisy-or is for two classes, not for {n_classes} that exclude each other"
        raise RecipeError(problem, hint="--set data.level_rule=mean, or max")
    is_image = data.level == "image"
    without = "without effect: one prediction is about one image"
    reasons.sentences["data.level"] = "every image is a prediction of its own" if is_image else SET_BY_RECIPE
    reasons.sentences["data.level_rule"] = (
        without if is_image else f"{data.level_rule} over the images of a {data.level}"
    )
    return {"level": data.level, "level_rule": data.level_rule}


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Channels that are not three take the mean over RGB, which is exact where the three are equal."""
    return values if channels == len(values) else (sum(values) / len(values),) * channels


def plan_preprocessing(
    recipe: Recipe, fingerprint: Fingerprint, size: tuple[int, int], reasons: Reasons
) -> Preprocessing:
    """Return the size (height and width), channels and grey levels of the network's input.

    Raises:
        RecipeError: ``data.window`` is not a window, or contradicts ``model.channels``.
    """
    n_windows = len(parse_windows(recipe.data.window))
    channels = _plan_channels(recipe, fingerprint, n_windows, reasons)
    is_grey = channels == 1 or n_windows > 1
    is_deep = is_grey and any(int(bits) > BITS_PER_BYTE for bits in fingerprint.bits)
    why = "images have more than 8 bits: 16 are kept" if is_deep else "no grey image has more than 8 bits"
    automatic: Depth = "uint16" if is_deep else "uint8"
    depth = reasons.choose("data.depth", recipe.data.depth, automatic, why)
    return Preprocessing(
        height=size[0],
        width=size[1],
        channels=channels,
        depth=depth,
        window=recipe.data.window,
        max_megapixels=recipe.data.max_megapixels,
        reduced_decode=recipe.data.reduced_decode,
    )


def _plan_channels(recipe: Recipe, fingerprint: Fingerprint, n_windows: int, reasons: Reasons) -> int:
    wanted = recipe.model.channels
    if n_windows > 1:
        why = f"data.window names {n_windows} windows, each of which is a channel"
        if wanted not in ("auto", n_windows):
            raise RecipeError(f"model.channels = {wanted}, but {why}", hint="leave model.channels at auto")
        reasons.sentences["model.channels"] = why
        return n_windows
    colour = fingerprint.colour_fraction > 0
    why = f"{fingerprint.colour_fraction:.0%} of the images are in colour" if colour else "all images are grey"
    return reasons.choose("model.channels", wanted, 3 if colour else 1, why)
