"""The report: tables, figures and one HTML page, made only from the stored records."""

from afterkernel.report.page import build

__all__ = ["build"]
