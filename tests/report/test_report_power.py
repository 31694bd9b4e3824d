"""The command `power`, on made-up runs of a pilot sweep."""

import numpy as np
import pytest

from afterkernel.claims.power import seeds_needed
from afterkernel.cli.power import main
from afterkernel.text import MISSING


@pytest.fixture
def pilot(write_run, tmp_path):
    """A sweep of 7 seeds of two networks, one of which becomes more accurate by a point."""
    generator = np.random.default_rng(0)
    for seed in range(7):
        for arch, effect in (("vgg", -0.010), ("mlp", 0.0)):
            errors = {0: 0.1, 5: 0.1 + effect + 0.01 * generator.normal()}
            write_run(errors, seed=seed, arch=arch, kernel_fields={"svm_test_wrong": ""})
    return tmp_path


def test_each_comparison_has_its_detectable_effect_and_the_seeds_that_it_needs(pilot, capsys):
    assert main([str(pilot), "--claims", "c1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == (
        "claim part data network at unit seeds SD effect distance detectable seeds needed"
    )
    mlp, vgg = ([cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[1:3])
    assert mlp[:7] == ["c1", "SVM test error", "mnist 3/8", "mlp", "learning rate 0.1", "percentage points", "7"]
    assert vgg[3] == "vgg"
    for cells in (mlp, vgg):
        sd, mean, effect, detectable = (float(cell.replace("\N{MINUS SIGN}", "-")) for cell in cells[7:11])
        assert abs(mean) == effect
        # 7 seeds, two comparisons: 1.34 standard deviations alone, 1.8 among four.
        assert 1.3 * sd < detectable < 1.9 * sd
        expected = seeds_needed(effect, sd, 2)
        if cells[11].isdigit():
            assert int(cells[11]) == pytest.approx(expected, abs=2, rel=0.02)
    assert lines[3].startswith("SD, effect, distance and detectable are in the unit of the row.")


def test_a_given_effect_is_that_for_which_seeds_are_counted(pilot, capsys):
    assert main([str(pilot), "--claims=c1", "--effect=50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("seeds for 50")
    assert [line.split()[-1] for line in lines[1:3]] == ["6", "6"]
    assert main([str(pilot), "--claims=c1", "--effect=0.0001"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:3]] == [MISSING, MISSING]


def test_parts_without_runs_say_what_is_missing(pilot, capsys):
    assert main([str(pilot), "--claims", "c4"]) == 0
    assert "c4, alignment with the NTK on training images: not measured: " in capsys.readouterr().out


def test_by_default_it_is_about_all_claims_and_runs_of_several_classes_have_none(write_run, tmp_path, capsys):
    write_run({0: 0.1, 5: 0.2}, minus="", plus="", classes=("1", "2", "3"))
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "No run is about a pair of classes.\n"
    write_run({0: 0.1, 5: 0.2}, run_id="pair")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name}" in out for name in ("c1", "c2", "c3", "c4"))
