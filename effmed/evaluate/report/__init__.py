"""The report: every number that a predictions table supports, with interval, basis and reason."""

from effmed.evaluate.report.make import make_report
from effmed.evaluate.report.model import FlowStep, Metric, Report, ReportContext, ReportData, Table

__all__ = ["FlowStep", "Metric", "Report", "ReportContext", "ReportData", "Table", "make_report"]
