"""Folds: every patient beside test in one, every class in each, the same for the same seed."""

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effmed.data.audit import audit_manifest
from effmed.data.records import read_manifest, write_manifest
from effmed.data.split import (
    assign_folds,
    assign_splits,
    fold_table,
    folds_of,
    in_fold,
    in_turn,
    shared_between_folds,
    shared_patients,
)
from effmed.errors import DataError
from effmed.recipe import DataSettings
from tests import make

CHECKS = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def manifests(draw):
    """Twelve patients or more of each class, with one image or more, divided into train, val and test."""
    labels, patients = [], []
    for name in draw(st.sampled_from(["ab", "abc"])):
        for k in range(draw(st.integers(12, 30))):
            n_images = draw(st.sampled_from([1, 1, 1, 2, 5]))
            labels += [name] * n_images
            patients += [f"{name}{k}"] * n_images
    return assign_splits(make.manifest(labels=labels, patients=patients), DataSettings())


def one_each(folds, seed=0, **n_patients):
    labels = [name for name, n in n_patients.items() for _ in range(n)]
    divided = assign_splits(make.manifest(labels=labels), DataSettings(val_fraction=0.2, test_fraction=0.2))
    return assign_folds(divided, folds, seed)


@CHECKS
@given(manifests(), st.integers(2, 6), st.integers(0, 9))
def test_every_patient_beside_test_is_in_one_fold_and_is_val_once(manifest, n_folds, seed):
    made = assign_folds(manifest, n_folds, seed)
    is_test = (manifest.frame["split"] == "test").to_numpy(bool)
    assert folds_of(made) == n_folds
    assert (made.frame["fold"].isna() == is_test).all()
    assert shared_between_folds(made) == 0
    held_out = []
    for number in range(1, n_folds + 1):
        view = in_fold(made, number)
        assert shared_patients(view) == 0
        assert ((view.frame["split"] == "test") == is_test).all()
        held_out += view.frame.loc[view.frame["split"] == "val", "image"].tolist()
    assert sorted(held_out) == sorted(manifest.frame.loc[~is_test, "image"])


@CHECKS
@given(manifests(), st.integers(2, 6), st.integers(0, 9))
def test_every_class_is_in_train_and_val_of_every_fold(manifest, n_folds, seed):
    made = assign_folds(manifest, n_folds, seed)
    for number in range(1, n_folds + 1):
        found = in_fold(made, number).frame.groupby("split")["label"].unique()
        assert all(set(found[split]) == set(manifest.classes) for split in ("train", "val"))


@CHECKS
@given(manifests(), st.integers(2, 6), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_fold(manifest, n_folds, chance):
    order = list(range(len(manifest)))
    chance.shuffle(order)
    shuffled = manifest.with_frame(manifest.frame.iloc[order])
    first, second = (assign_folds(each, n_folds, 3).frame.set_index("image")["fold"] for each in (manifest, shuffled))
    pd.testing.assert_series_equal(first, second.reindex(first.index))


def test_folds_of_single_images_are_nearly_equal_in_every_class():
    made = one_each(5, a=63, b=37)
    table = fold_table(made)
    assert table["fold"].tolist() == [1, 2, 3, 4, 5]
    assert (table[["a", "b"]].max() - table[["a", "b"]].min()).max() <= 1
    assert table["images"].sum() == (made.frame["split"] != "test").sum() == table["patients"].sum()


def test_another_seed_gives_other_folds_and_the_same_seed_the_same():
    first, again, other = (one_each(3, seed, a=30, b=30).frame["fold"] for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_the_number_of_folds_changes_no_test_image():
    tests = [set(one_each(k, a=30, b=20).frame.query("split == 'test'")["image"]) for k in (2, 5)]
    assert tests[0] == tests[1]


def test_all_networks_together_learn_from_all_but_test():
    made = in_turn(one_each(3, a=30, b=20))
    assert set(made.frame["split"]) == {"train", "test"}
    assert (made.frame["fold"].isna() == (made.frame["split"] == "test")).all()


def test_a_class_of_fewer_patients_than_folds_is_refused_with_a_number_that_would_do():
    with pytest.raises(DataError, match=r"class 'b' \(4 patients in train and val\) is missing in fold") as caught:
        one_each(5, a=40, b=5)
    assert "--folds 4" in caught.value.hint
    assert folds_of(one_each(4, a=40, b=5)) == 4


def test_a_class_that_cannot_be_folded_at_all_is_told_without_such_a_number():
    frame = make.manifest(labels=["a"] * 9 + ["b"], splits=["train"] * 10)
    with pytest.raises(DataError, match="class 'b'") as caught:
        assign_folds(frame, 3, 0)
    assert "--folds" not in caught.value.hint


def test_a_label_of_one_patient_would_be_missing_where_that_is_val():
    cells = {"common": ["1", "0"] * 10, "rare": ["1"] + ["0"] * 19}
    manifest = make.several(cells, splits=["train"] * 20)
    with pytest.raises(DataError, match="label 'rare'") as caught:
        assign_folds(manifest, 2, 0)
    assert "min_positive" in caught.value.hint
    assert folds_of(assign_folds(make.several({"common": ["1", "0"] * 10}, splits=["train"] * 20), 2, 0)) == 2


def test_folds_survive_the_disk(tmp_path):
    made = one_each(3, a=30, b=20)
    write_manifest(made, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv", made.root)
    assert again.frame["fold"].equals(made.frame["fold"])
    assert in_fold(again, 2).frame["split"].equals(in_fold(made, 2).frame["split"])
    assert [record.attributes["fold"] for record in again.records()].count("2") == (made.frame["fold"] == "2").sum()


def test_a_study_in_two_folds_is_a_leak():
    made = one_each(3, a=20, b=20)
    both = [made.frame.index[made.frame["fold"] == number][0] for number in ("2", "3")]  # both in train of the first
    study = made.frame["study"].copy()
    study[both] = "one"
    torn = made.with_frame(made.frame.assign(study=study))
    assert "shared-study" in {finding.kind for finding in audit_manifest(torn, None)}
    joined = torn.with_frame(torn.frame.drop(columns="fold"))
    joined = joined.with_frame(joined.frame.assign(split=in_turn(torn).frame["split"]))
    assert "shared-study" not in {finding.kind for finding in audit_manifest(joined, None)}
