"""Faults at random moments, again and again: the sweep always ends with the records of an uninterrupted one.

    make soak                                   60 faults with one worker process, and 60 with two
    python tests/soak.py --faults 5 --processes 1 --small

Faults are:

- kill: SIGKILL of a worker in the middle of a run, or (one in four) of the program itself;
- pause: SIGSTOP of a worker in the middle of a run until its lock is stale; the same command, as if on another machine,
  takes the run over and works on it; at a random moment SIGCONT wakes the first worker. Both continue for a random
  time, then one or both are killed.

One command in four has force=true. In the end the sweep must have each record once, every number equal to the
undisturbed sweep's, bit for bit, all files of a run of one start, and nothing left over.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads of its own must not fork
sys.path.insert(0, str(Path(__file__).parent / "program"))
sys.path.insert(0, str(Path(__file__).parent / "soak_machine"))
import other_machine
import preload  # noqa: F401
from fork_workers import fork_workers
from forked_program import last_of_each
from sweep_tools import GRID, numbers

import afterkernel.__main__
from afterkernel.records.files import REPLACED
from afterkernel.runs import run_lock
from afterkernel.runs.run_lock import owner_of
from afterkernel.training import snapshot

LARGE = ["arch.budget=20000", "training.epochs=30", "snapshot.epochs=[0,5,10,20,30]", "dataset.max_train=null"]
PATIENCE_S = 3600.0
FORCED = 0.25
MACHINE = Path(__file__).parent / "soak_machine"
PYTHONPATH = list(filter(None, [os.environ.get("PYTHONPATH")]))
FORK = multiprocessing.get_context("fork")


class Soak:
    """Faults on sweeps with a number of worker processes, counted, by kind and by where they fell."""

    def __init__(self, processes, faults, words, seed, kinds=("kill", "pause")):
        self.name, self.wanted = f"processes={processes}", faults
        self.words = last_of_each([*words, f"launcher.processes={processes}"])
        self.kinds = kinds
        self.random = random.Random(seed)
        self.faults = self.takeovers = self.forced = 0
        self.where = Counter()

    def run(self, folder):
        """Sweeps, disturbed until there were enough faults, each compared with the undisturbed one; their number."""
        whole, run_s = self._undisturbed(folder / "whole")
        sweeps = 0
        while self.faults < self.wanted:
            sweeps += 1
            broken = folder / f"broken-{sweeps}"
            self._disturbed(broken, run_s)
            check(broken, whole)
            print(
                f"{self.name}: {self.faults} faults, {len(whole)} records equal to the undisturbed sweep's",
                flush=True,
            )
        return sweeps

    def _undisturbed(self, folder):
        folder.mkdir()
        process = self._start(folder, "first")
        working = 0
        while process.is_alive():
            working += bool(workers(process.pid, folder))
            time.sleep(0.05)
        assert process.exitcode == 0, (folder / "output-first.txt").read_text()
        found = numbers(folder / "runs" / "s")
        return found, 0.05 * working / len({run_id for run_id, _, _ in found})

    def _disturbed(self, folder, run_s):
        """Run the sweep, again and again, until it is finished."""
        folder.mkdir()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, "the sweep does not end"
            force = self.faults < self.wanted and self.random.random() < FORCED
            self.forced += force
            process = self._start(folder, "first", force=force)
            while process.is_alive():
                if self.faults < self.wanted:
                    self._disturb(process, folder, run_s)
                time.sleep(0.05)
            if process.exitcode == 0 and self._is_whole(folder):
                return

    def _is_whole(self, folder):
        """Whether the same command finds nothing left to do, after which all must be right."""
        process = self._start(folder, "first")
        process.join()
        # A killed program's worker may hold its run for another moment, and a run that is left to it is no failure.
        output = (folder / "output-first.txt").read_text()
        done = re.findall(r"^(\d+) of (\d+) runs? finished", output, re.MULTILINE)[-1]
        return process.exitcode == 0 and done[0] == done[1]

    def _start(self, folder, machine, *, force=False):
        process = FORK.Process(target=command, args=([*self.words, *(["force=true"] * force)], folder, machine))
        process.start()
        return process

    def _disturb(self, process, folder, run_s):
        """Wait until a worker works, then for a random time, then do something to it or to the program."""
        while process.is_alive() and not workers(process.pid, folder):
            time.sleep(0.05)
        self._wait(folder, run_s)
        found = workers(process.pid, folder)
        if not found:
            return
        victim, run_dir = self.random.choice(found)
        stage = last_line(run_dir)
        if self.random.choice(self.kinds) == "pause":
            self._pause(process, victim, folder, run_dir, run_s)
            return
        if self.random.random() < 0.25:
            victim, stage = process.pid, f"program, while a run was {stage}"
        if send(victim, signal.SIGKILL):
            self._count(f"kill: {stage}")

    def _count(self, fault):
        self.faults += 1
        self.where[fault] += 1
        print(f"{time.strftime('%H:%M:%S')} {self.faults}  {fault}", flush=True)

    def _wait(self, folder, run_s):
        """Until a random moment, or, one time in three, until a file is being written."""
        until = time.monotonic() + self.random.uniform(0, run_s)
        writing = self.random.random() < 0.33
        while time.monotonic() < until:
            if writing and any(not {"wandb", "locks"} & set(path.parts) for path in folder.rglob(".*.tmp")):
                return
            time.sleep(0.001 if writing else 0.02)

    def _pause(self, process, victim, folder, run_dir, run_s):
        """Pause a worker, let another process take over, wake it, and let both continue or die."""
        if not send(victim, signal.SIGSTOP):
            return
        stage = last_line(run_dir)
        self._count(f"pause: {stage}")
        time.sleep(other_machine.STALE_S)
        other = self._start(folder, "second", force=self.random.random() < FORCED)
        patience = time.monotonic() + 60
        while other.is_alive() and not workers(other.pid, folder) and time.monotonic() < patience:
            time.sleep(0.02)
        self.takeovers += any(taken == run_dir for _, taken in workers(other.pid, folder))
        self._wait(folder, run_s)
        send(victim, signal.SIGCONT)
        self._wait(folder, run_s)
        for one in self.random.choice([[process], [other], [other], [process, other]]):
            if one.is_alive() and self.faults < self.wanted and send(one.pid, signal.SIGKILL):
                self._count("kill: after a takeover")
        other.join()


def command(words, folder, machine):
    """What a forked process does: one command, as if on a machine of that name."""
    os.chdir(folder)
    output = os.open(f"output-{machine}.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"SOAK_MACHINE": machine, "PYTHONPATH": os.pathsep.join([str(MACHINE), *PYTHONPATH])}
    other_machine.patch(run_lock)
    sys.argv[1:] = words
    sys.exit(afterkernel.__main__.main(words))


def check(folder, whole):
    """A sweep that was disturbed: nothing lost, doubled, mixed or left over."""
    found = numbers(folder / "runs" / "s")
    assert found.keys() == whole.keys(), f"records differ: {sorted(found.keys() ^ whole.keys())}"
    different = [key for key in whole if found[key] != whole[key]]
    assert not different, f"numbers differ in {different} of {folder}"
    drafts = [path for path in folder.rglob(".*.tmp") if not {"wandb", "locks"} & set(path.parts)]
    assert not drafts, f"unfinished files were left: {drafts}"
    for run_dir in (folder / "runs" / "s").glob("*-seed*"):
        assert not (run_dir / REPLACED).exists(), f"{run_dir} still holds what was replaced"
        starts = {snapshot.read(path).run for path in snapshot.paths(run_dir)} | {snapshot.read_summary(run_dir).run}
        assert len(starts) == 1, f"{run_dir} mixes files of {starts}"


def send(pid, number):
    """Send a signal; whether there was a process to get it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def workers(parent, folder):
    """Processes that a program is or has started and that hold a run, each with the run's folder."""
    found = []
    for run_dir in (folder / "runs" / "s").glob("*-seed*"):
        owner = owner_of(run_dir)
        if owner is not None:
            pid = int(owner.process.split("@")[0])
            with contextlib.suppress(OSError):
                above = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
                if parent in (pid, int(above)):
                    found.append((pid, run_dir))
    return found


