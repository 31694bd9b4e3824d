"""Full or read-only disks: one sentence for any file, and no record is lost."""

import errno
import os
import tempfile

import pytest

from afterkernel.__main__ import main
from afterkernel.cli import evaluate
from afterkernel.launchers.job import Job
from afterkernel.runs import worker


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number), "file")

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "afterkernel: the disk is full: make space and run the same command again; what is recorded"),
        (errno.EDQUOT, "afterkernel: the disk is full: make space"),
        (errno.EROFS, "afterkernel: file can't be used (Read-only file system): name another file or folder.\n"),
    ],
)
def test_a_command_that_can_t_write_reports_it(number, message, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "main", failing(number))
    assert main(["evaluate", "runs/s/a"]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_run_on_a_full_disk_is_refused_before_training(monkeypatch, tmp_path, capsys):
    class Full(tempfile.SpooledTemporaryFile):
        flush = failing(errno.ENOSPC)

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    assert main(["dataset=digits", "arch=mlp", f"output_dir={tmp_path}"]) == 2
    message = f"output_dir={tmp_path}: the disk of {tmp_path} is full: make space, or name another folder.\n"
    assert capsys.readouterr().err == f"afterkernel: {message}"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_log_that_the_disk_does_not_take_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*_):
        worker.log.info("a line")
        return True

    monkeypatch.setattr(worker, "_run", run)
    job = Job("a", {}, str(tmp_path / "s" / "a"), str(tmp_path))
    (tmp_path / "s" / "a").mkdir(parents=True)
    (tmp_path / "s" / "a" / "run.log").symlink_to("/dev/full")
    assert worker.execute(job, prints=False).state == "finished"
