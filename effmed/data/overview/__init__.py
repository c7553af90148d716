"""A data folder for people: tables of what it holds, and a sheet of its pictures."""

from effmed.data.overview.sheet import encode_png, write_sheet
from effmed.data.overview.tables import Overview, Share, Tally, make_overview

__all__ = ["Overview", "Share", "Tally", "encode_png", "make_overview", "write_sheet"]
