"""Rows of a results frame that a short expression picks: comparisons of columns, and nothing that can run code."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from afterkernel.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)


def query(frame: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which an expression such as "epoch == 5 and kernel == 'ntk'" holds; a missing value does not.

    Columns, numbers, strings, lists, comparisons, arithmetic, `and`, `or`, `not` and `in` are known; calls, attributes
    and variables are not. UserError, with the columns, for anything else.
    """
    import pandas as pd

    _check(frame, expression)
    try:
        mask: Any = frame.eval(expression, engine="python")
    except Exception as error:
        raise _bad(frame, expression, str(error) or type(error).__name__) from error
    if not (isinstance(mask, pd.Series) and pd.api.types.is_bool_dtype(mask.dtype)):
        raise _bad(frame, expression, "it does not say yes or no for each row")
    return frame[mask.fillna(False).astype(bool)]


def check_columns(frame: pd.DataFrame, names: list[str]) -> None:
    """UserError, with the columns there are, for the first name that is none of them."""
    for name in names:
        if name not in frame.columns:
            raise UserError(f"{name} is not a column: choose from {', '.join(frame.columns)}.")


def _check(frame: pd.DataFrame, expression: str) -> None:
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        hint = ", and equality is written ==" if re.search(r"[^=!<>]=[^=]", expression) else ""
        raise _bad(frame, expression, f"it is not an expression{hint}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise _bad(frame, expression, f"{type(node).__name__.lower()} is not allowed")
        if isinstance(node, ast.Name) and node.id not in frame.columns:
            raise _bad(frame, expression, f"{node.id} is not a column")


def _bad(frame: pd.DataFrame, expression: str, reason: str) -> UserError:
    return UserError(f"Can't pick rows by {expression!r}: {reason}; the columns are {', '.join(frame.columns)}.")
