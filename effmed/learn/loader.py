"""Cached pixels → batches: shuffled and augmented for training, in order otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from queue import Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import torch

from effmed.learn.machine.team import ALONE
from effmed.learn.shrinking import shrink, side_factor
from effmed.learn.transforms import (
    changed_on_device,
    draw_change,
    make_augmentation,
    normalised,
    packed,
    stacked,
    strengthened,
    to_input,
)
from effmed.learn.transforms.cpu import changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from effmed.data.cache import CachedPixels
    from effmed.learn.machine.team import Team
    from effmed.learn.plan import Plan
    from effmed.learn.transforms import Change

ORDER_STREAM, AUGMENT_STREAM, VIEW_STREAM = 0, 1, 2  # separate random streams of one seed
AHEAD = 3  # batches that are ready while a GPU computes
Times: TypeAlias = "NDArray[np.int64] | int"  # how often each example came before in the epoch
LOOK_S = 0.5  # seconds after which a thread looks whether its batches are still wanted


class Examples(Protocol):
    """What batches are made of: images, or what a frozen backbone makes of them."""

    @property
    def truth(self) -> NDArray[np.int64]:
        """``(n,)`` class index of each; of several labels ``(n, label)`` 1, 0, or -1 where not known."""

    @property
    def names(self) -> tuple[str, ...]:
        """What people call each; or none."""

    @property
    def patients(self) -> NDArray[np.generic] | None:
        """``(n,)`` whom each shows, None where they are independent."""

    def __len__(self) -> int: ...

    def inputs(self, chosen: NDArray[np.int64], plan: Plan) -> torch.Tensor:
        """Return what the network takes of some of them, unchanged by chance."""

    def changed_inputs(self, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: Times = 0) -> torch.Tensor:
        """Return the same with changes that depend on seed, epoch, image and how often it came before in the epoch."""


@dataclass(frozen=True)
class Images:
    """The preprocessed images of one split.

    Attributes:
        pixels: ``(image, height, width)`` or ``(image, height, width, channel)``: the cache, memory-mapped.
        rows: ``(n,)`` which of the cache's images belong to the split.
        truth: ``(n,)`` class index of each; of several labels ``(n, label)`` 1, 0, or -1 where not known.
        names: Of the images, for people; or none.
        patients: ``(n,)``, or None where images are independent.
    """

    pixels: NDArray[np.generic] | CachedPixels
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    names: tuple[str, ...] = ()
    patients: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def inputs(self, chosen: NDArray[np.int64], plan: Plan) -> torch.Tensor:
        """Return images as the network takes them, ``(image, channel, height, width)``."""
        return to_input(self.pixels[self.rows[chosen]], plan.mean, plan.std)

    def changed_inputs(self, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: Times = 0) -> torch.Tensor:
        """Return images with changes that depend on seed, epoch, image and how often it came before in the epoch."""
        drawn = self._drawn(chosen, plan, epoch, times)
        return to_input(np.stack([changed(pixels, change) for pixels, change in drawn]), plan.mean, plan.std)

    def changes(
        self, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: Times = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images as they are, and the changes of each: the device makes ``changed_inputs`` of them."""
        drawn = self._drawn(chosen, plan, epoch, times)
        return stacked(np.stack([pixels for pixels, _ in drawn])), packed([change for _, change in drawn])

    def _drawn(
        self, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: Times
    ) -> list[tuple[NDArray[np.generic], Change]]:
        seed, strengths, factor = (plan.seed, AUGMENT_STREAM, epoch), plan.imbalance.augment, side_factor(plan, epoch)
        by_strength = {each: make_augmentation(strengthened(plan.augment, each * factor)) for each in {1.0, *strengths}}
        found = []
        for i, n_before in zip(chosen, np.broadcast_to(times, len(chosen)), strict=True):
            again = (int(n_before),) if n_before else ()
            pixels = shrink(self.pixels[self.rows[i]], factor)
            strength = strengths[int(self.truth[i])] if self.truth.ndim == 1 else 1.0
            height, width = pixels.shape[:2]
            found.append((pixels, draw_change(by_strength[strength], (height, width), seed=(*seed, int(i), *again))))
        return found


@dataclass(frozen=True)
class Batch:
    """What one step learns from; this process's part of it.

    Attributes:
        chosen: ``(n,)`` numbers of the examples of the whole step, over all processes.
        inputs: This process's, as the network takes them; or images as they are, where ``changes`` holds any.
        changes: What the device does with each of the images, ``(image, number)``; None where it is done.
        truth: Of these.
        n_terms: What the added-up loss of the step is divided by: its images, or its known labels.
    """

    chosen: NDArray[np.int64]
    inputs: torch.Tensor
    changes: torch.Tensor | None
    truth: torch.Tensor
    n_terms: int

    def parts(self, n_parts: int, plan: Plan) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield inputs as the network takes them, on the plan's device, and truth, in even parts."""
        changes = [None] * n_parts if self.changes is None else self.changes.tensor_split(n_parts)
        parts = zip(self.inputs.tensor_split(n_parts), changes, self.truth.tensor_split(n_parts), strict=True)
        for inputs, drawn, truth in parts:
            there = inputs.to(plan.device, non_blocking=True)
            if drawn is not None:
                there = normalised(changed_on_device(there, drawn), plan.mean, plan.std)
            yield there, truth.to(plan.device, non_blocking=True)

    def pinned(self) -> Batch:
        """Return the batch in memory that a GPU reads by itself."""
        changes = None if self.changes is None else self.changes.pin_memory()
        inputs = self.inputs if self.inputs.is_cuda else self.inputs.pin_memory()
        return replace(self, inputs=inputs, changes=changes, truth=self.truth.pin_memory())


