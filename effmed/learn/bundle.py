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
from effmed.learn.network import build_network
from effmed.learn.plan import Plan
from effmed.recipe import CalibrationUpdate
from effmed.run import replacing, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


WEIGHTS, SHEET, CARD = "weights.safetensors", "bundle.json", "CARD.md"
SHORT_HASH = 16


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


class BundleSheet(BaseModel):
    """What ``bundle.json`` says: all that prediction needs besides the weights."""

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
        network: In evaluation mode on the CPU.
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
    """Write the three files of a bundle; ``bundle.json`` last, because it makes the bundle valid."""
    write_weights(network, folder / WEIGHTS)
    write_text(folder / CARD, card)
    write_json(folder / SHEET, sheet)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and rebuild its network.

    Raises:
        BundleError: A file is missing or damaged, or the bundle was written by a newer effmed.
    """
    sheet = read_sheet(folder)
    plan = Plan.model_validate(sheet.plan)
    network = build_network(plan)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        problem = f"the weights of bundle {folder} cannot be read: {error}"
        raise BundleError(problem, hint="copy the bundle again, all three files, or train again") from error
    if weights_digest(network) != sheet.weights_sha256:
        problem = f"the weights of bundle {folder} are not those that bundle.json was written for"
        raise BundleError(problem, hint="copy the bundle again, all three files, or train again")
    return Bundle(sheet, plan, network.eval())


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
    warned = {f"warning {number}": text for number, text in enumerate(plan.warnings, start=1)}
    rows = "\n".join(f"| {name} | {text} |" for name, text in {**changed, **warned, **lines}.items())
    fitted_on = sheet.calibrator.fitted_on
    calibration = sheet.calibrator.text + (f", fitted on {fitted_on}" if fitted_on else "")
    return f"""# {plan.variant} for {" / ".join(sheet.classes)}

A classifier of {plan.preprocessing.size_text} images, made with effmed {sheet.effmed}.
**Research software, not a medical device.**

| | |
|---|---|
| network | timm `{plan.network}`, {plan.n_outputs} output(s) |
| starting weights | {plan.weights} {f"(licence {plan.weights_licence})" if plan.weights_licence else ""} |
| patients | {", ".join(f"{split} {count}" for split, count in sheet.n_patients.items())} |
| best epoch | {sheet.best_epoch} |
| calibration | {calibration} |
| decision | {_decision_text(sheet, plan)} |
{rows}

Read and use it: `effmed predict RUN --data FOLDER --out scores.csv`.
Weights SHA-256 {sheet.weights_sha256[:SHORT_HASH]}…, data fingerprint {sheet.fingerprint_digest[:SHORT_HASH]}….
"""


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
