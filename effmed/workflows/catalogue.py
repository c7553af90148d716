"""What there is: variants and recipes. Light: no table, no network, no image."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effmed.errors import RecipeError
from effmed.learn.scaling import VARIANTS, Variant
from effmed.learn.weights.places import find_here
from effmed.learn.weights.sets import SETS, WeightSet, default_set
from effmed.recipe import Recipe, nearest, read_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = Path(__file__).parent.parent
MILLION, BILLION = 1e6, 1e9


def variants() -> list[dict[str, Any]]:
    """Return one row per variant; parameters and multiply-adds are counted from its stage table.

    ``weights`` holds a row per set of pretrained weights, the default first: the side in pixels that timm records for
    its training, its licence, and where on this machine it lies, "" where it does not.

    Raises:
        MachineError: $EFFMED_WEIGHTS is no folder, or a file there has no record to check it against.
    """
    return [_variant_row(item) for item in VARIANTS.values()]


def _variant_row(item: Variant) -> dict[str, Any]:
    counts = item.counts(item.resolution_px)
    return {
        "name": item.name,
        "phi": item.phi,
        "depth": item.depth,
        "width": item.width,
        "resolution_px": item.resolution_px,
        "train_px": item.train_px,
        "test_px": item.test_px,
        "parameters_m": None if counts is None else round(counts.parameters / MILLION, 2),
        "gmacs": None if counts is None else round(counts.multiply_adds / BILLION, 2),
        "dropout": item.dropout,
        "drop_path": item.drop_path,
        "network": item.network,
        "source": item.source,
        "weights": [_weights_row(each) for each in SETS.get(item.name, ())],
    }


def _weights_row(each: WeightSet) -> dict[str, Any]:
    found = find_here(each)
    return {
        "tag": each.tag,
        "resolution_px": each.resolution_px,
        "licence": each.licence,
        "default": each == default_set(each.variant),
        "here": "" if found is None else found.place,
    }


def weights_list() -> list[dict[str, Any]]:
    """Return one row per set of pretrained weights, each variant's default first."""
    return [
        {
            "variant": each.variant,
            "tag": each.tag,
            "default": each == default_set(each.variant),
            "training": each.training,
            "resolution_px": each.resolution_px,
            "imagenet_top1_percent": each.top1_percent,
            "licence": each.licence,
            "hub": each.hub_name,
            "reason": each.reason,
            "here": found.place if found is not None else "",
            "path": str(found.path) if found is not None else "",
        }
        for sets in SETS.values()
        for each, found in ((one, find_here(one)) for one in sets)
    ]


def recipes() -> dict[str, str]:
    """Return the shipped recipes, name → text."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(_recipe_folder().glob("*.yaml"))}


def find_recipe(name: str | None, settings: Sequence[str]) -> Recipe:
    """Read a shipped recipe by name, or a file ending in .yaml, and apply settings on top.

    Raises:
        RecipeError: There is no such recipe, or it is wrong.
    """
    if name is None:
        return read_recipe(None, settings)
    if name.endswith((".yaml", ".yml")):
        return read_recipe(Path(name), settings)
    shipped = list(recipes())
    if name not in shipped:
        problem = f"unknown recipe {name!r}; {nearest(name, shipped)}"
        raise RecipeError(problem, hint="'effmed recipes list' names the shipped ones; a file must end in .yaml")
    return read_recipe(_recipe_folder() / f"{name}.yaml", settings)


def package_version(name: str) -> str:
    """Return the installed version of a Python package, "" if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _recipe_folder() -> Path:
    """In the wheel the recipes lie inside the package, in a checkout beside it."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"
