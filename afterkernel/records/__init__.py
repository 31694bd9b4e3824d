"""Records: typed, versioned, write-once files on disk, and one way to query them.

Gram matrices kept on request have their own module, `afterkernel.records.kept`: reading records needs no torch.
"""

from afterkernel.records.disk import DiskUse, disk_use
from afterkernel.records.files import run_directory, write_bytes_atomic, write_text_atomic
from afterkernel.records.frame import results, sql, to_frame
from afterkernel.records.record import SCHEMA_VERSION, KernelRecord, Record, Resources
from afterkernel.records.skipped import SkippedWarning, skip
from afterkernel.records.status import RunStatus, status
from afterkernel.records.store import (
    fence_records,
    next_number,
    read_record,
    read_records,
    read_run,
    recorded,
    write_record,
)

__all__ = [
    "SCHEMA_VERSION",
    "DiskUse",
    "KernelRecord",
    "Record",
    "Resources",
    "RunStatus",
    "SkippedWarning",
    "disk_use",
    "fence_records",
    "next_number",
    "read_record",
    "read_records",
    "read_run",
    "recorded",
    "results",
    "run_directory",
    "skip",
    "sql",
    "status",
    "to_frame",
    "write_bytes_atomic",
    "write_record",
    "write_text_atomic",
]
