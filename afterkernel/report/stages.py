"""Stages of training at which runs are averaged over seeds: chosen epochs, the end, and training losses.

Runs that stop at a loss end at different epochs, and snapshots at losses fall anywhere: an average over the runs that
happen to share an epoch would be one over a selection of seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims.equal_loss import levels, trajectories
from afterkernel.claims.readings import columns_of
from afterkernel.claims.stats import columns, mean_over_seeds

if TYPE_CHECKING:
    import pandas as pd

    from afterkernel.records.glossary import Term

LAST, AT_LOSSES = "last", "at losses"
_CELL = ["panel", "learning_rate"]


def at_stages(rows: pd.DataFrame, *, with_losses: bool = False) -> pd.DataFrame:
    """The rows at chosen epochs, and those of the last snapshots as a stage of their own where these are others.

    The column `stage` is the epoch as text, or "last", with the mean over the runs of a cell as its epoch. With
    `with_losses` all other rows, of snapshots at losses, follow as one stage.
    """
    import pandas as pd

    chosen = rows[rows["planned"]]
    chosen = chosen.assign(stage=[fmt.plain(epoch) for epoch in chosen["epoch"]])
    ends = rows[rows["last"]]
    cells = ends.groupby(_CELL)
    at_one_chosen = cells["planned"].transform("all") & (cells["epoch"].transform("nunique") == 1)
    ends = ends[~at_one_chosen].assign(stage=LAST)
    ends["epoch"] = ends.groupby(_CELL)["epoch"].transform("mean")
    parts = [chosen, ends]
    if with_losses:
        others = rows[~rows["planned"] & ~rows["last"]].assign(stage=AT_LOSSES)
        others["epoch"] = others.groupby(_CELL)["epoch"].transform("mean")
        parts.append(others)
    return pd.concat([part for part in parts if len(part)] or [chosen], ignore_index=True)


def stages(table: pd.DataFrame) -> list[str]:
    """The stages of a table in order: chosen epochs, then the others."""
    names = set(table["stage"])
    return [*sorted(names - {LAST, AT_LOSSES}, key=float), *(name for name in (AT_LOSSES, LAST) if name in names)]


def at_losses(rows: pd.DataFrame, terms: list[Term]) -> pd.DataFrame:
    """Numbers at the chosen training losses, by learning rate, over seeds, for the rows of one panel and kernel.

    Each run is interpolated between the snapshots that bracket a loss, as claims do (`claims.equal_loss`). Columns:
    measure, learning_rate, epoch (the loss, in nats), mean, standard_error, ci95_low, ci95_high, n_seeds (of the runs
    that have a value).
    """
    import pandas as pd

    found = []
    measured = {term: trajectories(columns_of(rows, term.name), "learning_rate", term.name) for term in terms}
    for rate, group in rows.groupby("learning_rate"):
        losses = levels(group)
        for term, by_rate in measured.items():
            for loss in losses:
                values = [one.value for run in by_rate[rate].values() if not (one := run.at(loss)).missing]
                if (mean := mean_over_seeds(values, term.bounds)) is not None:
                    keys = {"measure": term.name, "learning_rate": rate, "epoch": loss}
                    found.append({**keys, **columns(mean)})
    return pd.DataFrame(found)
