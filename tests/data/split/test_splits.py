"""The division of patients: nobody in two splits, every class in each, shares kept, order of rows without effect."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effmed.data.split import assign_splits, check_classes, shared_patients, split_table
from effmed.errors import DataError, RecipeError
from effmed.recipe import DataSettings
from tests import make

SPLITS = ("train", "val", "test")
CHECKS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def divided(manifest, **values):
    return assign_splits(manifest, DataSettings(**values))


def one_image_each(**n_patients):
    return make.manifest(labels=[name for name, n in n_patients.items() for _ in range(n)])


@st.composite
def manifests(draw):
    """Three patients or more of each class with one image or more, and patients who stand in several classes."""
    labels, patients = [], []
    for name in draw(st.sampled_from(["ab", "abc", "abcd"])):
        for k in range(draw(st.integers(3, 15))):
            n_images = draw(st.sampled_from([1, 1, 1, 2, 5]))
            labels += [name] * n_images
            patients += [f"{name}{k}"] * n_images
    for k in range(draw(st.integers(0, 5))):
        several = draw(st.lists(st.sampled_from(sorted(set(labels))), min_size=2, max_size=3))
        labels += several
        patients += [f"both{k}"] * len(several)
    return make.manifest(labels=labels, patients=patients)


@CHECKS
@given(manifests(), st.integers(0, 9))
def test_every_image_is_in_one_of_the_three_splits(manifest, seed):
    assert set(divided(manifest, split_seed=seed).frame["split"]) == set(SPLITS)


@CHECKS
@given(manifests(), st.integers(0, 9))
def test_no_patient_stands_in_two_splits(manifest, seed):
    frame = divided(manifest, split_seed=seed).frame
    assert frame.groupby("patient")["split"].nunique().max() == 1


@CHECKS
@given(manifests())
def test_the_division_adds_a_split_and_changes_nothing_else(manifest):
    pd.testing.assert_frame_equal(
        divided(manifest).frame.drop(columns="split"), manifest.frame.drop(columns="split"), check_like=True
    )


@CHECKS
@given(st.lists(st.integers(3, 60), min_size=2, max_size=4), st.integers(0, 9))
def test_each_class_keeps_its_shares_to_the_nearest_patient(n_patients, seed):
    names = "abcd"[: len(n_patients)]
    table = split_table(divided(one_image_each(**dict(zip(names, n_patients, strict=True))), split_seed=seed))
    for name, n in zip(names, n_patients, strict=True):
        for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
            count = int(table.set_index("split").loc[split, name])
            assert abs(count - share * n) <= 1.1  # of three patients one goes to each split, instead of 2.1 to train


@CHECKS
@given(manifests(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(manifest, chance):
    order = list(range(len(manifest)))
    chance.shuffle(order)
    shuffled = manifest.with_frame(manifest.frame.iloc[order])
    expected = divided(manifest).frame.set_index("image")["split"]
    found = divided(shuffled).frame.set_index("image")["split"]
    assert expected.to_dict() == found.to_dict()


def test_many_small_classes_do_not_all_round_towards_val():
    table = split_table(divided(one_image_each(a=10, b=10, c=10, d=10))).set_index("split")
    assert table["images"].to_dict() == {"train": 28, "val": 6, "test": 6}


def test_the_same_seed_divides_the_same_way():
    manifest = one_image_each(a=20, b=20)
    assert list(divided(manifest).frame["split"]) == list(divided(manifest).frame["split"])


def test_another_seed_divides_another_way():
    manifest = one_image_each(a=20, b=20)
    assert list(divided(manifest).frame["split"]) != list(divided(manifest, split_seed=1).frame["split"])


def test_three_patients_of_a_class_are_one_in_each_split():
    table = split_table(divided(one_image_each(a=100, b=3))).set_index("split")
    assert table["b"].to_dict() == {"train": 1, "val": 1, "test": 1}


def test_a_patient_who_would_overfill_val_or_test_goes_to_train():
    manifest = make.manifest(labels=["a"] * 60 + ["b"] * 40, patients=["giant"] * 12 + [f"p{k}" for k in range(88)])
    found = {seed: divided(manifest, split_seed=seed).frame for seed in range(12)}
    assert {seed: set(frame.loc[frame["patient"] == "giant", "split"]) for seed, frame in found.items()} == {
        seed: {"train"} for seed in range(12)
    }


def test_shares_are_of_images_and_not_of_patients():
    patients = [f"p{k}" for k in range(100) for _ in range(9 if k % 2 else 1)]
    manifest = make.manifest(labels=["a"] * 250 + ["b"] * 250, patients=patients)
    images = split_table(divided(manifest)).set_index("split")["images"]
    assert abs(images["val"] - 0.15 * 500) < 10


def test_patients_with_many_images_do_not_gather_in_train():
    patients = [f"p{k}" for k in range(200) for _ in range(2 if k % 2 else 1)]
    manifest = make.manifest(labels=["a" if k < 150 else "b" for k in range(300)], patients=patients)
    frame = divided(manifest).frame
    n_images = frame.groupby("patient")["split"].agg(["size", "first"])
    assert 0.3 < (n_images.loc[n_images["first"] == "val", "size"] > 1).mean() < 0.7


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_patient_of_two_classes_counts_for_the_one_with_fewer_patients(order):
    common = [("a", f"p{k}") for k in range(50)]
    rare = [(label, f"r{k}") for k in range(3) for label in order]
    labels, patients = zip(*common, *rare, strict=True)
    table = split_table(divided(make.manifest(labels=labels, patients=patients))).set_index("split")
    assert table["b"].to_dict() == {"train": 1, "val": 1, "test": 1}


def test_of_two_classes_the_one_with_fewer_patients_counts_even_if_it_has_more_images():
    both = [(label, f"few{k}") for k in range(4) for label in "b" + "a" * 25]
    labels, patients = zip(*both, *(("b", f"many{k}") for k in range(20)), strict=True)
    manifest = make.manifest(labels=labels, patients=patients)
    tables = [split_table(divided(manifest, split_seed=seed)).set_index("split") for seed in range(6)]
    assert all(set(table["a"]) == {25, 50} for table in tables)


def test_the_shares_come_from_the_recipe():
    table = split_table(divided(one_image_each(a=100, b=100), val_fraction=0.3, test_fraction=0.2)).set_index("split")
    assert table["images"].to_dict() == {"train": 100, "val": 60, "test": 40}


def test_the_reason_names_shares_and_seed():
    reason = divided(one_image_each(a=10, b=10), split_seed=7).reasons["split"]
    assert reason == "patients divided 70 / 15 / 15 % into train, val and test, stratified by class, seed 7"


def test_shares_that_leave_no_train_are_refused():
    with pytest.raises(RecipeError, match=r"val_fraction = 0.6 and data.test_fraction = 0.4") as caught:
        divided(one_image_each(a=10, b=10), val_fraction=0.6, test_fraction=0.4)
    assert "below 1" in caught.value.hint


def test_a_class_with_one_patient_is_refused():
    with pytest.raises(DataError, match=r"class 'b' \(1 patients\) is missing in val, test") as caught:
        divided(one_image_each(a=10, b=1))
    assert "3 patients or more" in caught.value.hint


def test_a_class_that_is_gone_altogether_is_refused():
    manifest = divided(one_image_each(a=10, b=3))
    without = manifest.with_frame(manifest.frame[manifest.frame["label"] == "a"])
    with pytest.raises(DataError, match=r"class 'b' \(0 patients\) is missing in train, val, test"):
        check_classes(without)


def test_given_splits_are_kept():
    splits = ["test", "val", "train"] * 4
    manifest = make.manifest(labels=["a"] * 6 + ["b"] * 6, splits=splits)
    assert list(divided(manifest).frame["split"]) == splits


def test_given_splits_are_named_as_the_reason():
    manifest = make.manifest(labels=["a"] * 6 + ["b"] * 6, splits=["test", "val", "train"] * 4)
    assert divided(manifest).reasons["split"] == "splits as given"


def train_and_test():
    return make.manifest(labels=["a", "b"] * 20, splits=["train"] * 30 + ["test"] * 10)


def test_a_val_that_is_not_given_is_drawn_from_train():
    frame = divided(train_and_test()).frame
    assert set(frame["split"][:30]) == {"train", "val"}


def test_a_given_test_stays_whole_when_val_is_drawn():
    frame = divided(train_and_test()).frame
    assert (frame["split"] == "test").to_numpy().nonzero()[0].tolist() == list(range(30, 40))


def test_the_reason_says_that_val_was_drawn():
    assert divided(train_and_test()).reasons["split"] == "splits as given; val drawn from train by patient, seed 0"


def test_two_patients_in_train_are_enough_to_draw_val():
    manifest = make.manifest(labels=["a", "b"] * 3, splits=["train"] * 4 + ["test"] * 2)
    assert split_table(divided(manifest))["images"].tolist() == [2, 2, 2]


def test_val_and_test_are_drawn_where_only_train_is_given():
    frame = divided(make.manifest(labels=["a", "b"] * 20, splits=["train"] * 40)).frame
    assert set(frame["split"]) == set(SPLITS)


def test_given_splits_without_train_are_refused():
    with pytest.raises(DataError, match=r"the given splits are test, val: there is no train") as caught:
        divided(make.manifest(labels=["a", "b"] * 4, splits=["val", "test"] * 4))
    assert "give train" in caught.value.hint


def test_a_split_for_some_images_only_is_refused():
    manifest = make.manifest(labels=["a", "b"] * 3, splits=["train", "val", "test", None, "val", "test"])
    with pytest.raises(DataError, match=r"1 images have no split although others do: 3.png") as caught:
        divided(manifest)
    assert caught.value.hint == "give every image a split, or none"


def test_a_patient_whom_given_splits_divide_is_refused_without_naming_the_patient():
    patients = ["SECRET", "SECRET", *(f"p{k}" for k in range(10))]
    manifest = make.manifest(labels=["a", "b"] * 6, patients=patients, splits=["train", "test", "val"] * 4)
    with pytest.raises(DataError, match=r"divide 1 patients, with the images 0.png, 1.png") as caught:
        divided(manifest)
    assert "SECRET" not in str(caught.value)


def test_a_long_list_of_divided_patients_shows_ten_images_and_the_total():
    patients = [f"p{k // 2}" for k in range(24)]
    manifest = make.manifest(labels=["a", "b"] * 12, patients=patients, splits=["train", "test", "val"] * 8)
    with pytest.raises(DataError, match=r"divide 12 patients.*9\.png … \(24 in all\)") as caught:
        divided(manifest)
    assert "10.png" not in caught.value.problem


def test_patients_in_two_splits_are_counted():
    manifest = make.manifest(labels=["a"] * 4, patients=["p", "p", "q", "q"], splits=["train", "test", "val", "val"])
    assert shared_patients(manifest) == 1


def test_the_table_counts_images_patients_and_classes_of_each_split():
    manifest = make.manifest(labels=["a", "b", "a"], patients=["p", "p", "q"], splits=["train", "train", "test"])
    assert split_table(manifest).to_dict("records") == [
        {"split": "train", "images": 2, "patients": 1, "a": 1, "b": 1},
        {"split": "test", "images": 1, "patients": 1, "a": 1, "b": 0},
    ]


@pytest.mark.slow
def test_a_hundred_thousand_images_are_divided():
    n = 100_000
    chance = np.random.default_rng(0)
    labels = chance.choice(list("abcde"), n).tolist()
    manifest = make.manifest(labels=labels, patients=[f"p{k}" for k in chance.integers(0, n // 3, n)])
    assert shared_patients(divided(manifest)) == 0


def test_several_labels_are_stratified_by_the_rarest_of_each_patient():
    n = 200
    labels = {
        "common": ["1" if k % 2 == 0 else "0" for k in range(n)],
        "rare": ["1" if k % 20 == 0 else "0" for k in range(n)],  # always beside the common one
        "blank": [None if k % 3 else "1" for k in range(n)],
    }
    made = divided(make.several(labels))
    counts = split_table(made).set_index("split")
    assert (counts["rare"] >= 1).all()
    share = counts["common"] / counts["images"]
    assert share.max() - share.min() < 0.1
    assert shared_patients(made) == 0
    assert "the rarest label of each patient" in made.reasons["split"]


def test_a_label_need_not_stand_in_val_but_in_train():
    labels = {"a": ["1", "0", "1", "0"], "b": ["1", "1", "0", "0"]}
    splits = ["train", "train", "val", "test"]
    check_classes(make.several(labels, splits=splits))
    with pytest.raises(DataError, match="1 labels are present in no training image: a"):
        check_classes(make.several(labels, splits=["val", "train", "val", "test"]))


def test_a_single_label_is_refused():
    with pytest.raises(DataError, match="only one label"):
        check_classes(make.several({"a": ["1", "0"]}, splits=["train", "train"]))
