"""The fake run of these tests: does in its process what its configuration says."""

import os
import signal
import sys
import time
from pathlib import Path

from afterkernel.launchers.job import Job, Outcome


def execute(job: Job, *, prints: bool = True) -> Outcome:
    """Act, and record it in the run's folder: one file `begun.N` each time that the job begins, `ended` at its end."""
    folder = Path(job.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    times = len(list(folder.glob("begun.*")))
    (folder / f"begun.{times}").write_text(f"{os.getpid()} {time.time()}")
    what = job.config.get("act", "finish")
    try:
        if times < job.config.get("times", 1):
            act(what, job.config, folder)
    except KeyboardInterrupt:
        (folder / "stopped").touch()
        raise
    except SystemExit:
        return Outcome(job.run_id, "failed", "it called for an exit", job.log, 0.0)
    (folder / "ended").write_text(f"{os.getpid()} {time.time()}")
    if what == "fail":
        return Outcome(job.run_id, "failed", "ValueError: on purpose", str(folder / "run.log"), 0.0)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    entity = os.environ.get("WANDB_ENTITY", "")
    return Outcome(job.run_id, "finished", f"{threads}|{devices}|{entity}", str(folder / "run.log"), 0.0)


def act(what: str, config, folder: Path) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit":
        os._exit(3)
    elif what == "obey":  # as Lightning does: the handler that was there, and then an exit
        before = signal.getsignal(signal.SIGTERM)

        def obey(number, frame):
            before(number, frame)
            sys.exit()

        signal.signal(signal.SIGTERM, obey)
        time.sleep(config["sleep_s"])
    elif what == "raise":
        raise OSError("no space left")
    elif what == "unreadable":
        os._exit(0)
    elif what == "sleep":
        deadline = time.monotonic() + config["sleep_s"]
        while time.monotonic() < deadline:
            time.sleep(0.05)
    elif what == "await":  # until another job has begun
        while not (folder.parent / config["other"] / "begun.0").exists():
            time.sleep(0.05)
        time.sleep(config.get("then_s", 0.0))
    elif what == "deaf":  # handles no signal in Python, as in one long call of a library
        # All of them: another thread takes the one that matters, and any that woke this one would let it be handled.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(config["sleep_s"])
