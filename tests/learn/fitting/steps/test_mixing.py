import numpy as np
import pytest
import torch

from effmed.learn.fitting import fit, start_training
from effmed.learn.fitting.steps.mixing import mix
from effmed.learn.imbalance import make_targets
from effmed.learn.network import build_network
from tests.learn import make


def batch(n=16):
    """Images whose every pixel is their own number, and one class each."""
    inputs = torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 1, 20, 30).clone()
    return inputs, make_targets(torch.arange(n), n)


def test_nothing_planned_changes_nothing():
    inputs, targets = batch()
    found = mix(inputs, targets, make.plan(), np.random.default_rng(0))
    assert found[0] is inputs
    assert found[1] is targets


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_are_mixed_in_the_share_of_the_pixels(kind):
    for seed in range(20):
        inputs, targets = batch()
        mixed, shares = mix(inputs, targets, make.plan(**{kind: 1.0}), np.random.default_rng(seed))
        numbers = torch.arange(16, dtype=torch.float32)
        assert torch.allclose(mixed.mean(dim=(1, 2, 3)), shares @ numbers, atol=1e-3)
        assert torch.allclose(shares.sum(dim=1), torch.ones(16))
        assert mixed.shape == inputs.shape
    assert not torch.equal(mixed, batch()[0])


def test_cutmix_pastes_one_box_and_mixup_blends():
    mixed, _ = mix(*batch(), make.plan(cutmix=1.0), np.random.default_rng(3))
    assert all(len(image.unique()) <= 2 for image in mixed)
    mixed, _ = mix(*batch(), make.plan(mixup=1.0), np.random.default_rng(3))
    assert all(len(image.unique()) == 1 for image in mixed)


def test_where_both_are_planned_either_is_drawn():
    plan = make.plan(mixup=1.0, cutmix=1.0)
    kinds = set()
    for seed in range(20):
        mixed, _ = mix(*batch(), plan, np.random.default_rng(seed))
        kinds.add(max(len(image.unique()) for image in mixed))
    assert kinds >= {1, 2}


def test_a_single_image_stays_as_it_is():
    inputs, targets = batch(1)
    assert mix(inputs, targets, make.plan(mixup=1.0), np.random.default_rng(0))[0] is inputs


def test_what_is_not_known_stays_out_of_the_loss():
    truth = torch.tensor([[1, -1], [-1, 0]])
    targets = make_targets(truth, 2)
    _, mixed = mix(torch.zeros(2, 1, 8, 8), targets, make.plan(mixup=1.0), np.random.default_rng(1))
    assert float(mixed.sum()) == pytest.approx(2.0)  # two known labels


@pytest.mark.parametrize("changes", [{"mixup": 0.4}, {"cutmix": 1.0}, {"label_smoothing": 0.1}])
def test_a_separable_set_is_learned_all_the_same(changes):
    plan = make.plan(epochs=8, **changes)
    torch.manual_seed(plan.seed)
    state = start_training(build_network(plan), plan)
    epochs = list(fit(state, make.images(64), make.images(32, seed=1), plan))
    assert max(epoch.val_score for epoch in epochs) > 0.9
