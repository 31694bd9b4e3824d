"""The store: typed, versioned records on disk, and one way to ask for them."""

from afterkernel.store.files import read_record, run_directory, write_bytes_atomic, write_record, write_text_atomic
from afterkernel.store.frame import results
from afterkernel.store.query import query
from afterkernel.store.record import SCHEMA_VERSION, KernelRecord, Record, Resources
from afterkernel.store.status import RunStatus, status

__all__ = [
    "SCHEMA_VERSION",
    "KernelRecord",
    "Record",
    "Resources",
    "RunStatus",
    "query",
    "read_record",
    "results",
    "run_directory",
    "status",
    "write_bytes_atomic",
    "write_record",
    "write_text_atomic",
]
