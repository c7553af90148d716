"""From the plan to the best weights of one network, resumable after every checkpoint."""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from effmed.data.allocator import keep_memory
from effmed.errors import MachineError, PreemptedError
from effmed.learn.fitting import Epoch, fit_steps, head_of, read_features, start_training
from effmed.learn.fitting.checkpoints import KEPT, read_checkpoint, read_start, write_checkpoint, write_start
from effmed.learn.kernels.check import find_kernels
from effmed.learn.machine.precision import set_precision
from effmed.learn.machine.team import LostError
from effmed.learn.network import build_network
from effmed.learn.plan import for_processes
from effmed.run import Run, append_line, check_writable, write_json, write_text
from effmed.workflows.talk import progress_of
from effmed.workflows.training.showing.page import write_training_page
from effmed.workflows.training.showing.telling import Teller
from effmed.workflows.training.showing.tracking import Tracking
from effmed.workflows.training.stopping import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effmed.learn.fitting import Step, TrainingState
    from effmed.learn.loader import Examples
    from effmed.learn.plan import Plan
    from effmed.learn.weights.find import StartingWeights
    from effmed.workflows.talk import Talk
    from effmed.workflows.training.job import Job
    from effmed.workflows.training.stopping import Request

RUN_SPACE_MB = 20  # predictions, report and plots; checkpoints come on top
COPIES = 4  # of the weights in a checkpoint: these, the best, two moments of AdamW; one more where they are averaged
SECONDS_PER_MINUTE = 60.0
Weights: TypeAlias = dict[str, torch.Tensor]
Module: TypeAlias = torch.nn.Module


def learn(job: Job, start: StartingWeights, talk: Talk) -> tuple[Module, int]:
    """Train one network from the start; from its first checkpoint on, before the first step, it can be continued.

    Returns:
        The network with its best weights, and the best epoch.
    """
    run, decided = job.run, job.plan
    torch.manual_seed(decided.seed)
    network = build_network(decided, start.tensors, keep_head=start.head == decided.head)
    check_writable(run.folder, needed_mb=_space_mb(network, decided))
    state = start_training(_fitted(network, decided), decided, job.team)
    if decided.depth == "head":
        write_start(run.last, network)
    write_checkpoint(run.last, state, {})
    write_json(run.plan, decided)  # last: what has a plan can be continued
    return _learn(job, network, state, {}, talk)


def learn_on(job: Job, talk: Talk) -> tuple[Module, int]:
    """Continue one network after its last checkpoint; as ``learn`` otherwise."""
    job = _for_team(job, talk)
    run, decided = job.run, job.plan
    network = build_network(decided)
    state = start_training(_fitted(network, decided), decided, job.team)
    if decided.depth == "head":
        read_start(run.last, network)
    best, damaged = read_checkpoint(run.last, state)
    for sentence in damaged:
        talk.warn(f"{sentence}; the one before it is used")
    if job.team.is_first:
        _forget_after(run, state.epoch)
    talk.say(_where(state, decided))
    return _learn(job, network, state, best, talk)


def _for_team(job: Job, talk: Talk) -> Job:
    """Return the job with the plan for as many processes as there are now; the steps stay the same."""
    n_before, n_now = job.plan.processes, job.team.size
    if n_before == n_now:
        return job
    talk.say(f"planned for {n_before} processes, continued by {n_now}: each step is shared between these")
    changed = for_processes(job.plan, n_now)
    if job.team.is_first:
        write_json(job.run.plan, changed)
    return replace(job, plan=changed)


def _where(state: TrainingState, decided: Plan) -> str:
    within = f" and {len(state.losses)} steps" if state.losses else ""
    best = f"; the best was {state.best_epoch}" if state.best_epoch else ""
    return f"{state.epoch} of {decided.epochs} epochs{within} are done{best}"


def _forget_after(run: Run, epoch: int) -> None:
    """Take the lines of epochs that the checkpoint does not hold out of the history; they are run again.

    A last line that was being written when the process died is one of these.
    """
    if not run.history.is_file():
        return
    kept = []
    for line in run.history.read_text(encoding="utf-8").splitlines():
        try:
            number = json.loads(line)["number"]
        except json.JSONDecodeError:
            break
        if number <= epoch:
            kept.append(line)
    write_text(run.history, "".join(f"{line}\n" for line in kept))


def _space_mb(network: Module, decided: Plan) -> int:
    """Return the MB that the checkpoints of a run take while one more is written, and its bundle."""
    n_bytes: int = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    copies = (KEPT + 1) * (COPIES + int(decided.ema_decay > 0)) + 1
    return RUN_SPACE_MB + math.ceil(copies * n_bytes / 1e6)


def _fitted(network: Module, decided: Plan) -> Module:
    return head_of(network, decided) if decided.depth == "head" else network


def _learn(job: Job, network: Module, state: TrainingState, best: Weights, talk: Talk) -> tuple[Module, int]:
    """Train to the end and leave the best weights in the network."""
    torch.set_num_threads(job.plan.threads)
    set_precision(job.plan)
    if job.plan.keep_memory:
        keep_memory()
    kernels = find_kernels() if job.plan.fused_layers else None
    if kernels is not None and kernels.library is None:
        talk.warn(f"layers of torch take the place of effmed's own, the same but for rounding: {kernels.why}")
    if job.team.is_first:
        job.team.tell(str(job.run.folder))  # the others begin
    train, val = _examples(job, network, state, talk)
    state.used_s += time.perf_counter() - job.started
    watch = _Watch(job, state, best, talk)
    with listening() as request, _asked(request), watch.remembering_memory():
        for moment in fit_steps(state, train, val, job.plan, job.team):
            asked = job.team.tell(request.name)  # all leave together
            if isinstance(moment, Epoch):
                watch.ended(moment, asked)
            else:
                watch.stepped(moment, asked)
        watch.left(job.team.tell(request.name))  # a request may have come while the last epoch was told
    watch.over()
    if state.is_over:
        budget = f"train.time_budget_min = {job.plan.time_budget_min:g}"
        talk.warn(f"{budget}: time was over in epoch {state.epoch} of {job.plan.epochs}; the schedule went with it")
    state.network.load_state_dict(watch.best)
    return network, state.best_epoch


