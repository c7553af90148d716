"""The reporting checklist: what three guidelines ask for, and what a report answers of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from effmed.evaluate.render.answers import ANSWERS

if TYPE_CHECKING:
    from effmed.evaluate.report import Report

GUIDELINES = Path(__file__).parent / "checklist.yaml"
COLUMNS = ("guideline", "item", "section", "topic", "answer", "where")
OPEN = "author must supply"


@dataclass(frozen=True)
class ChecklistItem:
    """One item of a guideline.

    Attributes:
        number: As published, such as ``12a``.
        section: Of the paper that it belongs to.
        topic: What it asks for, in our words.
        answer: What the report says; empty where only the author knows.
        anchor: Id of the place on the page where the answer stands; empty without an answer.
    """

    number: str
    section: str
    topic: str
    answer: str
    anchor: str


@dataclass(frozen=True)
class ChecklistPart:
    """One guideline.

    Attributes:
        name: With its year.
        source: Where the guideline itself is found.
        items: In the published order.
    """

    name: str
    source: str
    items: tuple[ChecklistItem, ...]

    @property
    def n_answered(self) -> int:
        """Items that the report answers."""
        return sum(1 for item in self.items if item.answer)


def make_checklist(report: Report) -> tuple[ChecklistPart, ...]:
    """Answer every item that the report holds an answer to: TRIPOD+AI, CLAIM and STARD-AI.

    An item is answered only by what stands in this very report; the others are left to the author.
    """
    return tuple(
        ChecklistPart(
            name=f"{guideline['name']} {guideline['year']}",
            source=guideline["source"],
            items=tuple(_make_item(item, report) for item in guideline["items"]),
        )
        for guideline in read_guidelines()
    )


@cache
def read_guidelines() -> tuple[dict[str, Any], ...]:
    """Return the guidelines as the file beside this module holds them."""
    return tuple(yaml.safe_load(GUIDELINES.read_text(encoding="utf-8")))


def checklist_rows(report: Report) -> list[tuple[str, ...]]:
    """Return one row per item, in the columns of ``COLUMNS``."""
    return [
        (
            part.name,
            item.number,
            item.section,
            item.topic,
            item.answer or OPEN,
            f"report.html#{item.anchor}" if item.anchor else "",
        )
        for part in make_checklist(report)
        for item in part.items
    ]


def _make_item(item: dict[str, str | None], report: Report) -> ChecklistItem:
    key = item["answer"]
    answer = ANSWERS[key](report) if key else None
    return ChecklistItem(
        number=str(item["number"]),
        section=str(item["section"]),
        topic=str(item["topic"]),
        answer=answer.text if answer else "",
        anchor=answer.anchor if answer else "",
    )
