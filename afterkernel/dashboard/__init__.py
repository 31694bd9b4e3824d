"""The dashboard of a sweep on W&B, as code: a workspace, a report, and one W&B run with the figures and tables."""
