import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, softmax
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from effmed.evaluate.calibrators import calibrate, fit_calibrator, fit_label_calibrators, probabilities
from effmed.learn.imbalance import imbalanced_loss, make_targets, undoing
from effmed.learn.loader import train_batches
from effmed.learn.plan.imbalance import plan_imbalance
from effmed.learn.plan.values import Reasons
from effmed.recipe import make_recipe
from tests.learn import make
from tests.learn.make import imbalance


def planned(method, counts, *, exclusive=True, **settings):
    recipe = make_recipe({"imbalance": {"method": method, **settings}})
    pairs = {f"class {k}": (n,) if exclusive else n for k, n in enumerate(counts)}
    return plan_imbalance(recipe, pairs, Reasons(), exclusive=exclusive)


def mean_loss(logits, truth, made):
    """The loss per image, or per known label."""
    n_classes = 2 if truth.ndim > 1 else len(made.weights)
    n_known = max(1, int((truth >= 0).sum()))
    return imbalanced_loss(logits, make_targets(truth, n_classes), made) / n_known


def binary(n=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, generator=generator) * 2, torch.arange(n) % 2


def three(n=33, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator) * 2, torch.arange(n) % 3


def several(seed=0):
    """Logits and labels of 32 images and 3 labels, of which a third is not known."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(-1, 2, (32, 3), generator=generator)
    return torch.randn(32, 3, generator=generator), truth


def test_nothing_done_is_the_plain_loss():
    logits, truth = binary()
    plain = functional.binary_cross_entropy_with_logits(logits[:, 0], truth.float())
    assert torch.allclose(mean_loss(logits, truth, imbalance()), plain)
    logits, truth = three()
    plain = functional.cross_entropy(logits, truth)
    assert torch.allclose(mean_loss(logits, truth, imbalance(3, n_logits=3)), plain)


def test_the_weight_of_the_rare_class_raises_its_share_of_the_loss():
    logits, truth = torch.zeros(4, 1), torch.tensor([0, 0, 0, 1])
    plain, weighted = (mean_loss(logits, truth, imbalance(weights=(1.0, w))) for w in (1.0, 3.0))
    assert float(weighted - plain) == pytest.approx(2 * math.log(2) / 4)


def test_the_focal_loss_of_two_classes_is_that_of_torchvision():
    logits, truth = binary()
    expected = sigmoid_focal_loss(logits[:, 0], truth.float(), alpha=-1, gamma=1.7, reduction="mean")
    assert torch.allclose(mean_loss(logits, truth, imbalance(focus=(1.7, 1.7))), expected)


def test_the_focal_loss_of_more_classes_weighs_by_what_is_not_learned_yet():
    logits, truth = three()
    p = logits.softmax(dim=1)[torch.arange(33), truth]
    expected = (-((1 - p) ** 1.5) * p.log()).mean()
    assert torch.allclose(mean_loss(logits, truth, imbalance(3, n_logits=3, focus=(1.5, 1.5))), expected)


def test_offsets_are_added_to_the_logits():
    logits, truth = three()
    offsets = (-0.5, 0.2, 1.0)
    expected = functional.cross_entropy(logits + torch.tensor(offsets), truth)
    assert torch.allclose(mean_loss(logits, truth, imbalance(3, n_logits=3, offsets=offsets)), expected)


def test_the_asymmetric_loss_has_an_exponent_for_absent_labels():
    logits, truth = several()
    p = logits.sigmoid()
    losses = torch.where(truth == 1, -((1 - p) ** 1.0) * p.log(), -(p**4.0) * (1 - p).log())
    found = mean_loss(logits, truth, imbalance(6, n_logits=3, focus=(1.0, 4.0)))
    assert torch.allclose(found, losses[truth >= 0].mean())


def test_the_loss_of_several_labels_is_the_mean_over_the_known_ones():
    logits, truth = several()
    known = truth >= 0
    plain = functional.binary_cross_entropy_with_logits(logits[known], truth[known].float())
    assert torch.allclose(mean_loss(logits, truth, imbalance(6, n_logits=3)), plain)
    weights = (0.5, 2.0, 1.0, 3.0, 0.7, 1.3)
    pairs = torch.tensor(weights).view(3, 2)
    each = functional.binary_cross_entropy_with_logits(logits, (truth == 1).float(), reduction="none")
    expected = (each * torch.where(truth == 1, pairs[:, 1], pairs[:, 0]))[known].mean()
    assert torch.allclose(mean_loss(logits, truth, imbalance(6, n_logits=3, weights=weights)), expected)


def test_a_label_that_is_not_known_has_no_gradient_and_a_batch_without_any_no_loss():
    logits, truth = several()
    logits.requires_grad_()
    mean_loss(logits, truth, imbalance(6, n_logits=3, focus=(1.0, 2.0))).backward()
    assert torch.equal(logits.grad != 0, truth >= 0)
    assert float(mean_loss(logits.detach(), torch.full_like(truth, -1), imbalance(6, n_logits=3))) == 0


@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("focus", [(0.5, 0.5), (2.0, 2.0)])
def test_a_focused_loss_has_a_gradient_however_sure_the_network_is(logit, focus):
    for truth in (0, 1):
        logits = torch.full((1, 1), logit, requires_grad=True)
        loss = mean_loss(logits, torch.tensor([truth]), imbalance(focus=focus))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


# What the loss does to the probabilities is undone: a network that learned all there is, on made data of six kinds of
# images with known shares of the classes, says these shares again.

KINDS, N_HELD = 6, 4000
BINARY_METHODS = ("none", "weights", "effective-number", "focal", "logit-adjust")


def learned(shares, made, n_logits):
    """Return the logits with the least loss on images of which ``shares`` (kind, class) are known exactly."""
    n_classes = shares.shape[1]
    truth = torch.arange(n_classes).repeat(KINDS)
    weight = torch.as_tensor((shares * np.asarray(made.drawn)).ravel())

    def loss(flat):
        logits = torch.tensor(flat.reshape(KINDS, n_logits), requires_grad=True)
        rows = logits.repeat_interleave(n_classes, dim=0)
        each = torch.stack([mean_loss(rows[[k]], truth[[k]], made) for k in range(len(truth))])
        total = (weight * each).sum()
        total.backward()
        return float(total.detach()), logits.grad.numpy().ravel()

    done = minimize(
        loss, np.zeros(KINDS * n_logits), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}
    )
    return done.x.reshape(KINDS, n_logits)


def undone(logits, made):
    shift, before = undoing(made)
    truth = np.arange(len(logits)) % max(2, logits.shape[1])
    calibrator = fit_calibrator(logits, truth, method="none", prior_shift=shift, before=before)
    return probabilities(calibrate(calibrator, logits))


@pytest.mark.parametrize("method", [*BINARY_METHODS, "sampler"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_a_method_does_to_the_probabilities_is_undone_exactly(method, n_classes):
    chance = np.random.default_rng(n_classes)
    tilt = np.array([3.0, -1.0, -2.0])[:n_classes]  # the first class is common
    shares = softmax(chance.normal(size=(KINDS, n_classes)) + tilt, axis=1)
    counts = [round(1000 * share) for share in shares.mean(axis=0)]
    made = planned(method, counts)
    logits = learned(shares, made, 1 if n_classes == 2 else n_classes)
    raw = probabilities(logits)
    corrected = undone(logits, made)
    assert corrected == pytest.approx(shares, abs=2e-4)
    assert (np.abs(raw - shares).max() < 1e-3) == (method == "none")


@pytest.mark.parametrize("method", [*BINARY_METHODS, "sampler"])
def test_after_correction_the_mean_probability_is_the_prevalence_of_images_not_learned_from(method):
    chance = np.random.default_rng(7)
    shares = np.column_stack([1 - (p := expit(chance.normal(-2.5, 1.0, KINDS))), p])
    made = planned(method, [round(1000 * (1 - p.mean())), round(1000 * p.mean())])
    probability = undone(learned(shares, made, 1), made)[:, 1]
    kind = chance.integers(0, KINDS, N_HELD)
    truth = chance.random(N_HELD) < p[kind]
    error = math.sqrt(truth.mean() * (1 - truth.mean()) / N_HELD)
    assert abs(probability[kind].mean() - truth.mean()) < 1.96 * error


@pytest.mark.parametrize("method", ["weights", "focal", "logit-adjust", "asymmetric", "effective-number"])
def test_what_a_method_does_to_several_labels_is_undone_for_each(method):
    present = expit(np.random.default_rng(1).normal(-2, 1, (KINDS, 2)))
    counts = [(round(1000 * (1 - p)), round(1000 * p)) for p in present.mean(axis=0)]
    made = planned(method, counts, exclusive=False)
    logits = np.column_stack([learned_label(present[:, k], made, k) for k in range(2)])
    shift, before = undoing(made)
    truth = np.arange(2 * KINDS).reshape(KINDS, 2) % 2
    calibrator = fit_label_calibrators(logits, truth, method="none", prior_shift=shift, before=before)
    assert expit(calibrate(calibrator, logits)) == pytest.approx(present, abs=2e-4)
    assert np.abs(expit(logits) - present).max() > 1e-3


def learned_label(present, made, label):
    """The same for one of two labels; the other is not known."""

    def loss(flat):
        values = torch.tensor(flat, requires_grad=True)
        total = 0
        for k, share in enumerate(present):
            for is_present, weight in ((1, share), (0, 1 - share)):
                truth = torch.full((1, 2), -1)
                truth[0, label] = is_present
                logits = torch.stack([values[k] if j == label else values[k] * 0 for j in range(2)])[None]
                total = total + weight * mean_loss(logits, truth, made)
        total.backward()
        return float(total.detach()), values.grad.numpy()

    return minimize(loss, np.zeros(KINDS), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}).x


def test_classes_are_drawn_in_the_planned_shares():
    pictures = make.images(400)
    pictures.truth[:] = np.arange(400) % 10 == 0
    plan = make.plan(imbalance=planned("sampler", [360, 40], sampler_balance=0.5), batch_size=50)
    seen = torch.cat([batch.truth for epoch in range(8) for batch in train_batches(pictures, plan, epoch)])
    assert len(seen) == 8 * 400
    assert float(seen.float().mean()) == pytest.approx(0.5 * 0.1 + 0.5 * 0.5, abs=0.03)


def test_the_rare_class_is_augmented_more_strongly():
    pictures = make.images(40)
    pictures.pixels[:] = 100
    shaken = make.plan(augment={"brightness_fraction": 0.2, "contrast_fraction": 0.0, "rotation_degrees": 0})
    strong = shaken.model_copy(update={"imbalance": planned("none", [30, 10], minority_augment=2.0)})
    chosen = np.arange(40)
    plain, found = (pictures.changed_inputs(chosen, plan, 0).numpy() for plan in (shaken, strong))
    common = pictures.truth == 0
    assert np.array_equal(plain[common], found[common])
    middle = (slice(None), 0, 16, 16)
    base = pictures.inputs(chosen, shaken).numpy()[middle]
    spread = np.abs(found[middle] - base)[~common].max() / np.abs(plain[middle] - base)[~common].max()
    assert spread == pytest.approx(2.0, rel=0.1)
