"""The store: typed, versioned records on disk, and one way to ask for them.

Gram matrices kept on request stand apart, in `afterkernel.store.kept`: what reads records alone needs no torch.
"""

from afterkernel.store.disk import DiskUse, disk_use
from afterkernel.store.files import run_directory, write_bytes_atomic, write_text_atomic
from afterkernel.store.frame import results, sql, to_frame
from afterkernel.store.record import SCHEMA_VERSION, KernelRecord, Record, Resources
from afterkernel.store.records import read_record, read_records, recorded, write_record
from afterkernel.store.status import RunStatus, status

__all__ = [
    "SCHEMA_VERSION",
    "DiskUse",
    "KernelRecord",
    "Record",
    "Resources",
    "RunStatus",
    "disk_use",
    "read_record",
    "read_records",
    "recorded",
    "results",
    "run_directory",
    "sql",
    "status",
    "to_frame",
    "write_bytes_atomic",
    "write_record",
    "write_text_atomic",
]
