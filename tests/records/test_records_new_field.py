"""A new field of the record is one line: tried on a copy of the package with that line added."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import afterkernel as ak

PACKAGE = Path(ak.__file__).parent
OLDER = Path(__file__).with_name("older") / "20.eval0.1.json"
LINE = (
    '    condition: float | None = column("condition number", "spectrum", label="condition", log=True, default=None)\n'
)
# Uses the copy: an older record and a new one are read, asked for, and shown.
SCRIPT = """
import dataclasses, sys
import afterkernel as ak
from afterkernel.records import read_records, write_record
from afterkernel.records.glossary import TERMS, markdown, term
from afterkernel.report.figure_trajectory import trajectory
from afterkernel.report.sections import make_sections
from afterkernel.records.metrics import numbers_of

assert ak.__file__.startswith(sys.argv[1]), ak.__file__
(older,) = read_records("runs")
kernels = tuple(dataclasses.replace(kernel, condition=12.5) for kernel in older.kernels)
write_record("runs/run0", dataclasses.replace(older, step=24, epoch=6, kernels=kernels), 1)

frame = ak.results("runs")
assert frame["condition"].isna().tolist() == [True, True, False, False]
assert ak.results("runs", "condition > 12")["epoch"].tolist() == [6, 6]
assert ak.sql("runs", "select max(condition) as most from results")["most"].tolist() == [12.5]
assert term("condition").label == "condition"
assert "| `condition` | condition number |  |" in markdown(TERMS)
assert {"ntk/condition", "conjugate/condition"} <= numbers_of(read_records("runs")[-1]).keys()
rows = make_sections(read_records("runs"))[0].rows()
assert "condition" in set(trajectory(rows[rows["kernel"] == "ntk"])["measure"])
print("done")
"""


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "copy" / "afterkernel", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conf", "sweeps"):
        shutil.copytree(PACKAGE.parent / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def test_one_line_adds_a_field_that_older_records_lack(copy, tmp_path):
    record = copy / "afterkernel" / "records" / "record.py"
    before = "    target_alignment: float | None = measured("
    text = record.read_text()
    assert text.count(before) == 1
    record.write_text(text.replace(before, LINE + before))
    (tmp_path / "runs" / "run0" / "records").mkdir(parents=True)
    shutil.copy(OLDER, tmp_path / "runs" / "run0" / "records")
    environment = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, "-c", SCRIPT, str(copy)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
