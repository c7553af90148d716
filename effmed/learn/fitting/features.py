"""Training the head alone: the backbone's features are computed once, over a few augmented views of each image."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from effmed.errors import RecipeError
from effmed.learn.fitting.steps import in_room
from effmed.learn.loader import VIEW_STREAM
from effmed.learn.machine.precision import exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from effmed.learn.loader import Images, Times
    from effmed.learn.plan import Plan


HEAD_TOLERANCE = 1e-3  # of the logits; what float32 leaves of another order of summation is a thousand times smaller
OTHER_DEPTH = "--set train.depth=1 trains the last stage too, without stored features"


@dataclass(frozen=True)
class Features:
    """What the frozen backbone makes of the images of one split.

    Attributes:
        values: float32 ``(view, image, feature)``; view 0 is the image as it is.
        truth: As of ``Images``.
        names: As of ``Images``.
        patients: As of ``Images``.
    """

    values: NDArray[np.float32]
    truth: NDArray[np.int64]
    names: tuple[str, ...] = ()
    patients: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def inputs(self, chosen: NDArray[np.int64], plan: Plan) -> torch.Tensor:
        """Return the features of images as they are, ``(image, feature)``."""
        return torch.from_numpy(self.values[0, chosen])

    def changed_inputs(self, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: Times = 0) -> torch.Tensor:
        """Return the features of one view of each image, drawn by seed, epoch and image; the next view each time."""
        view = np.random.default_rng((plan.seed, VIEW_STREAM, epoch)).integers(len(self.values), size=len(self))
        return torch.from_numpy(self.values[(view[chosen] + times) % len(self.values), chosen])


def head_of(network: torch.nn.Module, plan: Plan) -> torch.nn.Module:
    """Return dropout and the network's own last layer: ``(batch, feature)`` → ``(batch, n_outputs)`` logits.

    The layer is shared with the network: fitted in one, it is fitted in the other.
    """
    return torch.nn.Sequential(torch.nn.Dropout(plan.dropout), network.get_classifier())  # type: ignore[operator]  # timm's


def read_features(
    network: torch.nn.Module,
    images: Images,
    plan: Plan,
    *,
    n_views: int = 1,
    on_step: Callable[[int, int], None] | None = None,
) -> Features:
    """Run the backbone over all images, without dropout or gradients, and keep what its pooling gives.

    Args:
        network: The whole network, on the plan's device afterwards.
        images: Of one split.
        plan: What was decided.
        n_views: Views of each image: the image as it is, and augmented ones.
        on_step: Told ``(batches done, batches in all)``.

    Raises:
        RecipeError: The network gives no features between pooling and its last layer.
    """
    network.to(plan.device).eval()
    starts = range(0, len(images), plan.micro_batch)
    values = np.empty((0, 0, 0), dtype=np.float32)
    for k, (view, start) in enumerate(itertools.product(range(n_views), starts)):
        chosen = np.arange(start, min(start + plan.micro_batch, len(images)))
        batch = images.inputs(chosen, plan) if view == 0 else images.changed_inputs(chosen, plan, view)
        pooled = _pooled(network, batch.to(plan.device), plan)
        if k == 0:
            values = np.empty((n_views, len(images), pooled.shape[1]), dtype=np.float32)
        values[view, chosen] = pooled
        if on_step is not None:
            on_step(k + 1, n_views * len(starts))
    return Features(values, images.truth, images.names, images.patients)


def _pooled(network: torch.nn.Module, batch: torch.Tensor, plan: Plan) -> NDArray[np.float32]:
    with torch.inference_mode(), exact():
        pooled = in_room(lambda part: network.forward_head(network.forward_features(part), pre_logits=True), batch)  # type: ignore[operator]  # timm's
    if pooled.ndim != 2:
        problem = f"{plan.network} gives {pooled.ndim - 1} axes of features before its head, not one"
        raise RecipeError(problem, hint=OTHER_DEPTH)
    return pooled.float().cpu().numpy()


def check_head(network: torch.nn.Module, plan: Plan) -> None:
    """Compare, on one image of noise, the last layer on pooled features with the whole network.

    Args:
        network: The whole network on the CPU, with its weights; left as for evaluation.
        plan: What was decided.

    Raises:
        RecipeError: The last layer does not take the features, or the network does more between the two: a head that
            was fitted on stored features would be wrong in it.
    """
    spec = plan.preprocessing
    noise = torch.rand(1, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(plan.seed))
    network.eval()
    try:
        with torch.inference_mode():
            whole = network(noise)
            pooled = network.forward_head(network.forward_features(noise), pre_logits=True)  # type: ignore[operator]  # timm's
            apart = head_of(network, plan).eval()(pooled)
    except (IndexError, RuntimeError) as error:
        problem = f"the last layer of {plan.network} does not take its pooled features: {str(error).splitlines()[0]}"
        raise RecipeError(problem, hint=OTHER_DEPTH) from error
    if apart.shape != whole.shape or float((apart - whole).abs().max()) > HEAD_TOLERANCE * float(whole.abs().max()):
        problem = f"{plan.network} does more between its pooled features and its last layer than can be stored"
        raise RecipeError(problem, hint=OTHER_DEPTH)
