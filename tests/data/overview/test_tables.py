"""Tables of a data folder: every image counted once, what is not stated said."""

import numpy as np
import pandas as pd

from effmed.data.overview import make_overview
from tests import make


def manifest(**columns):
    made = make.manifest(
        labels=["a", "b", "a", "b"], patients=["p", "p", "q", "r"], splits=["train", "train", "val", "test"]
    )
    return made.with_frame(made.frame.assign(**columns))


def counts(overview, name):
    return {tally.value: (tally.n_images, tally.per_class) for tally in overview.tables[name]}


def test_splits_are_counted_in_their_order_with_all_at_the_end():
    splits = make_overview(manifest(study=["s", "t", "t", pd.NA])).splits
    assert [(each.split, each.n_images, each.n_patients, each.n_studies) for each in splits] == [
        ("train", 2, 1, 2),
        ("val", 1, 1, 1),
        ("test", 1, 1, None),
        ("all", 4, 3, 2),
    ]
    assert splits[0].per_class == {"a": 1, "b": 1}


def test_images_that_are_not_divided_are_counted_as_one():
    whole = make.manifest(labels=["a", "b"])
    assert [each.split for each in make_overview(whole).splits] == ["all"]


def test_values_come_by_frequency_then_by_name():
    found = make_overview(manifest(view=["PA", "AP", "LL", "PA"]))
    assert list(counts(found, "view")) == ["PA", "AP", "LL"]
    assert counts(found, "view")["PA"] == (2, {"a": 1, "b": 1})


def test_what_some_images_do_not_state_is_said_and_what_none_states_left_out():
    found = make_overview(manifest(scanner=["X", pd.NA, "X", pd.NA]))
    assert counts(found, "scanner")["not stated"] == (2, {"a": 0, "b": 2})
    assert "manufacturer" not in found.tables
    assert "age" not in found.tables


def test_sizes_are_width_by_height_and_ages_in_bands():
    found = make_overview(manifest(rows=[12, 12, 0, 20], age=[0.5, 19.9, np.nan, 20.0]))
    assert counts(found, "size") == {
        "16 x 12": (2, {"a": 1, "b": 1}),
        "16 x 20": (1, {"a": 0, "b": 1}),
        "not stated": (1, {"a": 1, "b": 0}),
    }
    assert {value: n for value, (n, _) in counts(found, "age").items()} == {
        "0 to 19 years": 2,
        "20 to 39 years": 1,
        "not stated": 1,
    }


def test_transfer_syntaxes_have_names():
    found = make_overview(manifest(syntax=["1.2.840.10008.1.2.4.50", "png", "1.2.3", "1.2.840.10008.1.2.4.50"]))
    assert list(counts(found, "syntax")) == ["JPEG Baseline (Process 1)", "1.2.3", "png"]


def test_without_labels_there_are_no_classes():
    made = manifest()
    bare = type(made)(made.root, made.frame.assign(label=pd.NA))
    assert make_overview(bare).tables["size"][0].per_class == {}
