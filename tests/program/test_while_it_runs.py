"""What a user sees while the real program works: on a terminal, in a pipe, and by `status` from another process."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from forked_program import last_of_each
from sweep_tools import start

SMALL = [
    "arch=mlp",
    "arch.budget=1500",
    "training.lr=0.1",
    "snapshot.epochs=[0,1]",
    "measure.num_images=20",
    "measure.crop_fraction=[0.75]",
    "dataset.max_train=60",
    "dataset.max_test=30",
    "logger=none",
    "trainer.threads=1",
    "sweep.name=s",
]
LONG = [*SMALL, "training.epochs=1000000"]


class OnTerminal:
    """The program on its own terminal; `text` is what it has written so far."""

    def __init__(self, words, cwd, columns=160):
        ours, theirs = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40", "OMP_NUM_THREADS": "1"}
        for name in ("NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "afterkernel", *last_of_each(words)]
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self._ours, self._parts = ours, []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        try:
            while part := os.read(self._ours, 65536):
                self._parts.append(part)
        except OSError:  # the other end is closed
            pass
        os.close(self._ours)

    @property
    def text(self):
        """What has been written, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(self._parts).decode())

    def until(self, found):
        """Wait until the function is true of the text."""
        deadline = time.monotonic() + 300
        while not found(self.text):
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.05)

    def end(self):
        """Wait for the end; the exit code and the text."""
        code = self.process.wait(timeout=200)
        self._thread.join()
        return code, self.text


def test_a_sweep_on_a_terminal_has_one_display_with_its_outcomes_above(tmp_path):
    # Two ends: a loss target that is not reached in time, and one that never is.
    words = ["--multirun", *SMALL, "training.epochs=100", "training.loss_target=1e-9"]
    words += ["arch=mlp,resnet", "arch.budget=3000", "training.batch_size=59"]  # of 60 images one is left over
    code, text = OnTerminal(words, tmp_path).end()
    assert code == 1, text
    assert re.search(r"sweep s: 0 of 2 done, 1 running, 1 to go", text)
    assert re.search(r"^\W+25lloading packages and reading the options \(\d+ s\)", text)  # from the start on
    stages = r"starting[a-z ,:\d]*|loading [a-z ]+|training: epoch \d+ of at most 100, loss [\d.e-]+, [\d,]+ images/s"
    assert re.search(rf"mlp-lr0.1-seed0-\w+ +({stages}) ", text)
    # Whole lines, each once during the sweep; the failure again at the end.
    numbers = r"NTK [\d.]+ % -> AK [\d.]+ %, swap [\d.]+ -> [\d.]+"
    assert len(re.findall(rf"\[1/2\] mlp: {numbers}, [\dmins ]+(; about .* left)?\r\n", text)) == 1
    assert (
        len(
            re.findall(r"\[2/2\] FAILED resnet-lr0.1-seed0-\w+: training.batch_size=59 .* \(log: .*run.log\)\r\n", text)
        )
        == 1
    )
    assert text.count("1 of 2 runs finished, 1 failed") == 1
    # The runs' own lines stay in their logs, but for warnings.
    assert "snapshot saved" not in text
    warned = r"  warning: training.loss_target=1e-09 was not reached .* \(log: .*mlp-lr0.1-seed0.*/run.log\)\r\n"
    assert len(re.findall(warned, text)) == 1
    logs = [path.read_text() for path in tmp_path.glob("runs/s/*/run.log")]
    assert sum("snapshot saved" in log for log in logs) == 1
    assert not list(tmp_path.rglob("*.progress*"))
    # The display is removed, and the cursor is back.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.endswith("\r\x1b[1A\x1b[2K")
    assert "Traceback" not in text


