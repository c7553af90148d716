import pytest
import torch

from effmed.learn.bundle import weights_digest
from effmed.learn.fitting import fit, start_training
from effmed.learn.fitting.checkpoints import read_checkpoint, write_checkpoint
from effmed.learn.network import build_network
from tests.learn import make

AVERAGED = {"ema_decay": 0.9, "epochs": 4, "learning_rate": 1e-2}


def started(plan):
    torch.manual_seed(plan.seed)
    return start_training(build_network(plan), plan)


def test_without_an_average_the_network_itself_is_judged():
    state = started(make.plan())
    assert state.judged is state.network


def test_the_average_is_that_of_the_weights_after_every_step():
    """Decay of step t: 1 - t^(-3/4) while that is below 0.9, the first steps' weights forgotten soon."""
    plan = make.plan(**AVERAGED)
    state = started(plan)
    expected, epochs = None, fit(state, make.images(8), make.images(8, seed=1), plan)  # of one step each
    for step, _ in enumerate(epochs, start=1):
        now = state.network.classifier.weight.detach().clone()
        decay = 0.0 if step == 1 else min(0.9, 1 - step**-0.75)
        expected = now if expected is None else decay * expected + (1 - decay) * now
        assert torch.allclose(state.judged.classifier.weight, expected, atol=1e-6)
    assert not torch.equal(state.judged.classifier.weight, state.network.classifier.weight)


def test_validation_judges_the_average():
    plan = make.plan(**AVERAGED)
    scores = {
        decay: [e.val_loss for e in fit(started(plan.model_copy(update={"ema_decay": decay})), *make_sets(), plan)]
        for decay in (0.0, 0.9)
    }
    assert scores[0.0] != scores[0.9]


def make_sets():
    return make.images(24), make.images(12, seed=1)


@pytest.mark.parametrize("changes", [AVERAGED, {"depth": 1, "weights": "file w"}, {"unfreeze_epochs": 1}])
def test_resuming_gives_the_same_weights_however_deep_training_reaches(tmp_path, changes):
    plan = make.plan(**{"epochs": 4, "dropout": 0.3, **changes})
    whole = started(plan)
    list(fit(whole, *make_sets(), plan))
    state = started(plan)
    for epoch in fit(state, *make_sets(), plan):
        write_checkpoint(tmp_path, state, state.judged.state_dict())
        if epoch.number == 2:
            break
    again = started(plan.model_copy(update={"seed": 5}))
    read_checkpoint(tmp_path, again)
    list(fit(again, *make_sets(), plan))
    assert weights_digest(again.judged) == weights_digest(whole.judged)
    assert weights_digest(again.network) == weights_digest(whole.network)


def test_a_compiled_network_learns_under_its_own_names(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or (lambda x: network(x)))
    state = started(make.plan(compile=True))
    assert compiled == [state.network]
    list(fit(state, *make_sets(), make.plan(compile=True)))
    plain = started(make.plan())
    list(fit(plain, *make_sets(), make.plan()))
    assert weights_digest(state.network) == weights_digest(plain.network)
