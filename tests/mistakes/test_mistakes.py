"""Every mistake of the list, made through the real entry point; and the page in docs that is drawn from it."""

import shlex
import sys

import mistake_table as table
import pytest
from mistake import SMALL, TINY_DATA, Workshop, answer, contents

from afterkernel.__main__ import main
from afterkernel.kernels.store import TileStore
from afterkernel.run import run as run_config

ALL = [mistake for mistakes in table.MISTAKES.values() for mistake in mistakes]


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
    from afterkernel.config import compose, typed

    folder = tmp_path_factory.mktemp("stopped") / "run"
    marks = iter(range(2))
    mark = TileStore.mark

    def stop(self, cells):
        if next(marks, None) is None:
            raise StoppedError
        mark(self, cells)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("afterkernel.evaluate.LONG_MULTIPLICATIONS", 0)
        patch.setattr(TileStore, "mark", stop)
        config = typed(compose([*SMALL, *TINY_DATA, "kernel.budget_bytes=30000"]))
        with pytest.raises(StoppedError):
            run_config(config, folder)
    return folder


@pytest.mark.parametrize("mistake", ALL, ids=[mistake.name for mistake in ALL])
def test_a_mistake_gets_its_sentence(mistake, tmp_path, monkeypatch, capfd, finished, stopped):
    if "/proc" in mistake.words and sys.platform != "linux":
        pytest.skip("needs /proc")
    monkeypatch.chdir(tmp_path)
    if mistake.setup is not None:
        mistake.setup(Workshop(tmp_path, monkeypatch, finished, stopped))
    before = contents(tmp_path)
    given = shlex.split(mistake.words)
    named = {word.split("=")[0].lstrip("+~") for word in given}
    extra = [word for word in SMALL if word.split("=")[0] not in named] if mistake.small else []
    capfd.readouterr()
    code, out, err = answer([*given, *extra], capfd)

    assert code != 0
    assert "Traceback" not in out + err
    # A mistake that the job alone can see is told in the job's log.
    told = [line.removeprefix("afterkernel: ") for line in err.splitlines()]
    logged = [line.partition(" failed: ")[2] for line in out.splitlines() if " failed: " in line]
    (sentence,) = told + logged
    assert mistake.fits(sentence), sentence
    assert code == 2 or logged
    after = contents(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after.keys() - before.keys() if "snapshots" in name]
    assert "EXECUTED" not in after


def test_the_page_in_docs_is_drawn_from_the_list():
    assert len(ALL) >= 50
    assert len({mistake.name for mistake in ALL}) == len(ALL)
    assert table.DOCS.read_text() == table.page(), "run python tests/mistakes/mistake_table.py"
