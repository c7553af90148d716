"""Bundle: the product of a training. weights.safetensors + bundle.json + CARD.md; no pickle, no patient, no path."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from effmed import __version__
from effmed.data.pixels import Preprocessing
from effmed.errors import BundleError
from effmed.evaluate.calibrators import Calibrator
from effmed.evaluate.decisions import Decisions, OperatingPoint, Referral, SetRule
from effmed.learn.ensemble import Ensemble
from effmed.learn.network import build_network
from effmed.learn.plan import Plan
from effmed.recipe import CalibrationUpdate
from effmed.run import replacing, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


WEIGHTS, SHEET, CARD = "weights.safetensors", "bundle.json", "CARD.md"
MEMBER_WEIGHTS = "weights-{number}.safetensors"  # of an ensemble, from 1
SHORT_HASH = 16
COPY_AGAIN = "copy the bundle again, all its files, or train again"


class Recalibration(BaseModel):
    """One change of a bundle's probabilities for another site; its network stayed.

    Attributes:
        update: What was changed, a ``calibration.update`` of the recipe.
        site: Name of the site's images, without their path.
        date: Day, as YYYY-MM-DD.
        n: Images of the site that were used.
        n_events: Images of the rarest class among them; None where no labels were used.
        from_bundle: Name of the run or folder whose bundle was changed.
        from_digest: SHA-256 of that bundle's ``bundle.json``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    update: CalibrationUpdate
    site: str
    date: str
    n: int
    n_events: int | None
    from_bundle: str
    from_digest: str

    @property
    def text(self) -> str:
        """In words."""
        events = "no labels" if self.n_events is None else f"{self.n_events} of the rarest class"
        origin = f"from bundle {self.from_bundle} ({self.from_digest[:SHORT_HASH]}…)"
        return f"{self.update} on site {self.site}, {self.n} images, {events}, on {self.date}, {origin}"


class Member(BaseModel):
    """One network of an ensemble.

    Attributes:
        name: Of its folder in the run, such as ``fold-1``.
        weights_sha256: As ``weights_digest`` gives it.
        best_epoch: Whose weights these are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    weights_sha256: str
    best_epoch: int


class BundleSheet(BaseModel):
    """What ``bundle.json`` says: all that prediction needs besides the weights.

    Attributes:
        weights_sha256: As ``weights_digest`` gives it; of an ensemble over the weights of all its networks.
        best_epoch: Whose weights these are; of an ensemble the latest of its networks'.
        members: The networks of an ensemble, in their order; none for one network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    effmed: str = __version__
    plan: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibrator: Calibrator
    operating_points: tuple[OperatingPoint, ...]
    sets: SetRule | None
    referral: Referral | None
    fingerprint_digest: str
    weights_sha256: str
    best_epoch: int
    n_patients: dict[str, int]
    recalibrations: tuple[Recalibration, ...] = ()
    members: tuple[Member, ...] = ()

    @property
    def epochs_text(self) -> str:
        """The best epoch, of an ensemble that of each network."""
        return ", ".join(str(each.best_epoch) for each in self.members) or str(self.best_epoch)

    @property
    def decisions(self) -> Decisions:
        """What turns probabilities into decisions."""
        return Decisions(self.operating_points, self.sets, self.referral)


@dataclass(frozen=True)
class Bundle:
    """A trained network and everything that turns an image into a calibrated probability.

    Attributes:
        sheet: The content of ``bundle.json``.
        plan: What was decided before training.
        network: In evaluation mode on the CPU; an ``Ensemble`` where the sheet has members.
    """

    sheet: BundleSheet
    plan: Plan
    network: torch.nn.Module


