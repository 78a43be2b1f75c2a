"""The report of an evaluation: a page, plots, tables and plain data."""

from kalm_reranker.evaluation.report.files import ReportFiles, write_report
from kalm_reranker.evaluation.report.terminal import render_table

__all__ = ["ReportFiles", "render_table", "write_report"]
