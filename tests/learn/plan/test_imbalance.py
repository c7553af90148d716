import math

import pytest

from effmed.errors import RecipeError
from tests.learn.test_plan import planned, several


def made(method, counts=(90, 10), **settings):
    names = dict(zip("abcdef", counts, strict=False))
    return planned(recipe={"imbalance": {"method": method, **settings}}, train_images_per_class=names)


def test_nothing_is_done_unless_a_class_is_very_rare_and_has_few_images():
    for counts in ((900, 100), (995, 5 * 10), (99_000, 500)):
        assert made("auto", counts).imbalance.method == "none"
    plan = made("auto", (9_950, 50))
    assert plan.imbalance.method == "logit-adjust"
    assert "the rarest has 0.50% of the images, 50 of them" in plan.reasons["imbalance.method"]


def test_the_plan_says_events_and_effective_weights():
    sentence = made("weights").reasons["imbalance.method"]
    assert "training images: a 90, b 10; weights: 0.556, 5" in sentence
    assert "training images: a 90, b 10" in made("none").reasons["imbalance.method"]
    assert "mass 60 of 120" in several().reasons["imbalance.method"]


def test_weights_are_in_inverse_proportion_to_the_images():
    plan = made("weights", (60, 30, 10))
    assert plan.imbalance.weights == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert plan.imbalance.shift == pytest.approx([math.log(each) for each in plan.imbalance.weights])


def test_effective_numbers_lie_between_equal_weights_and_inverse_proportion():
    few, many = (made("effective-number", effective_beta=beta).imbalance.weights for beta in (0.01, 0.99999))
    assert few[1] / few[0] == pytest.approx(1, abs=0.02)
    assert many[1] / many[0] == pytest.approx(9, rel=0.01)
    beta = 0.9
    exact = [(1 - beta) / (1 - beta**n) for n in (90, 10)]
    found = made("effective-number", effective_beta=beta).imbalance.weights
    assert found[1] / found[0] == pytest.approx(exact[1] / exact[0])
    assert 0.9 * found[0] + 0.1 * found[1] == pytest.approx(1)


def test_logits_are_adjusted_by_the_shares():
    assert made("logit-adjust").imbalance.offsets == pytest.approx([math.log(10 / 90)])
    assert made("logit-adjust", adjust_tau=2.0).imbalance.shift == pytest.approx([2 * math.log(9)])
    offsets = made("logit-adjust", (50, 30, 20)).imbalance.offsets
    assert offsets == pytest.approx([math.log(share) for share in (0.5, 0.3, 0.2)])


def test_a_sampler_draws_all_classes_alike_or_half_way():
    drawn = made("sampler").imbalance.drawn
    assert (0.9 * drawn[0], 0.1 * drawn[1]) == pytest.approx((0.5, 0.5))
    drawn = made("sampler", sampler_balance=0.5).imbalance.drawn
    assert (0.9 * drawn[0], 0.1 * drawn[1]) == pytest.approx((0.7, 0.3))
    assert made("sampler").imbalance.shift == pytest.approx([math.log(9)])


def test_several_labels_have_a_pair_of_weights_and_an_offset_each():
    plan = several(imbalance={"method": "logit-adjust"})
    assert len(plan.imbalance.weights) == 4
    assert plan.imbalance.offsets == pytest.approx([math.log(60 / 60), math.log(5 / 95)])
    assert several(imbalance={"method": "asymmetric", "asymmetric_present": 1.0}).imbalance.focus == (1.0, 4.0)


def test_rare_classes_may_be_augmented_more_strongly():
    assert made("none", (60, 30, 10), minority_augment=2.0).imbalance.augment == (1.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"method": "asymmetric"}, "labels that do not exclude each other"),
        ({"method": "weights", "focal_gamma": 3.0}, "imbalance.focal_gamma: without meaning"),
        ({"method": "none", "sampler_balance": 0.5}, "imbalance.sampler_balance: without meaning"),
    ],
)
def test_what_would_not_be_heeded_is_refused(settings, word):
    with pytest.raises(RecipeError) as caught:
        planned(recipe={"imbalance": settings})
    assert word in caught.value.problem


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"method": "sampler"}, "classes that exclude each other"),
        ({"method": "none", "minority_augment": 2.0}, "imbalance.minority_augment: without meaning"),
    ],
)
def test_likewise_of_several_labels(settings, word):
    with pytest.raises(RecipeError) as caught:
        several(imbalance=settings)
    assert word in caught.value.problem


def test_a_rare_label_with_many_images_and_a_common_one_with_few_are_left_alone():
    counts = {"a": {"present": 50, "absent": 150}, "b": {"present": 500, "absent": 99_500}}
    full = {name: {**each, "uncertain": 0, "blank": 0} for name, each in counts.items()}
    assert several(dict.fromkeys(("train", "val", "test"), full)).imbalance.method == "none"
    full["b"]["present"] = 50
    plan = several(dict.fromkeys(("train", "val", "test"), full))
    assert "the rarest has 0.05% of the images, 50 of them" in plan.reasons["imbalance.method"]