def weights_digest(network: torch.nn.Module) -> str:
    """Return the SHA-256 over names, shapes and bytes of all tensors: equal weights, equal digest."""
    digest = hashlib.sha256()
    for name, tensor in sorted(plain_tensors(network.state_dict()).items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_weights(network: torch.nn.Module, path: Path) -> None:
    """Write all tensors as safetensors, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain_tensors(network.state_dict())))


def plain_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring tensors to the CPU in the usual memory order, which safetensors asks for."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def write_bundle(folder: Path, sheet: BundleSheet, network: torch.nn.Module, card: str) -> None:
    """Write the files of a bundle; ``bundle.json`` last, because it makes the bundle valid."""
    for name, part in zip(_weights_files(sheet), _parts(network), strict=True):
        write_weights(part, folder / name)
    write_text(folder / CARD, card)
    write_json(folder / SHEET, sheet)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and rebuild its network.

    Raises:
        BundleError: A file is missing or damaged, or the bundle was written by a newer effmed.
    """
    sheet = read_sheet(folder)
    plan = Plan.model_validate(sheet.plan)
    parts = [_read_network(folder / name, plan, digest) for name, digest in _weights_files(sheet).items()]
    network = Ensemble(parts) if sheet.members else parts[0]
    if sheet.members and weights_digest(network) != sheet.weights_sha256:
        raise _other_weights(folder)
    return Bundle(sheet, plan, network.eval())


def _read_network(path: Path, plan: Plan, digest: str) -> torch.nn.Module:
    network = build_network(plan)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        problem = f"the weights of bundle {path.parent} cannot be read: {error}"
        raise BundleError(problem, hint=COPY_AGAIN) from error
    if weights_digest(network) != digest:
        raise _other_weights(path.parent)
    return network


def _other_weights(folder: Path) -> BundleError:
    problem = f"the weights of bundle {folder} are not those that bundle.json was written for"
    return BundleError(problem, hint=COPY_AGAIN)


def _weights_files(sheet: BundleSheet) -> dict[str, str]:
    """Return the name and the digest of each network's weights."""
    if not sheet.members:
        return {WEIGHTS: sheet.weights_sha256}
    numbered = enumerate(sheet.members, start=1)
    return {MEMBER_WEIGHTS.format(number=number): each.weights_sha256 for number, each in numbered}


def _parts(network: torch.nn.Module) -> list[torch.nn.Module]:
    return list(network.members) if isinstance(network, Ensemble) else [network]


def read_sheet(folder: Path) -> BundleSheet:
    """Read ``bundle.json`` alone.

    Raises:
        BundleError: It is missing, damaged, or another version's.
    """
    path = folder / SHEET
    try:
        sheet = BundleSheet.model_validate(json.loads(path.read_text(encoding="utf-8")))
        Plan.model_validate(sheet.plan)
    except FileNotFoundError as error:
        problem = f"{folder} is not a bundle: it holds no {SHEET}"
        raise BundleError(problem, hint="name a run folder or its bundle folder") from error
    except (OSError, ValueError, ValidationError) as error:
        problem = f"{path} cannot be understood by effmed {__version__}: {str(error).splitlines()[0]}"
        raise BundleError(problem, hint="use the effmed version that wrote it, or copy the bundle again") from error
    return sheet


def make_card(sheet: BundleSheet, plan: Plan, lines: dict[str, str]) -> str:
    """Return CARD.md: what the bundle is, what it was made from, how well it did, what it is not.

    Args:
        sheet: The bundle's sheet.
        plan: What was decided.
        lines: The main results, name → sentence.
    """
    changed = {f"recalibration {number}": each.text for number, each in enumerate(sheet.recalibrations, start=1)}
    said = (*plan.warnings, *ensemble_cautions(sheet, plan))
    warned = {f"warning {number}": text for number, text in enumerate(said, start=1)}
    rows = "\n".join(f"| {name} | {text} |" for name, text in {**changed, **warned, **lines}.items())
    fitted_on = sheet.calibrator.fitted_on
    calibration = sheet.calibrator.text + (f", fitted on {fitted_on}" if fitted_on else "")
    return f"""# {plan.variant} for {" / ".join(sheet.classes)}

A classifier of {plan.preprocessing.size_text} images, made with effmed {sheet.effmed}.
**Research software, not a medical device.**

| | |
|---|---|
| network | timm `{plan.network}`, {plan.n_outputs} output(s){_averaged(sheet, plan)} |
| starting weights | {plan.weights} {f"(licence {plan.weights_licence})" if plan.weights_licence else ""} |
| patients | {", ".join(f"{split} {count}" for split, count in sheet.n_patients.items())} |
| best epoch | {sheet.epochs_text} |
| calibration | {calibration} |
| decision | {_decision_text(sheet, plan)} |
{rows}

Read and use it: `effmed predict RUN --data FOLDER --out scores.csv`.
Weights SHA-256 {sheet.weights_sha256[:SHORT_HASH]}…, data fingerprint {sheet.fingerprint_digest[:SHORT_HASH]}….
"""


def ensemble_text(sheet: BundleSheet, plan: Plan) -> str:
    """Say of an ensemble what its networks are and how they become one; "" for one network."""
    n = len(sheet.members)
    if not n:
        return ""
    if plan.folds > 1:
        parts = f"each learned from {n - 1} of {n} folds of the patients and was tuned on the other one"
    else:
        parts = "on the same images, with other seeds"
    return f"mean of the logits of {n} networks, {parts}"


def ensemble_cautions(sheet: BundleSheet, plan: Plan) -> tuple[str, ...]:
    """Say what a reader must know of an ensemble whose networks were tuned on different images."""
    if not sheet.members or plan.folds == 1:
        return ()
    return (
        f"Calibrator and operating point were chosen on out-of-fold logits, each of one network of {len(sheet.members)}"
        ", and are applied to the mean of all, which scatters less: probabilities tend to be less extreme than the "
        "ensemble could justify.",
    )


def _averaged(sheet: BundleSheet, plan: Plan) -> str:
    text, n_views = ensemble_text(sheet, plan), plan.augment.test_views
    views = f"; mean of the logits of {n_views} views of each image" if n_views > 1 else ""
    return (f"; ensemble: {text}" if text else "") + views


def _decision_text(sheet: BundleSheet, plan: Plan) -> str:
    texts = [
        f"{point.class_name} where its probability is at least {point.threshold:.4f} "
        f"({point.rule}, chosen on {point.chosen_on} with {point.n_events} events)"
        for point in sheet.operating_points
    ]
    if plan.task == "multilabel":
        with_point = {point.class_name for point in sheet.operating_points}
        texts += [f"{name} never: it has no operating point" for name in sheet.classes if name not in with_point]
    return "; ".join(texts) or "the class with the largest probability"
