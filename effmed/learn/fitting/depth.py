"""How deep training reaches: which stages learn, how fast each, and what their batch normalisation does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timm.models._manipulate import group_with_matcher  # timm.models lists only what calls it
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # what all of them are, timm's own too

from effmed.errors import RecipeError

if TYPE_CHECKING:
    from effmed.learn.plan import Plan

HEAD_LEARNING_RATE_FACTOR = 4.0  # the new head starts from nothing, the backbone does not
Group = dict[str, object]


def stage_numbers(network: nn.Module) -> dict[str, int]:
    """Number the stages of a network from its input to its head.

    Args:
        network: Of timm.

    Returns:
        By the name of each parameter: 0 for the stem, and so on; the head has the largest. An EfficientNet's last
        convolution belongs to its last stage. A network that timm does not divide is one stage and its head.
    """
    head = {id(parameter) for parameter in network.get_classifier().parameters()}  # type: ignore[operator]  # timm's
    names = [name for name, parameter in network.named_parameters() if id(parameter) not in head]
    numbers = _divided(network, names)
    last = max(numbers.values(), default=-1) + 1
    return {name: numbers.get(name, last) for name, _ in network.named_parameters()}


def _divided(network: nn.Module, names: list[str]) -> dict[str, int]:
    """Number the stages of the backbone as timm divides it; all in one where it does not."""
    try:
        stages = network.group_matcher(coarse=True)  # type: ignore[operator]  # timm's
    except (AssertionError, AttributeError):  # RDNet asserts that nobody asks for its stages
        return dict.fromkeys(names, 0)
    numbers: dict[str, int] = group_with_matcher(((name, None) for name in names), stages, reverse=True)
    return numbers


def parameter_groups(network: nn.Module, plan: Plan) -> list[Group]:
    """Divide the parameters by learning rate and weight decay; biases and norms have none.

    A pretrained backbone learns at the plan's rate, times ``layer_decay`` for every stage between a stage and the head;
    a new head on it learns faster.

    Args:
        network: The whole network, or its head alone where the plan trains no more.
        plan: What was decided.

    Source:
        Layer-wise decay: Howard and Ruder, ULMFiT (ACL 2018), section 3.2; Clark et al., ELECTRA (ICLR 2020), table 7.
    """
    rates = {name: plan.learning_rate for name, _ in network.named_parameters()}
    if plan.depth != "head":
        numbers = stage_numbers(network)
        head = max(numbers.values())
        factor = HEAD_LEARNING_RATE_FACTOR if plan.is_fine_tuned else 1.0
        rates = {
            name: plan.learning_rate * (factor if number == head else plan.layer_decay ** (head - 1 - number))
            for name, number in numbers.items()
        }
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((rates[name], parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": plan.weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]


def check_depth(network: nn.Module, plan: Plan) -> None:
    """Make sure that the network has as many stages as are to learn, and that the last of them joins in time.

    The plan knows the stages of the family alone.

    Raises:
        RecipeError: It has fewer between its stem and its head, or too many for the epochs.
    """
    n_stages = max(stage_numbers(network).values()) - 1
    if isinstance(plan.depth, int) and plan.depth > n_stages:
        problem = f"train.depth = {plan.depth}, but {plan.variant} has {n_stages} stages besides stem and head"
        raise RecipeError(problem, hint="--set train.depth=all")
    n_joining = plan.depth if isinstance(plan.depth, int) else n_stages + 1
    if plan.unfreeze_epochs * n_joining >= plan.epochs:
        problem = (
            f"train.unfreeze_epochs = {plan.unfreeze_epochs}: {plan.epochs} epochs are too few for {n_joining} stages"
        )
        raise RecipeError(problem, hint=f"--set train.epochs={plan.unfreeze_epochs * n_joining + 1} or more")


def first_stage(n_stages: int, plan: Plan, epoch: int) -> int:
    """Return the lowest stage that learns in an epoch.

    Args:
        n_stages: Stages of the network, stem and head among them.
        plan: ``depth`` stages besides the head learn in the end; with ``unfreeze_epochs`` they join one by one from the
            head on, each so many epochs after the one before.
        epoch: 0 for the first.
    """
    head = n_stages - 1
    lowest = 0 if plan.depth == "all" else max(0, head - int(plan.depth))
    if plan.unfreeze_epochs == 0:
        return lowest
    return max(lowest, head - epoch // plan.unfreeze_epochs)


def set_mode(network: nn.Module, plan: Plan, epoch: int) -> None:
    """Make ready for an epoch of training: what does not learn gets no gradient and keeps its statistics.

    Args:
        network: What is fitted, changed in place.
        plan: What was decided.
        epoch: 0 for the first.
    """
    network.train()
    if plan.depth == "head":
        return
    numbers = stage_numbers(network)
    lowest = first_stage(max(numbers.values()) + 1, plan, epoch)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(numbers[name] >= lowest)
    for module in network.modules():
        own = list(module.parameters())
        frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
        if frozen or (plan.batch_norm == "frozen" and isinstance(module, _BatchNorm)):
            module.eval()
