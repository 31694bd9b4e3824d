"""Figure: the trajectory of a kernel: everything measured of it against epochs, one line per learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims.stats import columns, mean_over_seeds
from afterkernel.records.record import SHARE
from afterkernel.report import style
from afterkernel.report.sections import KEYS
from afterkernel.report.stages import at_losses, at_stages
from afterkernel.report.table_data import by_column, with_floats
from afterkernel.report.terms import heading, measured, terms_of

if TYPE_CHECKING:
    import pandas as pd

    from afterkernel.records.glossary import Term

LOSS = "training loss"
_COLUMNS, _WIDTH, _HEIGHT = 4, 222, 120
_TABLE = ["measure", "learning_rate", "epoch", *columns(None)]


def trajectory(rows: pd.DataFrame) -> pd.DataFrame:
    """All that was measured, by learning rate and epoch, over seeds, as fractions.

    Columns: measure, learning_rate, epoch, mean, standard_error, ci95_low, ci95_high, n_seeds. `rows` are those of one
    panel and kernel; the last snapshots are one stage (see `stages`).
    """
    import pandas as pd

    terms = measured(rows)
    found = []
    names = [term.name for term in terms]
    numbers = with_floats(rows, [*KEYS, "epoch", "planned", "last"], names)
    for (rate, epoch), group in at_stages(numbers).groupby(["learning_rate", "epoch"]):
        values = by_column(group[names])
        for term in terms:
            if (mean := mean_over_seeds(values[term.name], term.bounds)) is not None:
                found.append({"measure": term.name, "learning_rate": rate, "epoch": epoch, **columns(mean)})
    table = pd.DataFrame(found, columns=_TABLE)
    order = {term.name: place for place, term in enumerate(terms)}
    return table.sort_values("measure", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def against_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """All that was measured at the chosen training losses, in the columns of `trajectory`; `epoch` is the loss."""
    if not any(map(len, rows["losses"])):
        return at_losses(rows.iloc[:0], [])
    return at_losses(rows, measured(rows))


def frame(table: pd.DataFrame) -> pd.DataFrame:
    """The data of the figure, shares in percent."""
    terms = {term.name: term for term in terms_of(table["measure"].unique())}
    percent = table["measure"].map({name: 100.0 if term.unit == SHARE else 1.0 for name, term in terms.items()})
    data = style.cut_bars(style.curve_frame(table, percent, ["measure"]), "measure")
    return data.assign(title=data["measure"].map({name: heading(term) for name, term in terms.items()}))


def draw(table: pd.DataFrame, rates: list[float], axis: str = "epoch") -> style.Spec:
    """The figure of a table of `trajectory`; `rates` are all learning rates of the section, for consistent colours.

    With `axis` LOSS that of `against_losses`.
    """
    labels, places = style.rate_labels(rates), table["epoch"].astype(float)
    x = style.loss_x(places, f"{LOSS} (nats)") if axis == LOSS else style.epoch_x(axis, places, _WIDTH)
    y_scale, y_axis = {"zero": False, "nice": False, "padding": 8}, {"tickCount": 4, "format": ".4~g", "title": None}
    seen = [style.nominal("title", title="measure"), style.quantity("mean", title="mean", format=".4~g")]
    titles = [heading(term) for term in terms_of(table["measure"].unique())]
    return style.grid(
        style.curves(axis, x, y_scale, y_axis, labels, seen),
        frame(table),
        (_WIDTH, _HEIGHT),
        labels,
        "x",
        facet=style.nominal("title", sort=titles, header=style.panel_titles(_WIDTH, "", "(")),
        columns=_COLUMNS,
        # Else the labels of each axis would move its panel.
        bounds="flush",
        spacing={"row": 52, "column": 54},
        resolve={"scale": {"y": "independent"}},
    )


def result(table: pd.DataFrame, axis: str = "epoch") -> str:
    """What the figure shows, in words: from where to where the headline numbers go at the largest learning rate."""
    rate = table["learning_rate"].max()
    texts = []
    for term in (one for one in terms_of(table["measure"].unique()) if one.headline):
        rows = table[(table["measure"] == term.name) & (table["learning_rate"] == rate)].sort_values("epoch")
        if len(rows):
            ends = rows.iloc[[-1, 0] if axis == LOSS else [0, -1]]
            texts.append(f"{term.short} {' to '.join(_number(value, term) for value in ends['mean'])}")
    where = f"At learning rate {style.rate_label(rate)}, from the first to the last {axis}"
    return f"{where}: {'; '.join(texts)}." if texts else f"{fmt.plural(table['measure'].nunique(), 'measure')}."


def _number(value: float, term: Term) -> str:
    return f"{fmt.percent(value)} %" if term.unit == SHARE else fmt.significant(value)
