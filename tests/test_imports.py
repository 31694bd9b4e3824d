import gc
import subprocess
import sys

import pytest

from afterkernel.plugins import without_collections


@pytest.mark.parametrize("enabled", [True, False])
def test_collections_go_on_as_before(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


ONE_RUN = """
import gc, sys, weakref
import afterkernel.runs.run as runs
from afterkernel.__main__ import main
from afterkernel.plugins import own_process
held = []

def watched(make):
    def made(*given):
        result = make(*given)
        held.append(weakref.ref(result))
        return result
    return made

runs._build, runs.load_problem = watched(runs._build), watched(runs.load_problem)
own_process()
code = main(sys.argv[1:])
gc.collect()
print(code, gc.isenabled(), len(gc.get_objects()) < gc.get_freeze_count() / 4, [each() for each in held])
"""


def test_collections_of_a_run_go_through_its_data_but_not_through_modules(tmp_path):
    words = ["arch=mlp", "arch.width=3", "training.epochs=1", "snapshot.epochs=[]", "dataset.max_train=20"]
    words += ["dataset.max_test=10", "measure.names=[spectrum]", "logger=none", "trainer.threads=1"]
    command = [sys.executable, "-c", ONE_RUN, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 True True [None, None, None]"
