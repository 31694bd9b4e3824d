"""clean DIR: list what can be removed, and remove it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.cli import PROGRAM, CommandParser, folder_argument
from afterkernel.cli.wandb_sync import offline_runs, unsynced
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.records.store import RunFolder, read_runs
from afterkernel.runs.cleanup import Found, Removable, find_removable, remove
from afterkernel.runs.disk import KINDS, files_below, size_of
from afterkernel.runs.status import RunStatus, status

_REMOVABLE = [kind for kind in KINDS.values() if kind.cost]


def main(argv: Sequence[str]) -> int:
    """`clean DIR [--KIND ...] [--yes]`: list what can be removed; with --yes remove it.

    Raises UserError if there are no runs.
    """
    parser = CommandParser(
        "clean",
        "List what can be removed from finished runs, and remove it: never records, and nothing of a run at work.",
        "clean runs/demo --yes",
    )
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help="a run, a sweep, or the folder of all sweeps"
    )
    free = ", ".join(kind.name for kind in _REMOVABLE if kind.is_free)
    parser.add_argument(
        "--yes", action="store_true", help=f"remove the chosen kinds; without any, those that cost nothing: {free}"
    )
    for kind in _REMOVABLE:
        parser.add_argument(f"--{kind.name}", action="store_true", help=f"choose {kind.what}; costs {kind.cost}")
    options = parser.parse_args(argv)
    folders = read_runs(options.directory)
    found = removable_below(options.directory, status(options.directory, folders), folders)
    flags = [kind.name for kind in _REMOVABLE if vars(options)[kind.name]]
    if options.yes:
        kinds = flags or [kind.name for kind in _REMOVABLE if kind.is_free]
        _remove([each for each in found.removable if each.kind in kinds])
    else:
        _list([each for each in found.removable if each.kind in flags or not flags], options.directory, flags)
    for reason in _kept(found, options.directory):
        print(reason)
    return ExitCode.DONE


def removable_below(directory: Path, runs: Sequence[RunStatus], folders: Sequence[RunFolder]) -> Found:
    """What can be removed of these runs at or below a directory; W&B files if they are uploaded."""
    return find_removable(directory, runs, folders, _uploaded(directory))


def _list(found: Sequence[Removable], directory: Path, flags: Sequence[str]) -> None:
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
    command = f"{PROGRAM} clean {directory}"
    if flags:
        chosen = "".join(f" --{name}" for name in flags)
        print(f"{command}{chosen} --yes removes this: {fmt.size(sum(each.size for each in found))}")
        return
    if free := sum(each.size for each in found if KINDS[each.kind].is_free):
        print(f"{command} --yes removes what costs nothing: {fmt.size(free)}")
    if costly := next((each.kind for each in found if not KINDS[each.kind].is_free), None):
        print(f"further kinds go by their flags, such as {command} --{costly} --yes")


def _remove(found: Sequence[Removable]) -> None:
    for kind in _REMOVABLE:
        if of_kind := [each for each in found if each.kind == kind.name]:
            freed, taken = remove(of_kind)
            print(f"removed {fmt.size(freed)} of {kind.name} ({kind.what}); cost: {_cost(of_kind)}")
            if taken:
                print(f"  left alone, since another process works or has worked on {_them(taken)}")
    if not found:
        print("nothing to remove")


def _kept(found: Found, directory: Path) -> Iterator[str]:
    """Why runs and W&B files keep their place, one sentence each."""
    if found.at_work:
        yield f"{fmt.plural(len(found.at_work), 'run')} left alone: a process works on {_them(found.at_work)}"
    if found.unfinished:
        are = "is" if len(found.unfinished) == 1 else "are"
        runs = fmt.plural(len(found.unfinished), "run")
        yield f"{runs} left alone: {_them(found.unfinished)} {are} unfinished or damaged"
    waiting = [folder for runs in _offline(directory) for folder in unsynced(runs)]
    if size := sum(size_of(file) for folder in waiting for file in files_below(folder)):
        yield (
            f"{fmt.size(size)} of W&B files left alone: not uploaded; run {PROGRAM} wandb-sync {directory} first, or "
            "delete them by hand"
        )


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
    return [folder for runs in _offline(directory) for folder in set(runs) - set(unsynced(runs))]


def _offline(directory: Path) -> list[list[Path]]:
    try:
        return offline_runs(directory)
    except UserError:  # there is none
        return []
