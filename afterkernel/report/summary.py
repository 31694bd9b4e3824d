"""The main results of a section in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.report.sections import NO_RATE, rate_text
from afterkernel.report.table_format import error_text

if TYPE_CHECKING:
    import pandas as pd


def key_numbers(table: pd.DataFrame, n_test: int) -> str:
    """The SVM's test error before and after training, of each network at its best learning rate, in one line."""
    decimals = fmt.percent_decimals(n_test)
    found, rates_known = [], False
    for panel in sorted(table["panel"].unique()) if len(table) else []:
        ended = _ended(table, panel)
        if len(ended) and bool(ended["before_n_seeds"].gt(0).any()):
            best = _best(ended)
            errors = " → ".join(fmt.percent(best[f"{side}_mean"], decimals) for side in ("before", "after"))
            found.append(f"{panel} {errors} %")
            rates_known |= best["learning_rate"] != NO_RATE
    if not found:
        return ""
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    rate = " at its best learning rate" if rates_known else ""
    return f"SVM test error, NTK → after kernel{rate}: {', '.join(found[:4])}{more}"


def _ended(table: pd.DataFrame, panel: str) -> pd.DataFrame:
    ntk = table[(table["panel"] == panel) & (table["kernel"] == "ntk")]
    errors = ntk[ntk["measure"] == "svm_test_error"]
    return errors[errors["after_n_seeds"] > 0]


def _best(ended: pd.DataFrame) -> Any:
    best: Any = ended["after_mean"].astype(float).idxmin()
    return ended.loc[best]


def sentences(rows: pd.DataFrame, table: pd.DataFrame, n_test: int, axis: str = "epoch") -> list[str]:
    """One or two sentences per panel, about its after kernel at its best learning rate.

    `rows` are those of one evaluation group, `table` their `changes`.
    """
    decimals = fmt.percent_decimals(n_test)
    found = []
    for panel in sorted(rows["panel"].unique()):
        ntk = table[(table["panel"] == panel) & (table["kernel"] == "ntk")]
        ended = _ended(table, panel)
        if ended.empty:
            found.append(f"{panel}: only the kernels at initialisation are recorded so far.")
            continue
        best = _best(ended)
        swap = ntk[(ntk["measure"] == "swap_invariance") & (ntk["learning_rate"] == best["learning_rate"])]
        found.append(
            _error(panel, best, decimals, axis, several=len(ended) > 1) + "".join(map(_swap, swap.to_dict("records")))
        )
    return found


def _error(panel: str, row: Any, decimals: int, axis: str, *, several: bool) -> str:
    rate = f"learning rate {rate_text(row['learning_rate'])}"
    where = f", at its best {rate}" if several else f", at {rate}"
    if row["learning_rate"] == NO_RATE:
        where = ""
    after = f"{error_text(row, 'after_', decimals)} % with the after kernel at {_when(row, axis)}"
    if row["before_n_seeds"] == 0:
        return f"{panel}{where}: the SVM's test error is {after}; its NTK is not recorded."
    before = f"{error_text(row, 'before_', decimals)} % with the NTK"
    return (
        f"{panel}{where}: the SVM's test error goes from {before} to {after} "
        f"(lower in {int(row['n_lower'])} of {fmt.plural(int(row['change_n_seeds']), 'run')})."
    )


def _swap(row: Any) -> str:
    if row["change_n_seeds"] == 0:
        return ""
    change = float(row["change_mean"])
    error = 0.0 if fmt.is_missing(row["change_standard_error"]) else float(row["change_standard_error"])
    verdict = "more global" if change < 0 else "less global"
    if abs(change) <= 2 * error or abs(change) < 5e-4:
        verdict = "no clear change (within two standard errors)" if error else "no clear change"
    return f" Swap invariance goes from {fmt.cosine(row['before_mean'])} to {fmt.cosine(row['after_mean'])}: {verdict}."


def _when(row: Any, axis: str) -> str:
    epochs = f"{axis}s {row['epochs']}" if " to " in row["epochs"] else f"{axis} {row['epochs']}"
    return epochs if row["final"] else f"{epochs}, the last one so far"
