"""Folders, label tables and headers → Manifest."""

from effmed.data.scan.assemble import check_unreadable, scan

__all__ = ["check_unreadable", "scan"]
