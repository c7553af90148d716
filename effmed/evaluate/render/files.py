"""A report on disk: JSON, one page, plots as SVG and PNG, tables as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from effmed.evaluate.render.checklist import COLUMNS, checklist_rows
from effmed.evaluate.render.page import render_page
from effmed.evaluate.render.plots import make_plots
from effmed.run import replacing, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from effmed.evaluate.report import Report


def write_report(report: Report, folder: Path, thumbnails: Mapping[tuple[str, int], bytes] | None = None) -> None:
    """Write ``report.json``, ``report.html``, ``plots/*.svg`` and ``*.png``, ``tables/*.csv``.

    Every file is written whole or not at all; ``report.json`` comes last.

    Args:
        report: What is written.
        folder: Where.
        thumbnails: Small PNG files of the images among the worst errors, by image and frame; only the page holds them.

    Raises:
        MachineError: The disk is full, or there is no permission.
    """
    plots = make_plots(report)
    for plot in plots:
        _write_bytes(folder / "plots" / f"{plot.name}.svg", plot.svg)
        _write_bytes(folder / "plots" / f"{plot.name}.png", plot.png)
    for name, table in report.tables.items():
        write_text(folder / "tables" / f"{name}.csv", csv_text(table.columns, table.rows))
    write_text(folder / "tables" / "metrics.csv", _metrics_text(report))
    write_text(folder / "tables" / "checklist.csv", csv_text(COLUMNS, checklist_rows(report)))
    write_text(folder / "report.html", render_page(report, plots, thumbnails))
    write_json(folder / "report.json", report)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows below column names as CSV; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _metrics_text(report: Report) -> str:
    """Return one row per metric; the subgroup is two columns, empty for all images."""
    rows = []
    for metric in report.metrics:
        row = metric.model_dump(mode="json", by_alias=True)
        subgroup = row.pop("subgroup") or {}
        rows.append({**row, **{f"subgroup_{part}": subgroup.get(part) for part in ("column", "value")}})
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])


def _write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
