"""Imports what the program imports, so that processes forked from this one start without imports.

OMP_NUM_THREADS=1 must be set before: a process with threads of its own must not fork.
"""

import duckdb  # noqa: F401
import torch

import afterkernel.cli.run
import afterkernel.runs.run
import afterkernel.training.fit  # noqa: F401

torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports what torch imports at the first optimizer alone
