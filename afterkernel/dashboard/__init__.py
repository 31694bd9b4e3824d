"""The W&B dashboard of a sweep as code: a workspace, a report, and a W&B run with the figures and tables."""
