import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from effmed.learn.fitting.scores import cross_entropy, mean_auroc, undone
from tests.learn.make import imbalance


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_cross_entropy_and_auroc_agree_with_scikit_learn(seed):
    chance = np.random.default_rng(seed)
    logits, truth = chance.normal(size=(20, 1)), np.arange(20) % 2
    probability = 1 / (1 + np.exp(-logits[:, 0]))
    assert cross_entropy(logits, truth) == pytest.approx(log_loss(truth, probability))
    assert mean_auroc(logits, truth) == pytest.approx(roc_auc_score(truth, logits[:, 0]))
    many, truth3 = chance.normal(size=(21, 3)), np.arange(21) % 3
    softmax = np.exp(many) / np.exp(many).sum(axis=1, keepdims=True)
    assert cross_entropy(many, truth3) == pytest.approx(log_loss(truth3, softmax))
    assert mean_auroc(many, truth3) == pytest.approx(roc_auc_score(truth3, softmax, multi_class="ovr"))


def several_labels():
    """Logits and labels of 60 images; of the last label only one kind is known."""
    chance = np.random.default_rng(3)
    truth = chance.integers(-1, 2, (60, 3))
    truth[:, 2] = np.where(truth[:, 2] == 1, -1, truth[:, 2])
    return chance.normal(size=(60, 3)) + truth, truth


def test_several_labels_are_scored_by_the_mean_auroc_of_those_with_both_kinds():
    logits, truth = several_labels()
    known = truth >= 0
    expected = [roc_auc_score(truth[known[:, k], k], logits[known[:, k], k]) for k in (0, 1)]
    assert mean_auroc(logits, truth) == pytest.approx(np.mean(expected))
    assert mean_auroc(logits, np.full_like(truth, -1)) == 0.5


def test_the_loss_of_several_labels_on_val_is_that_of_the_known_ones():
    logits, truth = several_labels()
    known = truth >= 0
    assert cross_entropy(logits, truth) == pytest.approx(log_loss(truth[known], 1 / (1 + np.exp(-logits[known]))))
    assert cross_entropy(logits, np.full_like(truth, -1)) == 0.0


def test_what_was_done_for_rare_classes_is_undone_before_the_loss_is_told():
    """A network that knows nothing but the weighted prevalence has the loss of the prevalence."""
    truth = (np.arange(100) < 10).astype(np.int64)
    made = imbalance(weights=(1.0, 9.0))
    logits = np.full((100, 1), np.log(0.1 / 0.9) + np.log(9.0))
    told = cross_entropy(undone(logits, made, exclusive=True), truth)
    assert told == pytest.approx(-(0.1 * np.log(0.1) + 0.9 * np.log(0.9)))
    assert cross_entropy(logits, truth) > told + 0.3


def test_focusing_is_undone_for_each_of_several_labels_alone():
    made = imbalance(4, n_logits=2, focus=(2.0, 2.0))
    logits = np.array([[-1.0, 0.5], [2.0, -0.3]])
    one = imbalance(focus=(2.0, 2.0))
    each = [undone(logits[:, [k]], one, exclusive=True) for k in (0, 1)]
    assert undone(logits, made, exclusive=False) == pytest.approx(np.hstack(each))
