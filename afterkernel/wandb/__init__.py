"""Weights & Biases: one W&B run per run, offline by default."""

import os

# W&B's client reports its own errors, whose tracebacks name local paths, to its maker, even from offline runs. A value
# that the user has set is kept.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
