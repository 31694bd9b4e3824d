"""Every error case, run through the real entry point; and the page in docs that is generated from them."""

import shlex
import subprocess
import sys
from pathlib import Path

import error_page
import pytest
from error_case import SMALL, TINY_DATA, Workshop, answer, contents

from afterkernel.__main__ import main
from afterkernel.kernels.store import TileStore
from afterkernel.runs.run import run as run_config

ALL = [case for cases in error_page.ERROR_CASES.values() for case in cases]


class StoppedError(Exception):
    pass


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*SMALL, *TINY_DATA]) == 0
    return next(folder.glob("runs/default/*"))


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    from afterkernel.config import compose, to_config

    folder = tmp_path_factory.mktemp("stopped") / "run"
    marks = iter(range(2))
    mark = TileStore.mark

    def stop(self, cells):
        if next(marks, None) is None:
            raise StoppedError
        mark(self, cells)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("afterkernel.runs.evaluate.LONG_MULTIPLICATIONS", 0)
        patch.setattr(TileStore, "mark", stop)
        config = to_config(compose([*SMALL, *TINY_DATA, "kernel.budget_bytes=30000"]))
        with pytest.raises(StoppedError):
            run_config(config, folder)
    return folder


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_an_error_gets_its_sentence(case, tmp_path, monkeypatch, capfd, finished, stopped):
    if "/proc" in case.words and sys.platform != "linux":
        pytest.skip("needs /proc")
    monkeypatch.chdir(tmp_path)
    if case.setup is not None:
        case.setup(Workshop(tmp_path, monkeypatch, finished, stopped))
    monkeypatch.setattr("afterkernel.cli.report.QUIET_S", 1e6)  # its line may come first on a busy machine
    before = contents(tmp_path)
    given = shlex.split(case.words)
    named = {word.split("=")[0].lstrip("+~") for word in given}
    extra = [word for word in SMALL if word.split("=")[0] not in named] if case.small else []
    capfd.readouterr()
    code, out, err = answer([*given, *extra], capfd)

    assert code != 0
    assert "Traceback" not in out + err
    (line,) = err.splitlines()
    sentence = line.removeprefix("afterkernel: ")
    assert case.fits(sentence), sentence
    assert code == 2
    after = contents(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after.keys() - before.keys() if "snapshots" in name]
    assert "EXECUTED" not in after


def test_a_call_of_the_library_gets_its_sentence():
    program = Path(__file__).with_name("library_calls.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_page_in_docs_is_written_from_the_cases():
    assert len(ALL) >= 50
    assert len({case.name for case in ALL}) == len(ALL)
    assert error_page.DOCS.read_text() == error_page.page(), "run python tests/errors/error_page.py"
