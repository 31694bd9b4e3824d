"""The option --plugins of commands that show records: it loads the titles, units and claims that a module declares."""

from __future__ import annotations

import argparse

from afterkernel import plugins


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add --plugins to a command."""
    parser.add_argument(
        "--plugins",
        metavar="A,B",
        default="",
        help="Python modules that define kernels, measures or claims",
    )


def load(option: str) -> None:
    """Import the plugins that the user names; UserError for one that can't be imported."""
    plugins.load([name for name in option.split(",") if name], announce=True)
