"""Classes have an order: the negative one of two comes first."""

import pytest

from effmed.data.classes import order_classes
from effmed.errors import DataError
from effmed.recipe import DataSettings

AUTO = DataSettings()


@pytest.mark.parametrize(
    ("names", "classes", "reason"),
    [
        (["pneumonia", "normal"], ("normal", "pneumonia"), "normal reads like the absence of a finding"),
        (["Abscess", "No Finding"], ("No Finding", "Abscess"), "No Finding reads like"),
        (["malignant", "benign"], ("benign", "malignant"), "benign reads like"),
        (["1", "0"], ("0", "1"), "0 is the smaller number"),
        (["dog", "cat"], ("cat", "dog"), "the last by its name"),
        (["normal", "benign"], ("benign", "normal"), "the last by its name"),
        (["10", "9", "0"], ("0", "9", "10"), "3 classes in the order"),
        (["c", "a", "b"], ("a", "b", "c"), "3 classes in the order of their names"),
    ],
)
def test_the_negative_class_comes_first_where_names_tell(names, classes, reason):
    order, why = order_classes(names, AUTO)
    assert order == classes
    assert reason in why


def test_the_positive_class_can_be_set():
    order, why = order_classes(["normal", "tumour"], DataSettings(positive_class="normal"))
    assert order == ("tumour", "normal")
    assert "set by the recipe" in why


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "tumor"]])
def test_a_positive_class_that_is_not_one_of_two_is_refused(names):
    with pytest.raises(DataError) as caught:
        order_classes(names, DataSettings(positive_class="tumor"))
    assert f"data.positive_class = 'tumor', but the classes are {', '.join(names)}" in caught.value.problem
    assert "exactly two classes" in caught.value.hint
