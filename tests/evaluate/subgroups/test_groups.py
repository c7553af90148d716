from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effmed.errors import DataError
from effmed.evaluate.subgroups import age_bands, make_groups

EDGES = (18, 40, 60, 80)


def named(groups) -> list[str | None]:
    return [None if code < 0 else groups.names[code] for code in groups.codes]


def test_every_image_is_in_the_group_of_its_value() -> None:
    values = np.array(["F", "M", "F", "O"], dtype=object)
    assert named(make_groups(values)) == ["F", "M", "F", "O"]


def test_missing_values_are_counted_and_make_no_group() -> None:
    groups = make_groups(np.array(["F", None, math.nan, "", "  ", pd.NA, "M"], dtype=object))
    assert (groups.names, groups.n_missing) == (("F", "M"), 5)


def test_a_column_without_any_value_has_no_group() -> None:
    groups = make_groups(np.array([None, math.nan], dtype=object))
    assert (groups.names, groups.codes.tolist()) == ((), [-1, -1])


def test_no_images_make_no_group() -> None:
    assert make_groups(np.array([], dtype=object)).names == ()


def test_names_are_ordered_as_people_count() -> None:
    values = np.array(["site 10", "site 2", "Site 1", "other"], dtype=object)
    assert make_groups(values).names == ("other", "Site 1", "site 2", "site 10")
    assert make_groups(np.array([3.0, 1.5, 10.0])).names == ("1.5", "3", "10")


def test_numbers_before_and_between_texts_can_be_ordered() -> None:
    assert make_groups(np.array(["b", "7", "a1b", 3, "a"], dtype=object)).names == ("3", "7", "a", "a1b", "b")


def test_whole_numbers_are_named_alike_with_and_without_gaps() -> None:
    assert make_groups(np.array([1, 2])).names == make_groups(np.array([1.0, 2.0, math.nan])).names == ("1", "2")


def test_values_that_differ_in_type_or_spaces_alone_are_one_group() -> None:
    groups = make_groups(np.array(["A", " A ", 1, "1", np.float32(1)], dtype=object))
    assert named(groups) == ["A", "A", "1", "1", "1"]


def test_infinite_numbers_are_values_like_others() -> None:
    assert make_groups(np.array([math.inf, 1.0])).names == ("1", "inf")


@given(st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats()), max_size=20))
def test_every_image_has_a_group_or_is_missing(values: list[object]) -> None:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    groups = make_groups(array)
    assert set(groups.codes.tolist()) - {-1} == set(range(len(groups.names)))
    assert "" not in groups.names


def test_bands_are_named_by_completed_years_and_ordered_by_age() -> None:
    groups = age_bands(np.array([80, 39.9, 17.99, 18, 0, 40, 79.5, 60]), EDGES)
    assert groups.names == ("under 18", "18 to 39", "40 to 59", "60 to 79", "80 or more")
    assert groups.codes.tolist() == [4, 1, 0, 1, 0, 2, 3, 3]


def test_bands_without_an_image_are_left_out() -> None:
    groups = age_bands(np.array([85, 20]), EDGES)
    assert (groups.names, groups.codes.tolist()) == (("18 to 39", "80 or more"), [1, 0])


@pytest.mark.parametrize("age", [-1, 131, 999, math.nan, math.inf, None, "unknown", ""])
def test_ages_that_nobody_has_are_missing(age: object) -> None:
    groups = age_bands(np.array([age, 50], dtype=object), EDGES)
    assert (groups.names, groups.n_missing) == (("40 to 59",), 1)


def test_ages_written_as_text_are_read() -> None:
    assert age_bands(np.array(["45", 46.0], dtype=object), EDGES).names == ("40 to 59",)


def test_a_band_of_one_year_is_named_by_it() -> None:
    assert age_bands(np.array([5.5, 6]), (5, 6)).names == ("5", "6 or more")


@pytest.mark.parametrize("edges", [(), (0, 18), (40, 18), (18, 18), (17.5, 40), (-5,)])
def test_edges_that_cut_no_bands_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="ages cannot be cut at"):
        age_bands(np.array([5.0]), edges)


@given(st.floats(0, 130))
def test_every_age_lies_within_its_band(age: float) -> None:
    (name,) = age_bands(np.array([age]), EDGES).names
    numbers = [int(word) for word in name.split() if word.isdigit()]
    low = 0 if name.startswith("under") else numbers[0]
    high = {"under": numbers[0], "to": numbers[-1] + 1, "or": math.inf}[next(w for w in name.split() if w.isalpha())]
    assert low <= age < high
