"""The report for people: one self-contained page, plots and tables as files."""

from effmed.evaluate.render.files import write_report
from effmed.evaluate.render.page import render_html
from effmed.evaluate.render.parts.errors import named_images

__all__ = ["named_images", "render_html", "write_report"]
