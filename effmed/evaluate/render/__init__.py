"""The report for people: one self-contained page, plots and tables as files."""

from effmed.evaluate.render.files import write_report
from effmed.evaluate.render.page import render_html

__all__ = ["render_html", "write_report"]
