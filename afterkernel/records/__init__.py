"""Records: typed, versioned, write-once files on disk, and queries over them. Reading records needs no torch."""

from afterkernel.records.files import run_directory, write_atomic
from afterkernel.records.frame import results, sql
from afterkernel.records.record import KernelRecord, Record, Resources
from afterkernel.records.skipped import SkippedWarning
from afterkernel.records.store import next_number, read_records, read_run, write_record

__all__ = [
    "KernelRecord",
    "Record",
    "Resources",
    "SkippedWarning",
    "next_number",
    "read_records",
    "read_run",
    "results",
    "run_directory",
    "sql",
    "write_atomic",
    "write_record",
]