@contextmanager
def _asked(request: Request) -> Iterator[None]:
    """Take the loss of a process for what it is where all were asked to end: the first one has saved everything."""
    try:
        yield
    except LostError as error:
        if not request:
            raise
        raise PreemptedError(f"{request.name}: {error.problem}", hint=error.hint) from error


class _Watch:
    """What is kept and told while a network learns; only the first process writes."""

    def __init__(self, job: Job, state: TrainingState, best: Weights, talk: Talk) -> None:
        self.job = job
        self.state = state
        self.best = best
        self.talk = talk
        self.micro_batch = state.micro_batch
        self.teller = Teller(job.plan, state.epoch, talk)
        self.tracking = Tracking(job.run, job.plan, state.epoch, talk)
        self.saved = time.perf_counter()

    def ended(self, epoch: Epoch, asked: str) -> None:
        """Keep the best weights, a line of the history, and a checkpoint.

        Raises:
            PreemptedError: Somebody asked for an end, by the signal of that name.
        """
        if epoch.is_best:
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.state.judged.state_dict().items()}
        if self.job.team.is_first:
            append_line(self.job.run.history, json.dumps(asdict(epoch)))
            write_training_page(self.job.run, self.job.plan, is_over=False)
            self._save()
            self.teller.ended(epoch, self.state.used_s)
            self.tracking.tell()
        if asked:
            self._leave(f"{asked}: stopped after epoch {epoch.number}; a checkpoint is written")

    def over(self) -> None:
        """Tell and show that no epoch follows."""
        self.teller.over()
        if self.job.team.is_first:
            self.tracking.close(is_final=False)
            write_training_page(self.job.run, self.job.plan, is_over=True)

    def stepped(self, step: Step, asked: str) -> None:
        """Tell how far it is, save from time to time, and end where somebody asks for it.

        Raises:
            PreemptedError: Somebody did, by the signal of that name; a checkpoint is written where weights are numbers.
        """
        if not self.job.team.is_first:
            if asked:
                self._leave(f"{asked}: stopped in epoch {step.epoch} after step {step.step}")
            return
        self.teller.stepped(step)
        if self.state.micro_batch != self.micro_batch:
            self._remember_memory()
        due_s = self.job.plan.checkpoint_min * SECONDS_PER_MINUTE
        is_due = bool(due_s) and time.perf_counter() - self.saved >= due_s
        saves = bool(asked or is_due) and self.state.is_finite
        if saves:
            self._save()
        if asked:
            saved = "a checkpoint is written" if saves else "weights are no numbers, the checkpoint before is kept"
            self._leave(f"{asked}: stopped in epoch {step.epoch} after step {step.step}; {saved}")

    @contextmanager
    def remembering_memory(self) -> Iterator[None]:
        """Let a run whose memory ran out in one of several processes go on with fewer images at a time."""
        try:
            yield
        except MachineError:
            if self.state.micro_batch != self.micro_batch:
                self._remember_memory()
            raise

    def left(self, asked: str) -> None:
        """End before the final scores where somebody asks for it.

        Raises:
            PreemptedError: Somebody did; the checkpoint of the last epoch is written.
        """
        if asked:
            self._leave(f"{asked}: stopped after epoch {self.state.epoch}, the last; a checkpoint is written")

    def _leave(self, problem: str) -> None:
        self.job.team.tell("")  # once the first has saved: the end of one process may end the others
        raise PreemptedError(problem, hint=f"effmed train --resume --run {self.job.run.folder}")

    def _save(self) -> None:
        write_checkpoint(self.job.run.last, self.state, self.best)
        self.saved = time.perf_counter()

    def _remember_memory(self) -> None:
        """Write into the plan that fewer images are taken at a time than was planned."""
        self.micro_batch, planned = self.state.micro_batch, self.job.plan
        self.talk.warn(
            f"memory ran out: {self.micro_batch} images at a time from now on, {planned.batch_size} per step as before"
        )
        reason = f"memory ran out with more; {planned.micro_batch} were planned"
        changes = {"micro_batch": self.micro_batch, "reasons": planned.reasons | {"train.micro_batch": reason}}
        write_json(self.job.run.plan, planned.model_copy(update=changes))


def _examples(job: Job, network: Module, state: TrainingState, talk: Talk) -> tuple[Examples, Examples]:
    """Return what the training learns from and is judged by: images, or their features where the head learns alone.

    Then ``state`` remembers how long it takes to score val through the whole network.
    """
    train, val, decided = job.images("train"), job.images("val"), job.plan
    if decided.depth != "head":
        return train, val
    started = time.perf_counter()
    told = progress_of(talk, "computing features")
    learned = read_features(network, train, decided, n_views=decided.views, on_step=told)
    judged = read_features(network, val, decided)
    n_rows, passed_s = decided.views * len(train) + len(val), time.perf_counter() - started
    state.scoring_s = passed_s * len(val) / n_rows
    talk.say(f"features of {n_rows} images computed in {passed_s:.0f} s; the head learns from them")
    return learned, judged
