"""What a launcher's process calls: one job, from its plain data to its outcome."""

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
from afterkernel.imports import without_collections
from afterkernel.launchers.job import Echo, Job, Outcome, State
from afterkernel.progress.display import Where, is_shown, print_above
from afterkernel.runs.failure import forget_failure, write_failure
from afterkernel.runs.progress_file import watching
from afterkernel.runs.run_lock import LockedError, RunLock, run_lock

log = logging.getLogger(__name__)

LOG_ONLY = {"log_only": True}
WARNINGS_KEPT = 20
LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning")


def execute(job: Job, echo: Echo = "plain") -> Outcome:
    """Do one run in this process. An error or an exit in it is an outcome, and only KeyboardInterrupt is raised."""
    started = time.monotonic()
    os.chdir(job.cwd)
    sys.argv[1:] = job.arguments
    run_dir = Path(job.run_dir)

    def outcome(state: State, message: str = "", *, user_error: bool = False) -> Outcome:
        return Outcome(job.run_id, state, message, job.log, time.monotonic() - started, user_error, tuple(warned))

    warned: list[str] = []
    with _logging(job, echo, warned):
        try:
            with run_lock(run_dir) as held, watching(held):
                forget_failure(run_dir)
                try:
                    return outcome("finished" if _run(job, run_dir, held) else "skipped")
                except LockLostError:
                    raise
                except KeyboardInterrupt:
                    log.warning("interrupted; the same command goes on from here")
                    raise
                except BaseException as error:
                    held.beat()
                    held.check()  # the process that took the run over may have moved files: that is not a failure
                    message = failure_message(error)
                    # For the log alone: on the terminal the caller prints the outcome.
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
    # Imported here, so that an installation that lacks something fails as a run, by name.
    with without_collections():
        from afterkernel.config import config_from_dict
        from afterkernel.runs.run import run

    log.info("run %s of sweep %s", job.run_id, job.config["sweep"]["name"])
    return run(config_from_dict(job.config), run_dir, lock=lock, check_cancelled=lock.check)


def failure_message(error: BaseException) -> str:
    """What ended a run, in one sentence."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it called for an exit with code {error.code}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory ran out: take a smaller kernel.budget_bytes, or fewer images"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{place}: make space and give the same command again; what is recorded is kept"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no more is known")
    return f"{type(error).__name__}: {first}"


class Terminal(logging.Handler):
    """Lines for the user, above the display where there is one, which then shows itself how far the work is."""

    def __init__(self, where: Where = "out") -> None:
        super().__init__()
        self.where = where

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        if is_shown() and hasattr(record, "on_display"):
            return
        try:
            print_above(self.format(record), self.where)
        except Exception:
            self.handleError(record)


class _Warnings(logging.Handler):
    """Keeps the first few warnings, a line each."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        if len(self.kept) < WARNINGS_KEPT:
            self.kept.append(record.getMessage().strip().partition("\n")[0])


class _LogFile(logging.FileHandler):
    """The run's log; a disk that does not take a line takes no run down with it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Go on."""

    def close(self) -> None:
        """Close the file, with what it takes."""
        with contextlib.suppress(OSError):
            super().close()


def _is_news(record: logging.LogRecord) -> bool:
    """Lightning's own lines repeat what ours say."""
    return record.levelno >= logging.WARNING or not record.name.startswith(LIGHTNING)


def _hush_lightning() -> None:
    """Where Lightning was imported before there were handlers, it has given itself one, past ours."""
    for name in LIGHTNING:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True


@contextmanager
def _logging(job: Job, echo: Echo, warned: list[str]) -> Iterator[None]:
    """Log lines to the run's file and, as `echo` says, to the terminal; warnings to `warned` too."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    handlers: list[logging.Handler] = [_Warnings(warned)]
    try:
        Path(job.run_dir).mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(job.log))
    except OSError:
        pass  # what follows fails for the same reason, with a message
    if echo != "none":
        handlers.append(Terminal())
    named = f"{job.run_id}  " if echo == "named" else ""
    for handler in handlers:
        mark = named if not isinstance(handler, _LogFile) else ""
        handler.addFilter(_is_news)
        if not isinstance(handler, _LogFile):
            handler.addFilter(lambda record: not hasattr(record, "log_only"))
        handler.setFormatter(logging.Formatter(f"%(asctime)s {mark}%(message)s", "%H:%M:%S"))
    root.handlers = handlers
    _hush_lightning()
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            # What libraries say to each other's authors does not concern a user.
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category)
            yield
    finally:
        logging.captureWarnings(False)
        for handler in handlers:
            handler.close()
        root.handlers, root.level = before, level
