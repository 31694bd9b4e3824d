"""Figure: the trajectory of a kernel: every measure of it against epochs, one line a learning rate, the NTK at zero."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLUMNS = 4
_ROW_IN, _BELOW_IN = 2.1, 0.85
_TABLE = ["measure", "learning_rate", "epoch", "mean", "standard_error", "n_seeds"]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A column of the results and how it is drawn; `rate` quantities are shown in per cent."""

    column: str
    title: str
    rate: bool = False


QUANTITIES = [
    Quantity("svm_test_error", "SVM test error (%)", rate=True),
    Quantity("ridge_test_error", "kernel ridge test error (%)", rate=True),
    Quantity("margin", "SVM margin"),
    Quantity("effective_rank", "effective rank"),
    Quantity("shift_invariance", "shift invariance"),
    Quantity("rotation_invariance", "rotation invariance"),
    Quantity("zoom_invariance", "zoom invariance"),
    Quantity("swap_invariance", "swap invariance\n(lower = more global)"),
    Quantity("target_alignment", "alignment with the labels"),
    Quantity("target_cka", "CKA with the labels"),
    Quantity("alignment_with_initial_ntk", "alignment with the NTK at 0"),
    Quantity("alignment_with_conjugate", "alignment with the CK"),
    Quantity("cka_with_conjugate", "CKA with the CK"),
    Quantity("alignment_with_ntk", "alignment with the NTK / AK"),
    Quantity("cka_with_ntk", "CKA with the NTK / AK"),
    Quantity("distance_to_initial", "distance to initialisation"),
    Quantity("kernel_velocity", "velocity (distance an epoch)"),
]


def trajectory(rows: pd.DataFrame) -> pd.DataFrame:
    """Every quantity measured, by learning rate and epoch, over seeds: mean, standard_error, n_seeds, as fractions."""
    import pandas as pd

    names = [one.column for one in _measured(rows)]
    grouped = rows[names].astype("float64").groupby([rows["learning_rate"], rows["epoch"]])
    mean, error, count = grouped.mean(), grouped.sem(), grouped.count()
    parts = [
        pd.DataFrame({"mean": mean[name], "standard_error": error[name], "n_seeds": count[name]})
        .reset_index()
        .assign(measure=name)
        for name in names
    ]
    if not parts:
        return pd.DataFrame(columns=_TABLE)
    table = pd.concat(parts, ignore_index=True)
    return table.loc[table["n_seeds"] > 0, _TABLE].reset_index(drop=True)


def draw(table: pd.DataFrame, rates: list[float]) -> Figure:
    """The figure of a table of `trajectory`; `rates` are all learning rates of the section, so that looks agree."""
    quantities = [one for one in QUANTITIES if one.column in set(table["measure"])]
    n_rows = math.ceil(len(quantities) / _COLUMNS)
    epochs = sorted({int(epoch) for epoch in table["epoch"]})
    styles = style.rate_styles(rates)
    with style.drawing():
        # Placed by hand: to have so many panels laid out takes longer than to draw them.
        height = _ROW_IN * n_rows + _BELOW_IN
        figure = style.new_figure(11.0, height, layout=None)
        figure.subplots_adjust(0.053, (_BELOW_IN + 0.1) / height, 0.995, 1 - 0.42 / height, wspace=0.24, hspace=0.62)
        grid: Any = figure.subplots(n_rows, _COLUMNS, squeeze=False, sharex=True)
        flat = list(grid.flat)
        style.epoch_axis(flat[0], epochs, gap=0.17)
        for axes, quantity in zip(flat, quantities, strict=False):
            part = table[table["measure"] == quantity.column]
            style.curves(axes, part, 100.0 if quantity.rate else 1.0, styles, markersize=4, linewidth=1.4)
            axes.set_title(quantity.title, loc="left", y=1.0, color=style.INK, fontsize=9.5)
            axes.locator_params(axis="y", nbins=4)
        for place, axes in enumerate(flat):
            if place >= len(quantities):
                axes.set_axis_off()
            elif place + _COLUMNS >= len(quantities):
                axes.set_xlabel("epoch")
                axes.tick_params(axis="x", labelbottom=True)
        from matplotlib.lines import Line2D

        shown = [rate for rate in styles if rate in set(table["learning_rate"])]
        handles: list[Any] = [
            Line2D([], [], label=f"learning rate {fmt.general(rate)}", **styles[rate]) for rate in shown
        ]
        others = [style.bar_handle()] if bool((table["n_seeds"] > 1).any()) else []
        most = table.groupby(["measure", "learning_rate"])["n_seeds"].transform("max")
        if bool((table["n_seeds"] < most).any()):
            others.append(style.open_handle())
        style.legend(figure, handles, others, "lower center")
    return figure


def _measured(rows: pd.DataFrame) -> list[Quantity]:
    return [one for one in QUANTITIES if one.column in rows.columns and bool(rows[one.column].notna().any())]
