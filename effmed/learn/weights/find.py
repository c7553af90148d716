"""From ``model.weights`` to starting weights: run, file, $EFFMED_WEIGHTS, package, cache, hub, in this order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timm.models import get_pretrained_cfg, list_pretrained

from effmed.errors import BundleError, RecipeError
from effmed.learn.bundle import SHEET, WEIGHTS, read_bundle, read_sheet
from effmed.learn.network import made_for_px
from effmed.learn.plan import Head, NativeInput, Plan
from effmed.learn.weights.hub import LIMITS, Limits, Listener, fetch
from effmed.learn.weights.places import downloads_folder, find_here
from effmed.learn.weights.records import check_sha256, file_sha256, read_record
from effmed.learn.weights.sets import HALF, SETS, UNKNOWN_LICENCE, WeightSet, find_set
from effmed.learn.weights.tensors import StateDict, map_lite_names, read_tensors
from effmed.run import open_run

if TYPE_CHECKING:
    from effmed.learn.scaling import Variant

LITE_STEM = "_conv_stem.weight"  # a file under the names of EfficientNet-Lite's authors holds it
SHORT_HASH = 16


@dataclass(frozen=True)
class StartingWeights:
    """What a network starts from.

    Attributes:
        tensors: By timm's parameter name; None to start from scratch.
        head: What the head among them was trained for; None where it is of no use (ImageNet's classes, unknown ones).
    """

    tensors: StateDict | None
    head: Head | None


def choose_set(variant: Variant, setting: str) -> WeightSet:
    """Return the set of weights that "auto" or the tag of a set stands for.

    Raises:
        RecipeError: timm knows no such network, or the variant has no such set.
    """
    if variant.name in SETS:
        return find_set(variant.name, setting)
    network = variant.network if setting == "auto" else f"{variant.architecture}.{setting}"
    config = get_pretrained_cfg(network)
    if config is None:
        problem = f"timm knows no network {network!r}"
        raise RecipeError(problem, hint="'effmed variants' lists the variants; timm.list_models() all of timm's names")
    return WeightSet(
        variant=variant.name,
        network=f"{variant.architecture}.{config.tag}" if config.tag else network,
        training=config.tag or "",
        resolution_px=config.input_size[-1],
        mean=tuple(config.mean),
        std=tuple(config.std),
        licence=config.license or UNKNOWN_LICENCE,
        repository=config.hf_hub_id or "",
    )


def find_native_input(variant: Variant, setting: str) -> NativeInput:
    """Decide where the weights will come from, without reading them or the network.

    Args:
        variant: What will be built.
        setting: ``model.weights``: "auto", "none", the tag of a set, a file, or the folder of a run or bundle.

    Raises:
        RecipeError: What is named does not exist, or timm knows no such network.
        BundleError: The run is not complete, or its network is another variant's.
        MachineError: $EFFMED_WEIGHTS is no folder, or a record beside a file is damaged.
    """
    if setting == "none":
        return NativeInput("none", "", *HALF, resolution_px=made_for_px(variant))
    if not _is_set(variant, setting):
        path = Path(setting).expanduser()
        bundle = _bundle_folder(path)
        return _native_bundle(variant, bundle) if bundle is not None else _native_file(variant, path)
    chosen = choose_set(variant, setting)
    found = find_here(chosen)
    wanted = f"{chosen.network}: {chosen.reason}" if chosen.reason else chosen.network
    if found is None:
        _check_published(chosen)
        return _native(chosen, f"hub {chosen.hub_name}", f"{wanted}; to be downloaded")
    if found.package is not None:
        mean, std = found.package.mean, found.package.std
        return NativeInput(found.place, chosen.licence, mean, std, resolution_px=chosen.resolution_px, why=wanted)
    return _native(chosen, f"{found.place}: {chosen.network}", wanted)


def read_weights(variant: Variant, setting: str, listener: Listener, *, limits: Limits = LIMITS) -> StartingWeights:
    """Read the weights that ``find_native_input`` announced; download them where they are not on this machine.

    Args:
        variant: What will be built.
        setting: ``model.weights``.
        listener: Who is told of a download, and of files that nothing is recorded of.
        limits: How long the hub may keep us waiting.

    Raises:
        MachineError: The hub cannot be reached, or a file is damaged.
        RecipeError: A named file holds no weights, or another network's.
        BundleError: A named run or bundle is not complete, damaged, or another variant's.
    """
    if setting == "none":
        return StartingWeights(None, None)
    if _is_set(variant, setting):
        return StartingWeights(_read_set(variant, setting, listener, limits), None)
    path = Path(setting).expanduser()
    folder = _bundle_folder(path)
    if folder is None:
        return StartingWeights(_read_file(variant, path, listener), None)
    _native_bundle(variant, folder)  # whether it is one network, and the variant's
    bundle = read_bundle(folder)
    return StartingWeights(bundle.network.state_dict(), bundle.plan.head)


def _check_published(chosen: WeightSet) -> None:
    if chosen.network not in list_pretrained(f"{chosen.network.partition('.')[0]}.*"):
        problem = f"nobody has published weights of {chosen.network} that timm knows"
        raise RecipeError(problem, hint="--set model.weights=none trains from scratch; or name a file: --weights FILE")


def _is_set(variant: Variant, setting: str) -> bool:
    """Whether a setting chooses one of the variant's sets; a file of that name is meant by ./name."""
    if setting == "auto" or any(each.tag == setting for each in SETS.get(variant.name, ())):
        return True
    return f"{variant.architecture}.{setting}" in list_pretrained(f"{variant.architecture}.*")


def _bundle_folder(path: Path) -> Path | None:
    """Return the bundle that a path names: a bundle, a run, or a bundle's file of weights; None where it names none."""
    if path.name == WEIGHTS and (path.parent / SHEET).is_file():
        return path.parent
    if not path.is_dir():
        return None
    return path if (path / SHEET).is_file() else open_run(path).bundle


def _native_bundle(variant: Variant, folder: Path) -> NativeInput:
    sheet = read_sheet(folder)
    plan = Plan.model_validate(sheet.plan)
    _check_architecture(variant, plan, folder)
    if sheet.members:
        problem = f"bundle {folder} is an ensemble of {len(sheet.members)} networks; a training starts from one"
        raise BundleError(problem, hint=f"name one of its run, such as RUN/{sheet.members[0].name}")
    return NativeInput(
        f"bundle {_bundle_name(folder)}",
        plan.weights_licence or UNKNOWN_LICENCE,
        plan.mean,
        plan.std,
        resolution_px=round(math.sqrt(plan.preprocessing.height * plan.preprocessing.width)),
        why=f"an earlier training that started from {plan.weights}",
        head=plan.head,
    )


def _bundle_name(folder: Path) -> str:
    """Return a name without a path: a run's bundle is called as the run."""
    resolved = folder.resolve()
    return resolved.parent.name if resolved.name == "bundle" else resolved.name


def _check_architecture(variant: Variant, plan: Plan, folder: Path) -> None:
    if plan.network.partition(".")[0] != variant.architecture:
        problem = f"bundle {folder} holds {plan.variant} ({plan.network}), not {variant.name}"
        raise BundleError(problem, hint=f"--variant {plan.variant}, or name weights of {variant.name}")


def _native_file(variant: Variant, path: Path) -> NativeInput:
    if not path.is_file():
        tags = ", ".join(each.tag for each in SETS.get(variant.name, ()))
        problem = f"model.weights = {str(path)!r} is not a file"
        also = f", one of the sets {tags}," if tags else ","
        raise RecipeError(problem, hint=f"name a .safetensors or .pth file, a run folder{also} 'auto' or 'none'")
    record, origin = read_record(path), f"file {path.name}"
    if record is not None:
        size, why = record.resolution_px, f"recorded as {record.network}"
        return NativeInput(origin, record.licence, record.mean, record.std, resolution_px=size, why=why)
    digest = f"SHA-256 {file_sha256(path)[:SHORT_HASH]}…"
    known = _set_of_file(variant, path)
    if known is not None:
        return _native(known, origin, f"{digest}, by its name {known.network}")
    assumed = choose_set(variant, "auto")
    why = f"{digest}, of unknown training: mean, deviation and resolution of {assumed.network} are assumed"
    return NativeInput(origin, UNKNOWN_LICENCE, assumed.mean, assumed.std, resolution_px=assumed.resolution_px, why=why)


def _set_of_file(variant: Variant, path: Path) -> WeightSet | None:
    """Return the set whose file is called so: as effmed and timm name it, or as timm's older releases did."""
    for network in list_pretrained(f"{variant.architecture}.*"):
        config = get_pretrained_cfg(network)
        old_name = str(config.url or "").rpartition("/")[2] if config is not None else ""
        if path.stem == network or path.name == old_name:
            return choose_set(variant, network.partition(".")[2])
    return None


def _native(chosen: WeightSet, origin: str, why: str) -> NativeInput:
    size = chosen.resolution_px
    return NativeInput(origin, chosen.licence, chosen.mean, chosen.std, resolution_px=size, why=why)


def _read_set(variant: Variant, setting: str, listener: Listener, limits: Limits) -> StateDict:
    chosen = choose_set(variant, setting)
    found = find_here(chosen)
    if found is None:
        fetch(chosen, downloads_folder(), listener, limits=limits)
        return read_tensors(downloads_folder() / chosen.file_name)
    check_sha256(found.path, found.sha256, remedy=found.remedy)
    tensors = read_tensors(found.path)
    return map_lite_names(tensors, variant.architecture) if found.package is not None else tensors


def _read_file(variant: Variant, path: Path, listener: Listener) -> StateDict:
    _native_file(variant, path)  # whether there is a file
    record = read_record(path)
    if record is not None:
        check_sha256(path, record.sha256, remedy="copy or fetch the file again")
    else:
        listener.say(f"nothing is recorded of weights {path}; their SHA-256 is {file_sha256(path)}")
    tensors = read_tensors(path)
    return map_lite_names(tensors, variant.architecture) if LITE_STEM in tensors else tensors
