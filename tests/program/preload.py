"""Imports what the program imports, so that processes forked from this one start without imports.

OMP_NUM_THREADS=1 must be set before: a process with threads of its own must not fork.
"""

import gc

from afterkernel.plugins import without_collections

with without_collections():
    import duckdb  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    import afterkernel.cli._start
    import afterkernel.cli.run
    import afterkernel.runs.run
    import afterkernel.training.fit  # noqa: F401

torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports what torch imports at the first optimizer alone

# A forked process that collects garbage, as each does at its end, would go through all that is imported, and copy it.
gc.freeze()
