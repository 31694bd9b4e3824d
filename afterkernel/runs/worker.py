"""Runs one job in the current process: takes its lock, logs, and turns its end, including errors, into an outcome."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from afterkernel.errors import LockLostError, UserError
from afterkernel.launchers.job import Job, JobState, Outcome
from afterkernel.plugins import load, without_collections
from afterkernel.progress.display import Where, is_shown, print_above
from afterkernel.progress.work import Stage
from afterkernel.runs.failure import remove_failure, write_failure
from afterkernel.runs.progress_file import writing_progress
from afterkernel.runs.run_lock import LockedError, RunLock, run_lock

log = logging.getLogger(__name__)

LOG_ONLY = {"log_only": True}
WARNINGS_KEPT = 20
LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning")


def execute(job: Job, *, prints: bool = True) -> Outcome:
    """Run one job in this process. Errors and exits become outcomes; only KeyboardInterrupt is raised.

    The log goes to the file of the run and, if it `prints`, to the terminal.
    """
    started = time.monotonic()
    os.chdir(job.cwd)
    sys.argv[1:] = job.arguments
    run_dir = Path(job.run_dir)

    def outcome(state: JobState, message: str = "", *, user_error: bool = False) -> Outcome:
        return Outcome(job.run_id, state, message, job.log, time.monotonic() - started, user_error, tuple(warned))

    warned: list[str] = []
    with _logging(job, warned, prints=prints):
        try:
            with run_lock(run_dir) as held, writing_progress(held):
                remove_failure(run_dir)
                try:
                    return outcome("finished" if _run(job, run_dir, held) else "skipped")
                except LockLostError:
                    raise
                except KeyboardInterrupt:
                    log.warning("interrupted; the same command continues from here")
                    raise
                except BaseException as error:
                    held.beat()
                    held.check()  # if another process took the run over, its moving files is not a failure of this run
                    message = failure_message(error)
                    # Only to the log file: the caller prints the outcome on the terminal.
                    log.error("failed: %s", message, exc_info=not isinstance(error, UserError), extra=LOG_ONLY)
                    write_failure(run_dir, message)
                    return outcome("failed", message, user_error=isinstance(error, UserError))
        except LockedError as error:
            return outcome("locked", f"{error.owner} works on it")
        except LockLostError as error:
            return outcome("locked", str(error))
        except (OSError, UserError) as error:
            return outcome("failed", failure_message(error), user_error=isinstance(error, UserError))


def _run(job: Job, run_dir: Path, lock: RunLock) -> bool:
    # Imported here, so that a missing package is reported as the failure of a run.
    with Stage("loading packages"), without_collections(freeze=True):
        from afterkernel.config import config_from_dict
        from afterkernel.runs.run import run
        from afterkernel.training.snapshot import SUMMARY

        trains = job.config["force"] or not (run_dir / SUMMARY).exists()
        if trains and job.config["training"]["epochs"] > 0:
            import afterkernel.training.fit  # noqa: F401 (before there are data and a network)

    load(job.config["plugins"])
    log.info("run %s of sweep %s", job.run_id, job.config["sweep"]["name"])
    return run(config_from_dict(job.config), run_dir, lock=lock, check_cancelled=lock.check)


def failure_message(error: BaseException) -> str:
    """The reason why a run ended, in one sentence."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it exited with code {error.code}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: reduce kernel.budget_bytes or the number of images"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{place}: make space and run the same command again; what is recorded is kept"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no further information")
    return f"{type(error).__name__}: {first}"


class Terminal(logging.Handler):
    """Prints log lines, above the progress display if one is shown, without those that the display shows."""

    def __init__(self, where: Where = "out") -> None:
        super().__init__()
        self.where = where

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line."""
        if is_shown() and hasattr(record, "on_display"):
            return
        try:
            print_above(self.format(record), self.where)
        except Exception:
            self.handleError(record)


class _Warnings(logging.Handler):
    """Keeps the first line of the first few warnings."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the warning."""
        if len(self.kept) < WARNINGS_KEPT:
            self.kept.append(record.getMessage().strip().partition("\n")[0])


class _LogFile(logging.FileHandler):
    """The run's log file; a failed write, such as on a full disk, does not end the run."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Ignore the error."""

    def close(self) -> None:
        """Close the file, even if the last lines can not be written."""
        with contextlib.suppress(OSError):
            super().close()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line is not one of Lightning's own messages, which repeat ours."""
    return record.levelno >= logging.WARNING or not record.name.startswith(LIGHTNING)


def _hush_lightning() -> None:
    """Remove the handler that Lightning adds for itself if it is imported before any other is configured."""
    for name in LIGHTNING:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True


@contextmanager
def _logging(job: Job, warned: list[str], *, prints: bool) -> Iterator[None]:
    """Log to the run's file and, if it `prints`, to the terminal; collect warnings in `warned`."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    handlers: list[logging.Handler] = [_Warnings(warned)]
    try:
        Path(job.run_dir).mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(job.log))
    except OSError:
        pass  # taking the lock fails for the same reason, with a message
    if prints:
        handlers.append(Terminal())
    for handler in handlers:
        handler.addFilter(_is_news)
        if not isinstance(handler, _LogFile):
            handler.addFilter(lambda record: not hasattr(record, "log_only"))
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root.handlers = handlers
    _hush_lightning()
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            # Deprecations are for the authors of libraries, not for the user.
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category)
            yield
    finally:
        logging.captureWarnings(False)
        for handler in handlers:
            handler.close()
        root.handlers, root.level = before, level
