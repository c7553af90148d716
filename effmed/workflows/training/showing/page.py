"""``training.html``: the history of a run with curves, to be opened while it trains."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from effmed.evaluate.render.training import Course, render_training
from effmed.run import write_text

if TYPE_CHECKING:
    from effmed.learn.plan import Plan
    from effmed.run import Run


def write_training_page(run: Run, plan: Plan, *, is_over: bool) -> None:
    """Write the page whole; what it shows is read from the history, so a continued run shows all of its epochs.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    course = Course(
        run=run.folder.resolve().name,
        metric=plan.metric,
        n_epochs=plan.epochs,
        facts=plan_facts(plan),
        is_over=is_over,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    write_text(run.training_page, render_training(read_history(run), course))


def read_history(run: Run) -> list[dict[str, Any]]:
    """Return the lines of the history; none before the first epoch."""
    if not run.history.is_file():
        return []
    return [json.loads(line) for line in run.history.read_text(encoding="utf-8").splitlines()]


def plan_facts(plan: Plan) -> dict[str, str]:
    """Return the plan in short; where the weights come from may be a folder, so only their kind is told."""
    images = f"{plan.n_train} train, {plan.n_val} val, {plan.n_test} test"
    size = plan.preprocessing
    part = plan.micro_batch < plan.batch_size
    return {
        "variant": f"{plan.variant}, {size.size_text}, {size.channels} channel{'s' if size.channels > 1 else ''}",
        "starts from": plan.weights.split(" ")[0] if plan.is_fine_tuned else "no weights",
        "what learns": {"all": "all of the network", "head": "the head"}.get(str(plan.depth), f"{plan.depth} stages"),
        "images": images,
        "images per step": f"{plan.batch_size}{f', {plan.micro_batch} at a time' if part else ''}",
        "peak learning rate": f"{plan.learning_rate:g}",
        "loss": plan.loss,
        "rare classes": plan.imbalance.method,
        "epochs": f"{plan.epochs}, or until val is no better for {plan.patience}",
        "device": f"{plan.device_name}, {plan.precision}",
    }
