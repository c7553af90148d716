"""The page of a comparison and its files."""

import csv
import json
import re

import pytest

from effmed.errors import MachineError
from effmed.evaluate.comparison import Comparison, compare
from effmed.evaluate.render import comparison as rendering
from effmed.evaluate.render.comparison import (
    difference_rows,
    limits_text,
    render_comparison,
    summary,
    write_comparison,
)
from effmed.evaluate.render.text import p_text, signed_text, value_text
from tests.evaluate.comparison.make import FEW_DRAWS, several, some, table, two
from tests.evaluate.test_render import Reader

HOSTILE = "<script>alert(1)</script>"


def compared(tables, names=("net one", "net two")):
    return compare(*tables, FEW_DRAWS, names=names)


@pytest.fixture(scope="module")
def binary():
    return compared(two(images=2))


@pytest.fixture(scope="module")
def three():
    return compared(several(classes=("a", HOSTILE, "c")), (HOSTILE, "B & C"))


@pytest.mark.parametrize("found", ["binary", "three"])
def test_every_tag_closes_and_nothing_is_fetched_or_run(found, request):
    page = Reader(render_comparison(request.getfixturevalue(found)))
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(page.tags)
    assert [value for value in page.values("href") + page.values("src") if not value.startswith("#")] == []
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "@import" not in "".join(page.text)
    assert "url(" not in "".join(page.text)


def test_names_and_classes_are_escaped(three):
    page = render_comparison(three)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_every_difference_stands_on_the_page_with_interval_and_p(binary):
    page = "".join(Reader(render_comparison(binary)).text)
    for row in difference_rows(binary):
        for text in (row.label, row.difference, row.limits, row.p_value, row.notes, row.basis):
            assert text in page
    for text in (*binary.warnings, *binary.digests, summary(binary)):
        assert text in page


def test_the_class_is_named_where_there_are_more_than_two(three, binary):
    assert '<th scope="col">class</th>' in render_comparison(three)
    assert '<th scope="col">class</th>' not in render_comparison(binary)


def test_the_page_looks_like_the_report():
    templates = rendering.TEMPLATES
    for name in ("report.html.j2", "comparison.html.j2"):
        assert '{% include "style.css.j2" %}' in (templates / name).read_text()
    assert "font-variant-numeric" in (templates / "style.css.j2").read_text()


def test_the_summary_is_the_auroc_in_a_sentence(binary):
    main = binary.differences[0]
    assert re.fullmatch(
        rf"AUROC for 'opacity' {main.first:.3f} for net one and {main.second:.3f} for net two on 80 images of "
        rf"40 patients: difference \+{main.difference:.3f} \(95 % interval .\d\.\d+ to .\d\.\d+, p [<=] [\d.]+\)\.",
        summary(binary),
    )


def test_of_several_classes_it_is_the_average(three):
    assert summary(three).startswith("AUROC, macro average 0.")


def test_what_could_not_be_compared_is_said_in_the_summary():
    _, first, second, _ = some(20)
    found = compared([table([0] * 20, each) for each in (first, second)])
    want = "The difference of AUROC for 'opacity' could not be estimated on 20 images: there is no positive image."
    assert summary(found) == want
    assert "not estimable" in render_comparison(found)


def test_a_difference_without_an_interval_says_why_in_the_summary():
    found = compared([table([0, 0, 1, 1], each) for each in ([0.1, 0.2, 0.8, 0.9], [0.2, 0.1, 0.8, 0.9])])
    assert "difference 0.000 (without an interval, the variance of the difference is 0" in summary(found)


def test_a_page_of_nothing_but_reasons_is_a_page():
    found = compared([table([1], [0.7]), table([1], [0.6])])
    rows = difference_rows(found)
    assert {row.bar for row in rows} == {None}
    Reader(render_comparison(found))


def test_intervals_are_drawn_on_one_scale(binary):
    drawn = [each for each in binary.differences if each.name != "log_loss"]
    largest = max(max(abs(each.low), abs(each.high)) for each in drawn)
    rows = [row for row in difference_rows(binary) if row.label != "log loss"]
    assert [row.bar for row in difference_rows(binary) if row.label == "log loss"] == [None]
    for each, row in zip(drawn, rows, strict=True):
        want = [50 + 48 * value / largest for value in (each.low, each.difference, each.high)]
        assert row.bar == pytest.approx(want, abs=0.06)


def test_numbers_are_written_as_people_read_them():
    assert [value_text(value) for value in (None, 0.12345, -0.12345, -0.0001)] == ["–", "0.123", "−0.123", "0.000"]
    assert [signed_text(value) for value in (0.5, -0.5, 0.0001)] == ["+0.500", "−0.500", "0.000"]
    assert [p_text(value) for value in (None, 1.0, 0.04, 0.0004)] == ["–", "1.000", "0.040", "< 0.001"]


def test_limits_bear_their_sign(binary):
    each = binary.differences[0].model_copy(update={"low": -0.01, "high": 0.02})
    assert limits_text(each) == "−0.010 to +0.020"
    assert limits_text(each.model_copy(update={"low": None})) == ""


def test_a_net_benefit_names_its_threshold(binary):
    assert [row.label for row in difference_rows(binary) if row.label.startswith("net")] == [
        f"net benefit at {threshold}" for threshold in (0.1, 0.2, 0.3)
    ]


def test_files_hold_every_number(binary, tmp_path):
    write_comparison(binary, tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert names == {"comparison.json", "comparison.html", "tables/differences.csv"}
    again = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert Comparison.model_validate(again) == binary
    with (tmp_path / "out" / "tables" / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["difference"]) for row in rows] == [each.difference for each in binary.differences]
    assert rows[0]["class"] == "opacity"


def test_what_cannot_be_written_leaves_no_marker(binary, tmp_path):
    (tmp_path / "comparison.html").mkdir()
    with pytest.raises(MachineError):
        write_comparison(binary, tmp_path)
    assert not (tmp_path / "comparison.json").exists()
    assert list((tmp_path / "comparison.html").iterdir()) == []
