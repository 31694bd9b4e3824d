"""The run-time check of every signature in tests: jaxtyping where it names a shape, and only beartype elsewhere.

An int fits where a float is asked for. jaxtyping alone would check the arguments of each call twice, by way of
`inspect`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable
from types import FunctionType
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))
_jaxtyped = jaxtyping.jaxtyped
_checks: dict[Hashable, Callable] = {}


def install() -> None:
    """Check the signatures of afterkernel, which must not have been imported yet."""
    jaxtyping.jaxtyped = lambda typechecker: lambda function: checked(function, typechecker)
    jaxtyping.install_import_hook("afterkernel", "typecheck.of_signature").__enter__()


def of_signature(function: FunctionType) -> Callable:
    """The check of a function that jaxtyping has made of a signature alone, with no body: one check per signature.

    A function within another is defined, and its check asked for, at each call of the other.
    """
    key = function.__module__, function.__qualname__, function.__code__, *function.__annotations__.items()
    if key not in _checks:
        _checks[key] = _beartype(function)
    return _checks[key]


def checked(function: Any, by_jaxtyping: Callable) -> Any:
    """The function or the class with its check; `by_jaxtyping` checks signatures for jaxtyping."""
    if dataclasses.is_dataclass(function) and isinstance(function.__dict__.get("__init__"), FunctionType):
        function.__init__ = checked(function.__init__, by_jaxtyping)
        return function
    if not isinstance(function, FunctionType) or "<locals>" in function.__qualname__:
        return _jaxtyped(function, typechecker=by_jaxtyping)
    hints = {name: _resolved(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    shapes = [shape for hint in hints.values() for shape in _shapes(hint)]
    # A length may be that of an argument; a generator would be checked as it runs, among the lengths of its user.
    if any("{" in shape.dim_str for shape in shapes) or (shapes and inspect.isgeneratorfunction(function)):
        return _jaxtyped(function, typechecker=by_jaxtyping)
    function.__annotations__ = hints
    check = _beartype(function)
    if not shapes:
        return check

    @functools.wraps(function)
    def with_lengths(*args: Any, **kwargs: Any) -> Any:
        with _jaxtyped("context"):  # a letter is one length in all of a call
            return check(*args, **kwargs)

    return with_lengths


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """What the text of an annotation means; with a name that only mypy imports, anything fits."""
    try:
        return eval(hint, names) if isinstance(hint, str) else hint
    except NameError:
        return Any


def _shapes(hint: Any) -> list[Any]:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return [hint]
    return [shape for part in (hint if isinstance(hint, list) else get_args(hint)) for shape in _shapes(part)]
