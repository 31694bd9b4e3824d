"""SIGKILL at random moments, over and over: whatever is killed, the sweep ends with the records of an unbroken one.

    make soak                                   60 kills on each of basic and joblib
    python tests/soak.py --kills 5 --launchers basic --small

Three kills in four hit a worker in the middle of a run, one the program itself. What a sweep that was killed has to
show for itself in the end: each record once, and every number equal to the unbroken sweep's, bit for bit.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "program"))
from sweep_tools import GRID, numbers, start

LARGE = ["arch.budget=20000", "training.epochs=30", "snapshot.epochs=[0,5,10,20,30]", "dataset.max_train=null"]
PATIENCE_S = 900.0


class Soak:
    """Kills on one launcher, counted, by where they fell."""

    def __init__(self, launcher, kills, words, seed):
        self.launcher, self.wanted, self.words = launcher, kills, [*words, f"launcher={launcher}"]
        self.random = random.Random(seed)
        self.kills = 0
        self.where = Counter()

    def run(self, folder):
        """Sweeps, killed until enough kills were made, each compared with the unbroken one; how many there were."""
        whole, run_s = self._unbroken(folder / "whole")
        sweeps = 0
        while self.kills < self.wanted:
            sweeps += 1
            broken = folder / f"broken-{sweeps}"
            self._broken(broken, run_s)
            found = numbers(broken / "runs" / "s")
            assert found.keys() == whole.keys(), f"records differ: {sorted(found.keys() ^ whole.keys())}"
            different = [key for key in whole if found[key] != whole[key]]
            assert not different, f"numbers differ in {different} of {broken}"
            drafts = [path for path in broken.rglob(".*.tmp") if not {"wandb", "locks"} & set(path.parts)]
            assert not drafts, f"unfinished files were left: {drafts}"
            print(
                f"{self.launcher}: {self.kills} kills, {len(found)} records equal to the unbroken sweep's", flush=True
            )
        return sweeps

    def _unbroken(self, folder):
        folder.mkdir()
        started = time.monotonic()
        process = start(self.words, folder)
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        found = numbers(folder / "runs" / "s")
        return found, (time.monotonic() - started) / len({run_id for run_id, _, _ in found})

    def _broken(self, folder, run_s):
        """Run the sweep, again and again, until it is finished."""
        folder.mkdir()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, "the sweep does not end"
            log = (folder / "output.txt").open("a")
            with log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "afterkernel", *self.words],
                    cwd=folder,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    stdout=log,
                    stderr=log,
                )
                while process.poll() is None:
                    if self.kills < self.wanted:
                        self._kill_one(process, folder, run_s)
                    time.sleep(0.05)
            if process.returncode == 0:
                return

    def _kill_one(self, process, folder, run_s):
        """Wait until a worker works, then for a random time, then kill it or the program."""
        while process.poll() is None and not workers(process.pid, folder):
            time.sleep(0.05)
        time.sleep(self.random.uniform(0, run_s))
        found = workers(process.pid, folder)
        if not found:
            return
        victim, run_dir = self.random.choice(found)
        stage = last_line(run_dir)
        if self.random.random() < 0.25:
            victim, stage = process.pid, f"program, while a run was {stage}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.kills += 1
            self.where[stage] += 1


def workers(parent, folder):
    """Processes below a program that hold a run, each with the run's folder."""
    from afterkernel.runs.run_lock import owner_of

    found = []
    for run_dir in (folder / "runs" / "s").glob("*-seed*"):
        holder = owner_of(run_dir)
        if holder is not None:
            pid = int(holder.process.split("@")[0])
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(parent):
                    found.append((pid, run_dir))
    return found


def last_line(run_dir):
    """What a run was doing, by its log."""
    if any(run_dir.rglob(".*.tmp")):
        return "writing"
    with contextlib.suppress(OSError):
        lines = (run_dir / "run.log").read_text().splitlines() or [""]
        if "SVM test error" in lines[-1] or ("snapshot saved" in lines[-1] and (run_dir / "training.json").exists()):
            return "in kernels, SVM or measures"
        if "snapshot saved" in lines[-1] or "parameters" in lines[-1] or "going on" in lines[-1]:
            return "training"
    return "beginning or ending"


def main():
    """Soak each launcher, and say how often what was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="kills on each launcher")
    parser.add_argument("--launchers", default="basic,joblib")
    parser.add_argument("--small", action="store_true", help="runs of a second instead of many")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; by default another each time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    words = [*GRID, *([] if options.small else LARGE)]
    for launcher in options.launchers.split(","):
        with tempfile.TemporaryDirectory(prefix="afterkernel-soak-") as folder:
            soak = Soak(launcher, options.kills, words, seed)
            sweeps = soak.run(Path(folder))
        print(f"{launcher}: {soak.kills} kills over {sweeps} sweeps, no record lost, doubled or changed; killed while:")
        for stage, count in soak.where.most_common():
            print(f"  {count:3d}  {stage}")


if __name__ == "__main__":
    main()
