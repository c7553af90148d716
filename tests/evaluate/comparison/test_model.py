"""``comparison.json``: a closed format with the fields that scripts rely on."""

import pytest
from pydantic import ValidationError

from effmed.evaluate.comparison import Comparison, PairedDifference

FIELDS = {
    *("name", "class", "threshold", "first", "second", "difference", "low", "high", "p_value"),
    *("first_only", "second_only", "method", "unit", "n", "n_events", "n_patients", "status", "reason"),
}


def difference(**changes):
    values = {
        **{"name": "auroc", "class": "opacity", "first": 0.8, "second": 0.7, "difference": 0.1},
        **{"low": 0.0, "high": 0.2, "p_value": 0.05, "method": "some", "unit": "image"},
        **{"n": 10, "n_events": 5, "n_patients": None, "status": "ok", "reason": ""},
    }
    return PairedDifference.model_validate(values | changes)


def test_a_difference_has_these_fields():
    assert set(difference().model_dump(by_alias=True)) == FIELDS


def test_nothing_unknown_is_taken_and_nothing_changed():
    with pytest.raises(ValidationError):
        difference(median=0.1)
    with pytest.raises(ValidationError):
        difference(status="suppressed")
    with pytest.raises(ValidationError):
        difference().first = 0.9


def test_the_version_is_1():
    assert Comparison.model_fields["version"].default == 1
