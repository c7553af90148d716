"""Shortcuts: intervals as published, one vote per patient, and sentences that a clinician understands."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effmed.data.audit.shortcuts import find_one_size_classes, find_shortcuts, newcombe_interval
from effmed.data.pixels.signature import Signatures
from tests import make

CHECKS = settings(max_examples=50, deadline=None)


def manifest(labels, *, patients=None, **columns):
    made = make.manifest(labels=labels, patients=patients)
    return made.with_frame(made.frame.assign(**columns))


def shortcuts(labels, *, patients=None, corners=None, **columns):
    n = len(labels)
    signatures = None
    if corners is not None:
        empty = np.zeros((n, 64, 64), np.uint8)
        signatures = Signatures(np.array(["x"] * n, object), empty, np.ones(n), np.array(corners, np.uint8))
    return find_shortcuts(manifest(labels, patients=patients, **columns), signatures)


def first(n, of, n_others, others_of, value="X", other="Y"):
    """Return levels: n of the first group's images have the value, n_others of the second's."""
    return [value] * n + [other] * (of - n) + [value] * n_others + [other] * (others_of - n_others)


SICK = ["sick"] * 40 + ["healthy"] * 60  # the classes in the order of their names: sick is the positive one


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0000),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_intervals_are_those_of_newcombe_1998_table_2(counts, low, high):
    interval = newcombe_interval(counts, 0.95)
    assert interval.value == pytest.approx(counts[0] / counts[1] - counts[2] / counts[3])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)


groups = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@CHECKS
@given(groups, groups, st.floats(0.5, 0.9999))
def test_an_interval_holds_the_difference_and_lies_between_minus_1_and_1(one, other, confidence):
    interval = newcombe_interval((*one, *other), confidence)
    assert -1 - 1e-12 <= interval.low <= interval.value + 1e-12
    assert interval.value - 1e-12 <= interval.high <= 1 + 1e-12


@CHECKS
@given(groups, groups)
def test_exchanging_the_groups_turns_the_interval_round(one, other):
    there, back = newcombe_interval((*one, *other), 0.95), newcombe_interval((*other, *one), 0.95)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert there.certain == pytest.approx(back.certain, abs=1e-12)


def test_nothing_is_certain_where_an_interval_holds_0():
    assert newcombe_interval((5, 10, 5, 10), 0.95).certain < 0


# ---------------------------------------------------------------- what is found


def test_a_scanner_that_decides_the_class_is_an_error_in_plain_words():
    found = shortcuts(SICK, scanner=first(40, 40, 0, 60))
    assert [(finding.kind, finding.severity) for finding in found] == [("shortcut", "error")]
    assert found[0].text.startswith(
        "all 40 patients of class sick have scanner X, 0 of 60 others do: a difference of +1.00"
    )
    assert "differ in scanner" in found[0].hint


def test_the_text_gives_the_interval_and_how_it_was_corrected():
    found = shortcuts(SICK, scanner=first(40, 40, 0, 60))
    interval = newcombe_interval((40, 40, 0, 60), 1 - 0.05 / 2)
    limits = f"(95 % interval {interval.low:+.2f} to {interval.high:+.2f}, corrected for 2 comparisons)"
    assert found[0].text.endswith(limits)


def test_a_scanner_that_goes_along_with_the_class_is_a_warning():
    found = shortcuts(SICK, scanner=first(30, 40, 12, 60))
    assert [(finding.kind, finding.severity) for finding in found] == [("shortcut", "warning")]
    assert found[0].text.startswith("30 of 40 patients of class sick have scanner X, 12 of 60 others do")


@pytest.mark.parametrize("n_others", [20, 25, 33])
def test_small_and_uncertain_differences_are_not_found(n_others):
    assert shortcuts(SICK, scanner=first(20, 40, n_others, 60)) == []


def test_a_level_that_only_the_others_have_is_found():
    """The positives come from many scanners, all negatives from one."""
    found = shortcuts(SICK, scanner=[f"S{k}" for k in range(40)] + ["X"] * 60)
    assert found[0].text.startswith(
        "0 of 40 patients of class sick have scanner X, all 60 others do: a difference of -1.00"
    )
    assert found[0].images[0] == "40.png"
    assert found[0].n_images == 60


def test_the_images_of_the_class_with_the_level_are_concerned():
    found = shortcuts(SICK, scanner=first(30, 40, 12, 60))
    assert found[0].images == tuple(f"{k}.png" for k in range(20))
    assert found[0].n_images == 30


def test_the_strongest_level_stands_for_its_attribute():
    scanner = ["X"] * 25 + ["Y"] * 15 + ["X"] * 2 + ["Y"] * 12 + ["Z"] * 46
    found = shortcuts(SICK, scanner=scanner)
    assert len(found) == 1
    assert "scanner Z" in found[0].text


def test_of_two_levels_the_one_that_the_class_has_is_named():
    for values in (("X", "Y"), ("Y", "X")):
        found = shortcuts(SICK, scanner=first(40, 40, 0, 60, *values))
        assert f"have scanner {values[0]}," in found[0].text


def test_levels_of_fewer_than_ten_patients_are_not_looked_at():
    labels = ["sick"] * 9 + ["healthy"] * 100
    assert shortcuts(labels, scanner=[*("X" * 9), *[f"Y{k}" for k in range(100)]]) == []
    assert shortcuts(["sick", *labels], scanner=[*("X" * 10), *[f"Y{k}" for k in range(100)]]) != []


@pytest.mark.parametrize(
    ("attribute", "value", "other", "phrase"),
    [
        ("manufacturer", "Acme", "Other", "manufacturer Acme"),
        ("site", "North", "South", "site North"),
        ("view", "AP", "PA", "view AP"),
        ("modality", "CR", "DX", "modality CR"),
        ("body_part", "CHEST", "THORAX", "body part CHEST"),
        ("laterality", "L", "R", "laterality L"),
        ("photometric", "MONOCHROME1", "MONOCHROME2", "photometric MONOCHROME1"),
        ("syntax", "1.2", "1.2.840", "syntax 1.2"),
        ("rows", 512, 1024, "size 512 x 16"),
        ("columns", 512, 1024, "size 12 x 512"),
        ("bits", 12, 8, "bits 12"),
        ("colour", True, False, "colour"),
        ("scanner", "X", None, "scanner X"),
        ("scanner", None, "X", "no scanner stated"),
    ],
)
def test_every_attribute_is_looked_at(attribute, value, other, phrase):
    found = shortcuts(SICK, **{attribute: first(40, 40, 0, 60, value, other)})
    assert [f"have {phrase}," in finding.text for finding in found] == [True]


@pytest.mark.parametrize(("bit", "corner"), list(enumerate(["top left", "top right", "bottom left", "bottom right"])))
def test_marks_in_every_corner_are_looked_at(bit, corner):
    found = shortcuts(SICK, corners=first(40, 40, 0, 60, 1 << bit, 0))
    assert [f"have a mark in the {corner} corner," in finding.text for finding in found] == [True]


def test_corners_are_those_of_labelled_images():
    labels = [None] * 30 + SICK
    made = manifest(SICK + ["sick"] * 30)
    made = made.with_frame(made.frame.assign(label=labels))
    empty = np.zeros((130, 64, 64), np.uint8)
    corners = np.array([1] * 30 + first(40, 40, 0, 60, 1, 0), np.uint8)
    found = find_shortcuts(made, Signatures(np.array(["x"] * 130, object), empty, np.ones(130), corners))
    expected = "all 40 patients of class sick have a mark in the top left corner, 0 of 60 others do"
    assert found[0].text.startswith(expected)
    assert found[0].images[0] == "30.png"


@pytest.mark.parametrize("attribute", ["sex", "age", "study", "split", "instance"])
def test_what_belongs_to_the_patient_is_no_shortcut(attribute):
    value, other = (30.0, 70.0) if attribute == "age" else ("F", "M")
    assert shortcuts(SICK, **{attribute: first(40, 40, 0, 60, value, other)}) == []


def test_attributes_that_nobody_states_are_not_looked_at():
    assert shortcuts(SICK, scanner=pd.NA, rows=0, columns=0, bits=0) == []


@pytest.mark.parametrize(("column", "name"), [("rows", "size"), ("columns", "size"), ("bits", "bits")])
def test_an_unknown_number_is_not_stated(column, name):
    found = shortcuts(SICK, **{column: first(40, 40, 0, 60, 0, 512)})
    assert f"have no {name} stated" in found[0].text


# ---------------------------------------------------------------- who votes


def test_a_patient_with_many_images_has_one_vote():
    """One patient of each class has 40 images of an own scanner; all others have the same one."""
    labels = ["sick"] * 40 + ["healthy"] * 40 + ["sick"] * 20 + ["healthy"] * 20
    patients = ["a"] * 40 + ["b"] * 40 + [f"p{k}" for k in range(40)]
    scanner = ["X"] * 40 + ["Y"] * 40 + ["Z"] * 40
    assert shortcuts(labels, patients=patients, scanner=scanner) == []
    assert shortcuts(labels, patients=None, scanner=scanner) != []


def test_a_patient_votes_for_what_most_images_say():
    labels = [label for label in SICK for _ in range(3)]
    patients = [f"p{k // 3}" for k in range(300)]
    scanner = [value for level in first(40, 40, 0, 60) for value in (level, "X", level)]
    found = shortcuts(labels, patients=patients, scanner=scanner)
    assert found[0].text.startswith("all 40 patients of class sick have scanner X, 0 of 60 others do")


def test_a_patient_of_two_classes_votes_in_both():
    labels = ["sick", "healthy"] * 40
    patients = [f"p{k // 2}" for k in range(80)]
    found = shortcuts(labels, patients=patients, view=["AP", "PA"] * 40)
    assert found[0].text.startswith("all 40 patients of class sick have view AP, 0 of 40 others do")


def test_images_of_unknown_patients_vote_for_themselves():
    found = shortcuts(SICK, patients=[None] * 100, scanner=first(40, 40, 0, 60))
    assert found[0].text.startswith("all 40 images of class sick have scanner X, 0 of 60 others do")


# ---------------------------------------------------------------- classes


def test_of_three_classes_each_is_compared_with_all_others():
    found = shortcuts(["a"] * 30 + ["b"] * 30 + ["c"] * 30, scanner=["X"] * 30 + ["Y"] * 60)
    texts = [finding.text for finding in found]
    assert texts[0].startswith("all 30 patients of class a have scanner X, 0 of 60 others do")
    assert len(texts) == 3


@pytest.mark.parametrize("labels", [["sick"] * 100, [None] * 100])
def test_one_class_alone_has_no_shortcut(labels):
    made = manifest(SICK, scanner=first(40, 40, 0, 60))
    assert find_shortcuts(made.with_frame(made.frame.assign(label=labels)), None) == []


def test_images_without_a_label_do_not_count():
    made = manifest([*SICK, "sick"], scanner=[*first(40, 40, 0, 60), "Y"])
    made = made.with_frame(made.frame.assign(label=[*SICK, None]))
    assert find_shortcuts(made, None)[0].text.startswith("all 40 patients of class sick have scanner X, 0 of 60")


def test_what_is_found_does_not_depend_on_the_rows_numbers():
    made = manifest(SICK, scanner=first(40, 40, 0, 60))
    other = made.with_frame(made.frame)
    other.frame.index = range(500, 600)
    assert find_shortcuts(other, None) == find_shortcuts(made, None)


@CHECKS
@given(st.integers(0, 1000))
def test_chance_is_not_taken_for_a_shortcut(seed):
    chance = np.random.default_rng(seed)
    columns = {name: chance.choice(list("XYZ"), 100) for name in ("scanner", "site", "view", "manufacturer")}
    assert shortcuts(SICK, **columns) == []


def test_more_comparisons_need_more_evidence():
    scanner = first(20, 40, 5, 60)
    others = {name: [f"{k % 5}" for k in range(100)] for name in ("site", "view", "manufacturer", "syntax", "modality")}
    assert len(shortcuts(SICK, scanner=scanner)) == 1
    assert shortcuts(SICK, scanner=scanner, **others) == []


# ---------------------------------------------------------------- sizes


def sizes(labels, rows, columns=16):
    return find_one_size_classes(manifest(labels, rows=rows, columns=columns))


def test_a_class_of_one_size_among_others_is_a_warning():
    found = sizes(SICK, [512] * 40 + [512] * 10 + list(range(600, 650)))
    assert [(finding.kind, finding.severity) for finding in found] == [("one-size-class", "warning")]
    assert found[0].text == "all 40 images of class sick are 512 x 16 pixels, 50 of 60 others have another size"
    assert found[0].n_images == 40
    assert found[0].images[0] == "0.png"


def test_a_class_of_one_height_but_several_widths_is_not_of_one_size():
    assert sizes(SICK, 512, columns=[20, 30] * 50) == []


def test_one_size_for_all_is_fine():
    assert sizes(SICK, 512) == []


@pytest.mark.parametrize(("n_different", "n_found"), [(29, 0), (30, 1)])
def test_half_of_the_others_must_have_another_size(n_different, n_found):
    rows = [512] * 40 + [512] * (60 - n_different) + [513] * n_different
    assert len([finding for finding in sizes(SICK, rows) if "class sick" in finding.text]) == n_found


@pytest.mark.parametrize(("n", "n_found"), [(9, 0), (10, 1)])
def test_a_class_needs_ten_images_to_be_of_one_size(n, n_found):
    labels = ["sick"] * n + ["healthy"] * 20
    assert len(sizes(labels, [512] * n + list(range(20)))) == n_found


def test_unknown_sizes_and_labels_do_not_count():
    made = manifest([*SICK, "sick", "sick"], rows=[512] * 40 + [600] * 30 + [700] * 30 + [999, 0])
    made = made.with_frame(made.frame.assign(label=[*SICK, None, "sick"]))
    found = find_one_size_classes(made)
    assert [(finding.n_images, "all 60 others" in finding.text) for finding in found] == [(40, True)]


def test_a_class_without_others_is_fine():
    assert sizes(["sick"] * 30, 512) == []


def test_several_labels_are_each_looked_at_where_they_are_known():
    """The mark goes along with ``a``; where ``a`` is not known it does not."""
    labels = {"a": ["1"] * 30 + ["0"] * 30 + [None] * 30, "b": ["1", "0"] * 45}
    made = make.several(labels)
    views = ["AP"] * 30 + ["PA"] * 30 + ["AP", "PA"] * 15
    found = find_shortcuts(made.with_frame(made.frame.assign(view=views)), None)
    assert [each.severity for each in found] == ["error"]
    assert "all 30 patients of class a have view AP" in found[0].text
    sizes = made.with_frame(made.frame.assign(rows=[10] * 30 + [12] * 60))
    assert any("class a are 10 x 16 pixels" in each.text for each in find_one_size_classes(sizes))