def last_line(run_dir):
    """The last line of a run's log."""
    if any(run_dir.rglob(".*.tmp")):
        return "writing"
    with contextlib.suppress(OSError):
        lines = (run_dir / "run.log").read_text().splitlines() or [""]
        evaluating = ("SVM test error", "conjugate kernel:", "training is finished")
        if any(words in lines[-1] for words in evaluating) or (
            "snapshot saved" in lines[-1] and (run_dir / "training.json").exists()
        ):
            return "in kernels, SVM or measures"
        if "snapshot saved" in lines[-1] or "parameters" in lines[-1] or "going on" in lines[-1]:
            return "training"
    return "beginning or ending"


def main():
    """Soak with each number of processes, and print how often each part was disturbed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60, help="faults for each number of processes")
    parser.add_argument("--processes", default="1,2", help="numbers of worker processes")
    parser.add_argument("--small", action="store_true", help="runs of a second instead of many, in forked workers")
    parser.add_argument("options", nargs="*", default=[], help="options of the sweep, such as logger=none")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; by default another each time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    words = [*GRID, *([] if options.small else LARGE), *options.options]
    if options.small:
        fork_workers()
    for processes in options.processes.split(","):
        folder = tempfile.mkdtemp(prefix="afterkernel-soak-")  # kept where the soak fails
        print(folder, flush=True)
        soak = Soak(processes, options.faults, words, seed)
        sweeps = soak.run(Path(folder))
        shutil.rmtree(folder)
        print(
            f"{soak.name}: {soak.faults} faults over {sweeps} sweeps, {soak.takeovers} runs taken over from a paused "
            f"process, {soak.forced} forced commands; no record lost, doubled, mixed or changed; disturbed while:"
        )
        for stage, count in soak.where.most_common():
            print(f"  {count:3d}  {stage}")


if __name__ == "__main__":
    main()
