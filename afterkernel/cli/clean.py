"""clean DIR: list what can be removed, and remove it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.cli import CommandParser, folder_argument
from afterkernel.cli.wandb_sync import offline_runs, unsynced
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.runs.cleanup import Removable, find_removable, remove
from afterkernel.runs.disk import KINDS

_REMOVABLE = [kind for kind in KINDS.values() if kind.cost]


def main(argv: Sequence[str]) -> int:
    """`clean DIR [--yes] [--KIND ...]`: without flags list what can be removed. UserError if there are no runs."""
    parser = CommandParser(
        "clean",
        "List what can be removed from finished runs, and remove it: never records, and nothing of a run at work.",
        "clean runs/demo --yes",
    )
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help="a run, a sweep, or the folder of all sweeps"
    )
    free = ", ".join(kind.name for kind in _REMOVABLE if kind.is_free)
    parser.add_argument("--yes", action="store_true", help=f"remove all that costs nothing: {free}")
    for kind in _REMOVABLE:
        parser.add_argument(f"--{kind.name}", action="store_true", help=f"remove {kind.what}; costs {kind.cost}")
    options = parser.parse_args(argv)
    found = find_removable(options.directory, _uploaded(options.directory))
    chosen = {kind.name for kind in _REMOVABLE if vars(options)[kind.name] or (options.yes and kind.is_free)}
    if chosen:
        _remove([each for each in found.removable if each.kind in chosen])
    else:
        _list(found.removable, options.directory)
    if found.at_work:
        print(f"{fmt.plural(len(found.at_work), 'run')} left alone: a process works on {_them(found.at_work)}")
    return ExitCode.DONE


def _list(found: Sequence[Removable], directory: Path) -> None:
    """The table of what can be removed, and the commands that do it."""
    rows = []
    for kind in _REMOVABLE:
        if of_kind := [each for each in found if each.kind == kind.name]:
            files, size = sum(len(each.files) for each in of_kind), sum(each.size for each in of_kind)
            rows.append([f"--{kind.name}", str(files), fmt.size(size), kind.what, _cost(of_kind)])
    if not rows:
        print("nothing can be removed")
        return
    fmt.print_table(["flag", "files", "frees", "what", "cost"], rows)
    free = sum(each.size for each in found if KINDS[each.kind].is_free)
    print(f"python -m afterkernel clean {directory} --yes removes what costs nothing: {fmt.size(free)}")


def _remove(found: Sequence[Removable]) -> None:
    for kind in _REMOVABLE:
        if of_kind := [each for each in found if each.kind == kind.name]:
            freed, taken = remove(of_kind)
            print(f"removed {fmt.size(freed)} of {kind.name} ({kind.what}); cost: {_cost(of_kind)}")
            if taken:
                print(f"  left alone, since a process works on {_them(taken)}")
    if not found:
        print("nothing to remove")


def _cost(of_kind: Sequence[Removable]) -> str:
    """What it takes to have these files again: by the times in the records, where something has to be computed."""
    kind = KINDS[of_kind[0].kind]
    spent = [each.run.wall_s for each in of_kind if each.run is not None and each.run.wall_s is not None]
    if kind.is_free or not spent:
        return kind.cost
    return f"{kind.cost}; these runs took {fmt.duration(sum(spent))} in all"


def _them(runs: Sequence[Path]) -> str:
    return f"{runs[0].name}{' and others' if len(runs) > 1 else ''}"


def _uploaded(directory: Path) -> Collection[Path]:
    """The folders of the offline W&B runs that were uploaded, or that a later uploaded one replaces."""
    try:
        groups = offline_runs(directory)
    except UserError:  # there is none
        return []
    return [folder for runs in groups for folder in set(runs) - set(unsynced(runs))]
