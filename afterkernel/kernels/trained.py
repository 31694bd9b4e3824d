"""Which parameters of a model a kernel is made of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from afterkernel.errors import UserError

# Names of parameters or modules, patterns of such names, or a function of a parameter's name and value.
Choice = str | Sequence[str] | Callable[[str, nn.Parameter], bool]


def chosen_parameters(model: nn.Module, choice: Choice) -> list[str]:
    """The names of the trainable parameters that are chosen, in the model's order.

    A name is that of a parameter, or of a module, which stands for all parameters in it; or a pattern of such names, as
    of files (*, ?, [abc]). Shared parameters may be called by any of their names. Raises UserError for a name that fits
    no trainable parameter, and where nothing is chosen.
    """
    trainable = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if callable(choice):
        found = [name for name, value in trainable.items() if _is_wanted(choice, name, value)]
        if not found:
            raise UserError("parameters= chooses none of the model's trainable parameters.")
        return found
    first = {id(value): name for name, value in model.named_parameters()}
    aliases = {name: first[id(value)] for name, value in model.named_parameters(remove_duplicate=False)}
    wanted: set[str] = set()
    for pattern in _patterns(choice):
        fitting = {name for alias, name in aliases.items() if _fits(alias, pattern)}
        if not fitting & trainable.keys():
            raise UserError(_unknown(pattern, fitting, list(aliases)))
        wanted |= fitting
    return [name for name in trainable if name in wanted]


def _is_wanted(choice: Callable[[str, nn.Parameter], bool], name: str, value: nn.Parameter) -> bool:
    try:
        return bool(choice(name, value))
    except Exception as error:  # of the user's own function
        raise UserError(
            f"parameters= fails for {name} ({type(error).__name__}: {error}): give a function of (name, parameter) "
            "that returns whether it is wanted."
        ) from error


def _patterns(choice: Any) -> list[str]:
    patterns = [choice] if isinstance(choice, str) else list(choice) if isinstance(choice, Sequence) else []
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise UserError(
            f'parameters={choice!r} chooses no parameters: give names, patterns such as "*.bias", or a function of '
            "(name, parameter)."
        )
    return patterns


def _fits(name: str, pattern: str) -> bool:
    """Whether the pattern is that of the parameter, or of a module that it is in."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:i]), pattern) for i in range(1, len(parts) + 1))


def _unknown(pattern: str, fitting: set[str], names: list[str]) -> str:
    if fitting:
        return f"parameters={pattern!r} is frozen (requires_grad is False): choose trainable parameters."
    modules = {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 1)}
    close = difflib.get_close_matches(pattern, [*names, *sorted(modules)], n=3)
    hint = (
        f"did you mean {' or '.join(repr(name) for name in close)}?"
        if close
        else "model.named_parameters() lists their names."
    )
    return f"parameters={pattern!r} is no parameter or module of the model: {hint}"


def train_only(copy: nn.Module, choice: Choice | None) -> None:
    """Freeze all parameters of a copy of a model but those that are chosen; None chooses all."""
    if choice is None:
        return
    names = chosen_parameters(copy, choice)
    for name, value in copy.named_parameters():
        if value.requires_grad and name not in names:
            value.requires_grad_(False)
