"""verify FILE [OVERRIDES]: compute some recorded runs again and compare their numbers."""

from __future__ import annotations

import random
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.cli import A_FILE, OVERRIDE, RESULTS, CommandParser, folder_argument
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.records.record import Record, is_configured
from afterkernel.records.store import read_records

if TYPE_CHECKING:  # it imports torch, which would delay help and errors
    from afterkernel.config import Config

GROUP = RESULTS

SHOWN = 3
# The sweep, run and evaluation of records.
Name = tuple[str, str, str]


def main(argv: Sequence[str]) -> int:
    """`verify FILE [--runs 3] [--seed N] [OVERRIDES]`: train and evaluate randomly drawn runs again.

    Returns 0 if all numbers agree, 1 if some differ. Raises UserError for a file or an option that can't be used.
    """
    parser = CommandParser(
        "verify",
        "Compute some recorded runs again, drawn at random, and compare all numbers but times and memory.",
        "verify demo.parquet --runs 3 dataset.root=data",
    )
    parser.add_argument("file", type=folder_argument, metavar="FILE", help=f"{A_FILE}, or the folder of a sweep")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="number of runs; 3 by default")
    parser.add_argument("--seed", type=int, metavar="N", help="of the draw; by default another one each time, printed")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar=OVERRIDE, help="options that affect no result: dataset.root"
    )
    options = parser.parse_overrides(list(argv))
    if options.runs < 1:
        parser.error(f"--runs={options.runs} is too small, it must be at least 1")
    evaluations = _evaluations(read_records(options.file))
    names = sorted({name[:2] for name in evaluations})
    if not names:
        raise UserError(f"{options.file} holds no run of a configuration whose last snapshot is recorded.")
    from afterkernel.config import check_single_run
    from afterkernel.runs.reproduction import cell, compare

    check_single_run("verify", options.overrides)
    _check_overrides(options.overrides)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    drawn = sorted(random.Random(seed).sample(names, min(options.runs, len(names))))
    chosen = [name for name in sorted(evaluations, key=lambda name: [*map(fmt.natural_key, name)]) if name[:2] in drawn]
    configs = {name: _config(options.file, evaluations[name][0], options.overrides) for name in chosen}
    print(f"{len(drawn)} of {fmt.plural(len(names), 'run')}, drawn with --seed {seed}", flush=True)
    cells: dict[str, dict[int, list[Record]]] = {}
    for records in evaluations.values():
        cells.setdefault(cell(records[0]), {})[records[0].seed] = records
    n_differ = 0
    for name, config in configs.items():
        recorded = evaluations[name]
        others = [run for each, run in cells[cell(recorded[0])].items() if each != recorded[0].seed]
        found = compare(recorded, _computed(config, name[1]), others)
        n_differ += bool(found.differences)
        print(f"{name[1]}: {found.describe()}: {'DIFFERS' if found.differences else 'agrees'}", flush=True)
        for difference in found.differences[:SHOWN]:
            print(f"  {difference}", flush=True)
        if len(found.differences) > SHOWN:
            print(f"  and {len(found.differences) - SHOWN} more", flush=True)
    print(f"{len(chosen) - n_differ} of {fmt.plural(len(chosen), 'run')} agree")
    return ExitCode.FAILED if n_differ else ExitCode.DONE


def _evaluations(records: Sequence[Record]) -> dict[Name, list[Record]]:
    """The records of the configured runs whose end is recorded, by step; one entry for each evaluation."""
    found: dict[Name, list[Record]] = {}
    for record in filter(is_configured, records):
        found.setdefault((record.sweep, record.run_id, record.evaluation_id), []).append(record)
    ended = {name: run for name, run in found.items() if any(record.final for record in run)}
    return {name: sorted(run, key=lambda record: record.step) for name, run in ended.items()}


def _check_overrides(overrides: Sequence[str]) -> None:
    """Raise UserError for options that affect results, or that have no effect here."""
    from afterkernel.config.catalogue import every_option

    for word in overrides:
        name = word.partition("=")[0].lstrip("+~")
        if name.partition(".")[0] in ("experiment", "force", "keep", "launcher", "logger", "output_dir", "sweep"):
            raise UserError(f"{word} has no effect on verify: leave it out.")
        fields = every_option().get(name)
        is_section = fields is None and "." not in name
        if is_section or (fields and all(field.metadata["affects_results"] for field in fields)):
            raise UserError(f"{word} affects results, and verify computes those that are recorded: leave it out.")


def _config(file: Path, record: Record, overrides: Sequence[str]) -> Config:
    """The checked configuration of a record, as it was executed; overrides count more.

    UserError if its plugins or images are missing, or the images are other ones.
    """
    from afterkernel.config import override
    from afterkernel.runs.run import load_problem, stored_config

    try:
        plain = dict(record.config, force=False, keep=[])
        plain["logger"] = {"wandb": {"mode": "disabled"}}
        config = override(stored_config(plain), [*_execution(record), *overrides])
        fingerprint = load_problem(config).fingerprint
    except UserError as error:
        raise type(error)(f"{file}: {record.run_id}: {error}") from error
    if fingerprint != record.provenance.get("data_sha256"):
        raise UserError(
            f"{file}: {record.run_id}: the images here are not those that it was trained with: name their folder by "
            "dataset.root=DIR."
        )
    return config


def _execution(record: Record) -> list[str]:
    """The overrides for the device, threads and memory budget of a record, as far as this machine has them."""
    import torch

    was = record.provenance.get("execution", {})
    words = [f"trainer.device={'cuda' if was.get('device') == 'cuda' and torch.cuda.is_available() else 'cpu'}"]
    if "threads" in was:
        words.append(f"trainer.threads={was['threads']}")
    if "budget_bytes" in was:
        words.append(f"kernel.budget_bytes={was['budget_bytes']}")
    return words


def _computed(config: Config, run_id: str) -> list[Record]:
    """The records of a configuration, computed in a temporary folder, by step."""
    from dataclasses import replace

    from afterkernel.runs.worker import execute
    from afterkernel.sweep.grid import planned_run
    from afterkernel.sweep.progress import display_run

    with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder:
        planned = planned_run(replace(config, output_dir=folder))
        with display_run(planned.job.run_id, planned.run_dir):
            outcome = execute(planned.job, prints=False)
        if outcome.state != "finished":
            raise UserError(f"{run_id} can't be computed again: {outcome.message or outcome.state}")
        return sorted(read_records(planned.run_dir), key=lambda record: record.step)
