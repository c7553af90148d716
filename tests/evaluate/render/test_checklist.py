"""The reporting checklist: its items, its place on the page, its table."""

import csv
import re

import pytest

from effmed.evaluate.render import render_html, write_report
from effmed.evaluate.render.answers import ANSWERS
from effmed.evaluate.render.checklist import COLUMNS, OPEN, checklist_rows, make_checklist, read_guidelines
from effmed.evaluate.report import make_report
from tests.evaluate import make
from tests.evaluate.test_render import FEW_DRAWS, Reader

NO_ERRORS = FEW_DRAWS.model_copy(update={"n_worst": 0})  # listed

COUNTS = {"TRIPOD+AI 2024": 52, "CLAIM 2024": 44, "STARD-AI 2025": 48}
SOURCES = ("doi:10.1136/bmj-2023-078378", "doi:10.1148/ryai.240300", "doi:10.1038/s41591-025-03953-8")
LAST = {"TRIPOD+AI": 27, "CLAIM": 44, "STARD-AI": 40}
DIVIDED = {  # how many letters the items have that are divided
    "TRIPOD+AI": {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3},
    "CLAIM": {},
    "STARD-AI": {15: 4, 16: 3, 17: 2, 26: 2, 40: 2},
}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def report():
    return make_report(make.binary(60, failures={4: ("broken", "mend it")}), make.run_context(), NO_ERRORS)


@pytest.fixture(scope="module")
def page(report):
    return render_html(report)


@pytest.fixture(scope="module")
def another_programs():
    """A table of probabilities alone."""
    table = make.binary(40, point=None, calibrator=make.identity, patient=None)
    context = make.context(
        calibrator=make.identity(), operating_points=(), facts={"source": "t.csv"}, split="table", variant="unknown"
    )
    return make_report(table, context, NO_ERRORS)


def answered(report):
    return {(part.name, item.number): item for part in make_checklist(report) for item in part.items if item.answer}


# ---------------------------------------------------------------- the guidelines


def test_the_checklist_has_every_item_of_the_three_guidelines(report):
    assert {part.name: len(part.items) for part in make_checklist(report)} == COUNTS
    assert tuple(part.source for part in make_checklist(report)) == SOURCES


@pytest.mark.parametrize("guideline", read_guidelines(), ids=lambda each: each["name"])
def test_items_are_numbered_as_published(guideline):
    divided = DIVIDED[guideline["name"]]
    wanted = []
    for number in range(1, LAST[guideline["name"]] + 1):
        letters = "abcdefg"[: divided.get(number, 0)]
        wanted += [f"{number}{letter}" for letter in letters] or [str(number)]
    assert [item["number"] for item in guideline["items"]] == wanted


@pytest.mark.parametrize("guideline", read_guidelines(), ids=lambda each: each["name"])
def test_every_item_has_section_topic_and_a_key_or_none(guideline):
    for item in guideline["items"]:
        assert set(item) == {"number", "section", "topic", "answer"}
        assert item["section"]
        assert item["topic"]
    assert len({item["topic"] for item in guideline["items"]}) == len(guideline["items"])


def test_every_key_has_a_function_and_every_function_is_used():
    keys = {item["answer"] for guideline in read_guidelines() for item in guideline["items"]} - {None}
    assert keys == set(ANSWERS)


# ---------------------------------------------------------------- what is answered


def test_an_answer_and_the_place_where_it_stands_come_together(report, another_programs):
    for each in (report, another_programs):
        items = [item for part in make_checklist(each) for item in part.items]
        assert all(bool(item.answer) == bool(item.anchor) for item in items)
        assert all(part.n_answered == sum(bool(item.answer) for item in part.items) for part in make_checklist(each))


@pytest.mark.parametrize("number", ["1", "5a", "10", "17", "18a", "25"])
def test_what_only_authors_know_is_left_to_them(number, report):
    assert ("TRIPOD+AI 2024", number) not in answered(report)


def test_another_programs_table_answers_less_than_a_run(report, another_programs):
    run, table = answered(report), answered(another_programs)
    assert set(table) < set(run)
    for key in (("TRIPOD+AI 2024", "15"), ("TRIPOD+AI 2024", "12f"), ("CLAIM 2024", "20"), ("STARD-AI 2025", "30")):
        assert key in run
        assert key not in table


@pytest.mark.parametrize(
    "key",
    [("TRIPOD+AI 2024", "12d"), ("TRIPOD+AI 2024", "14"), ("TRIPOD+AI 2024", "23b"), ("CLAIM 2024", "39"),
     ("STARD-AI 2025", "21"), ("STARD-AI 2025", "23"), ("STARD-AI 2025", "28"), ("CLAIM 2024", "33")],
)  # fmt: skip
def test_without_subgroups_errors_and_variations_their_items_are_left_to_the_author(key, report):
    assert key not in answered(report)


def test_another_threshold_makes_another_answer(report):
    other = make_report(make.binary(60), make.run_context(operating_points=(make.point(threshold=0.25),)), FEW_DRAWS)
    key = ("STARD-AI 2025", "15c")
    assert "0.400" in answered(report)[key].answer
    assert "0.250" in answered(other)[key].answer


# ---------------------------------------------------------------- page and table


def test_every_answer_leads_to_a_place_on_its_page(report, page, another_programs):
    for each, text in ((report, page), (another_programs, render_html(another_programs))):
        ids = set(Reader(text).values("id"))
        assert {item.anchor for item in answered(each).values()} <= ids


def test_the_page_counts_what_is_answered(report, page):
    text = "".join(Reader(page).text)
    for part in make_checklist(report):
        assert f"{part.name}: {part.n_answered} of {len(part.items)} items answered by this report" in text


def test_the_page_shows_every_item_with_its_answer_or_who_must_give_it(report, page):
    section = page[page.index('id="checklist"') : page.index('id="limits"')]
    n_items = sum(COUNTS.values())
    assert section.count('<th scope="row">') == n_items
    assert section.count(f"<td>{OPEN}</td>") == n_items - len(answered(report))
    assert re.findall(r'<a href="#([^"]+)"', section) == [item.anchor for item in answered(report).values()]


def test_the_tables_of_the_checklist_can_be_reached_and_read_aloud(page):
    section = page[page.index('id="checklist"') : page.index('id="limits"')]
    assert section.count("<details>") == section.count("<caption>") == section.count('role="region"') == len(COUNTS)
    labels = re.findall(r'aria-label="([^"]+)"', section)
    assert len(labels) == len(set(labels))


def test_the_chapters_name_the_checklist(page):
    assert '<a href="#checklist">Checklist</a>' in page


def test_answers_are_escaped():
    context = make.run_context(facts=make.RUN_FACTS | {"starting weights": HOSTILE})
    reader = Reader(render_html(make_report(make.binary(24), context, FEW_DRAWS)))
    assert "script" not in reader.tags
    assert f"Starting weights: {HOSTILE}." in "".join(reader.text)


def test_the_table_has_a_row_per_item(report, tmp_path):
    write_report(report, tmp_path)
    with (tmp_path / "tables" / "checklist.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [tuple(row) for row in rows[1:]] == checklist_rows(report)
    by_item = {(row[0], row[1]): row for row in rows[1:]}
    assert by_item["TRIPOD+AI 2024", "1"][4:] == [OPEN, ""]
    assert by_item["TRIPOD+AI 2024", "15"][5] == "report.html#decisions"