def test_a_run_on_a_terminal_has_the_same_display_and_its_lines_above(tmp_path):
    terminal = OnTerminal([*LONG, "seed=0"], tmp_path, columns=80)
    terminal.until(lambda text: "epoch 1: training loss" in text)
    terminal.until(lambda text: re.search(r"\n  training: epoch \d+ of 1000000, loss ", text))
    os.kill(terminal.process.pid, signal.SIGINT)
    code, text = terminal.end()
    assert code == 130, text
    assert re.search(r"\d\d:\d\d:\d\d epoch 0: training loss .*; snapshot saved\r\n", text)
    assert text.rstrip().endswith("the same command continues from them.")
    assert not list(tmp_path.rglob("*.progress*"))


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    """A folder in which a sweep of two long runs is running, and its process."""
    cwd = tmp_path_factory.mktemp("working")
    process = start(["--multirun", *LONG, "seed=0,1"], cwd)
    deadline = time.monotonic() + 300
    while not any("training" in path.read_text() for path in cwd.glob("runs/s/*/locks/*.progress")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield cwd, process
    process.kill()
    process.communicate()


def test_status_from_another_process_shows_the_progress_of_runs(program, working):
    cwd, _ = working
    done = program("status", "runs/s", cwd=cwd)
    assert done.returncode == 0, done.stderr
    detail = r"training: epoch \d+ of 1000000, loss \S+, [\d,]+ images/s, over .* left \(process \d+ on "
    assert re.search(rf"mlp-\S+ .* running .* {detail}", done.stdout)
    assert re.fullmatch(r"0 of 2 runs done, 1 running, 1 to go, over .* left", done.stdout.splitlines()[-1])


def test_status_watches_until_it_is_interrupted(working):
    cwd, _ = working
    command = [sys.executable, "-m", "afterkernel", "status", "runs/s", "--watch"]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = [process.stdout.readline() for _ in range(3)]
    assert first[0].startswith("0 of 2 runs done, 1 running, 1 to go")
    assert re.match(r"  mlp-\S+: running, ", first[1])
    assert re.match(r"  mlp-\S+: to go$", first[2])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"^on disk ", out, re.M)  # the table of `status` at the end


def test_status_takes_no_word_of_a_killed_run(program, working):
    cwd, process = working
    (path,) = cwd.glob("runs/s/*/locks/*.progress")
    process.kill()
    process.wait()
    locks = sorted(path.parent.glob("*.json"))
    worker = int(json.loads(locks[-1].read_text())["process"].split("@")[0])
    deadline = time.monotonic() + 300
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert path.exists()
    done = program("status", "runs/s", cwd=cwd)
    assert "epoch" not in done.stdout.replace("missing epochs", "")
    assert done.stdout.splitlines()[-1] == "0 of 2 runs done, 1 interrupted, 1 to go"


def test_a_run_in_a_pipe_has_its_own_lines_alone(program, tmp_path):
    done = program(*SMALL, "training.epochs=3", "seed=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("snapshot saved") == 3
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in done.stdout.splitlines())
    assert done.stderr == ""


def test_in_a_pipe_a_sweep_has_one_line_a_run_with_its_numbers(sweep):
    output = (sweep / "output.txt").read_text()
    assert "\x1b" not in output
    assert "\r" not in output
    # How many of these small networks learn depends on the machine.
    left_out = r"\d of 4 done, |  (in \d runs: )?warning: the network has not learned: "
    first, *lines, last = [line for line in output.splitlines() if not re.match(left_out, line)]
    assert first.startswith("sweep ")
    assert last == "4 of 4 runs finished"
    numbers = r"NTK [\d.]+ % -> AK [\d.]+ %, swap [\d.]+ -> [\d.]+, (\d+ min )?\d+ s"
    for place, line in enumerate(lines, start=1):
        left = "; about .* left" if place < 4 else ""
        assert re.fullmatch(rf"\[{place}/4\] \w+ seed \d: {numbers}{left}", line), line
    assert len(lines) == 4
    logs = [path.read_text() for path in sweep.glob("runs/*/*/run.log")]
    assert sum(log.count("snapshot saved") for log in logs) == 4 * 3


def test_a_run_killed_during_the_display_is_reported_and_ctrl_c_ends_the_others(tmp_path):
    words = ["--multirun", *LONG, "seed=0,1", "launcher.processes=2"]
    terminal = OnTerminal(words, tmp_path)
    terminal.until(lambda text: len(set(re.findall(r"(mlp\S+) +training: epoch", text))) == 2)
    locks = sorted(tmp_path.glob("runs/s/*/locks/*.json"))
    os.kill(int(json.loads(locks[0].read_text())["process"].split("@")[0]), signal.SIGKILL)
    terminal.until(lambda text: "0 of 2 done, 1 failed, 1 running" in text)
    os.kill(terminal.process.pid, signal.SIGINT)
    code, text = terminal.end()
    assert code == 130, text
    failed = re.findall(r"\[1/2\] FAILED (\S+): its process was ended by SIGKILL.*\(log: .*run.log\)\r\n", text)
    assert failed == [locks[0].parents[1].name]
    assert "0 of 2 runs finished, 1 failed, 1 to go; run the same command again to continue\r\n" in text
    assert "Traceback" not in text
    # The killed one could not remove its file.
    assert [path.parents[1] for path in tmp_path.rglob("*.progress*")] == [locks[0].parents[1]]