def train_batches(examples: Examples, plan: Plan, epoch: int, *, first: int = 0, team: Team = ALONE) -> Iterator[Batch]:
    """Yield the batches of one epoch, in an order and with changes that depend on seed and epoch only.

    Args:
        examples: Of train.
        plan: What was decided.
        epoch: 0 for the first.
        first: Steps of the epoch that are done already.
        team: The processes that share each batch.
    """
    members = batch_members(examples, plan, epoch, team.size)
    times = np.split(came_before(np.concatenate(members)), np.cumsum([len(chosen) for chosen in members])[:-1])
    for chosen, n_before in list(zip(members, times, strict=True))[first:]:
        own = team.share(chosen)
        known = examples.truth[chosen] >= 0
        inputs, changes = _prepare(examples, own, plan, epoch, team.share(n_before))
        yield Batch(chosen, inputs, changes, torch.from_numpy(examples.truth[own]), max(1, int(known.sum())))


def _prepare(
    examples: Examples, chosen: NDArray[np.int64], plan: Plan, epoch: int, times: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return inputs and what a GPU has still to do with them: it changes images faster than the CPU reads them."""
    if plan.device == "cuda" and isinstance(examples, Images):
        return examples.changes(chosen, plan, epoch, times)
    return examples.changed_inputs(chosen, plan, epoch, times), None


def came_before(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each number of a sequence stands before itself: 0 where it is there for the first time."""
    by_number = np.argsort(order, kind="stable")
    ordered = order[by_number]
    counts = np.empty(len(order), dtype=np.int64)
    counts[by_number] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return counts


def batch_members(examples: Examples, plan: Plan, epoch: int, n_processes: int = 1) -> list[NDArray[np.int64]]:
    """Return the numbers of the examples of each step of an epoch.

    A last batch that has less than two images for each process is left out where it is not the only one: batch
    normalisation cannot learn from one.
    """
    order = _order(examples, plan, epoch)
    batches = [order[start : start + plan.batch_size] for start in range(0, len(order), plan.batch_size)]
    return batches if len(batches) == 1 or len(batches[-1]) >= 2 * n_processes else batches[:-1]


def _order(examples: Examples, plan: Plan, epoch: int) -> NDArray[np.int64]:
    """Return as many numbers of examples as there are: each once, or drawn again and again where classes are."""
    chance, drawn = np.random.default_rng((plan.seed, ORDER_STREAM, epoch)), plan.imbalance.drawn
    if set(drawn) == {1.0}:
        return chance.permutation(len(examples))
    factors = np.asarray(drawn)[examples.truth]
    return chance.choice(len(examples), size=len(examples), p=factors / factors.sum())


def ordered_batches(examples: Examples, plan: Plan) -> Iterator[torch.Tensor]:
    """Yield input batches of all examples in their order, unchanged by chance."""
    return batches_of(examples, np.arange(len(examples)), plan)


def batches_of(examples: Examples, rows: NDArray[np.int64], plan: Plan) -> Iterator[torch.Tensor]:
    """Yield input batches of some examples in their order, unchanged by chance."""
    for start in range(0, len(rows), plan.micro_batch):
        yield examples.inputs(rows[start : start + plan.micro_batch], plan)


def ahead(batches: Iterator[Batch], device: str) -> Iterator[Batch]:
    """Prepare batches while a GPU computes, in memory that it reads by itself; on a CPU they come one by one.

    There the thread would only take the cores from the network.
    """
    if device != "cuda":
        return batches
    return prefetched(batch.pinned() for batch in batches)  # pragma: no cover  needs a GPU


def prefetched(batches: Iterator[Batch], depth: int = AHEAD) -> Iterator[Batch]:
    """Yield the same batches, made by a thread up to ``depth`` ahead; what it raises is raised here."""
    made: Queue[Batch | BaseException | None] = Queue(depth)
    wanted = Event()
    wanted.set()

    def work() -> None:
        try:
            for batch in batches:
                if not _put(made, batch, wanted):
                    return
        except Exception as error:
            _put(made, error, wanted)
        else:
            _put(made, None, wanted)

    Thread(target=work, daemon=True).start()
    try:
        while (batch := made.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        wanted.clear()


def _put(made: Queue[Batch | BaseException | None], item: Batch | BaseException | None, wanted: Event) -> bool:
    """Put an item in a queue as soon as there is room; return False where nobody wants it any more."""
    while wanted.is_set():
        try:
            made.put(item, timeout=LOOK_S)
        except Full:
            continue
        return True
    return False
