import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from effmed.learn.imbalance import label_shift, prior_shift, weighted_loss


def test_equal_weights_give_the_plain_loss():
    logits, truth = torch.randn(16, 1), torch.arange(16) % 2
    plain = functional.binary_cross_entropy_with_logits(logits[:, 0], truth.float())
    assert torch.allclose(weighted_loss(logits, truth, torch.ones(2)), plain)


def test_equal_weights_give_the_plain_loss_for_three_classes():
    logits, truth = torch.randn(16, 3), torch.arange(16) % 3
    assert torch.allclose(weighted_loss(logits, truth, torch.ones(3)), functional.cross_entropy(logits, truth))


def test_the_weight_of_the_rare_class_raises_its_share_of_the_loss():
    logits, truth = torch.zeros(4, 1), torch.tensor([0, 0, 0, 1])
    plain, weighted = (weighted_loss(logits, truth, torch.tensor([1.0, w])) for w in (1.0, 3.0))
    assert float(weighted - plain) == pytest.approx(2 * math.log(2) / 4)


@pytest.mark.parametrize("weight", [3.0, 11.0])
def test_undoing_the_shift_brings_the_prevalence_back(weight):
    truth = np.r_[np.ones(80), np.zeros(920)]
    weights = np.where(truth == 1, weight, 1.0)

    def loss(logit):
        return float(np.sum(weights * (np.logaddexp(0, logit) - truth * logit)))

    fitted = minimize_scalar(loss).x  # a network that sees nothing learns the weighted prevalence
    corrected = fitted - prior_shift((1.0, weight))[0]
    assert 1 / (1 + math.exp(-corrected)) == pytest.approx(0.08, abs=1e-6)


def test_the_shift_of_more_classes_is_the_logarithm_of_the_weights():
    assert prior_shift((1.0, 2.0, 4.0)) == pytest.approx((0.0, math.log(2), math.log(4)))


def several(seed=0):
    """Logits and labels of 32 images and 3 labels, of which a third is not known."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(-1, 2, (32, 3), generator=generator)
    return torch.randn(32, 3, generator=generator), truth


def test_the_loss_of_several_labels_is_the_mean_over_the_known_ones():
    logits, truth = several()
    known = truth >= 0
    plain = functional.binary_cross_entropy_with_logits(logits[known], truth[known].float())
    assert torch.allclose(weighted_loss(logits, truth, torch.ones(6)), plain)


def test_a_label_that_is_not_known_has_no_gradient_and_a_batch_without_any_no_loss():
    logits, truth = several()
    logits.requires_grad_()
    weighted_loss(logits, truth, torch.ones(6)).backward()
    assert torch.equal(logits.grad == 0, truth < 0)
    logits = torch.full((4, 2), 1e4, requires_grad=True)
    loss = weighted_loss(logits, torch.full((4, 2), -1), torch.ones(4))
    loss.backward()
    assert (float(loss.detach()), float(logits.grad.abs().sum())) == (0.0, 0.0)


def test_each_label_is_weighed_by_its_own_pair():
    logits, truth = torch.zeros(2, 2), torch.tensor([[1, 0], [0, 1]])
    found = weighted_loss(logits, truth, torch.tensor([2.0, 3.0, 5.0, 7.0]))
    assert float(found) == pytest.approx(math.log(2) * (2 + 3 + 5 + 7) / 4)


def test_the_shift_of_several_labels_is_that_of_each_alone():
    assert label_shift((0.5, 2.0, 0.6, 3.0)) == (*prior_shift((0.5, 2.0)), *prior_shift((0.6, 3.0)))
