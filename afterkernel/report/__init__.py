"""The report: tables, figures and one HTML page, made from the store alone."""

from afterkernel.report.page import build

__all__ = ["build"]
